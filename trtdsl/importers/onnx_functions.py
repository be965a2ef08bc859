"""Operators that ONNX defines by a function of others.

In: a node whose operator has no rule.  Out: the function's body, with the attributes of the node in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trtdsl.importers.onnx_node import Node


def definition(proto: Any, node: Node) -> Any:
    """The function by which ONNX defines an operator, None where it has none."""
    import onnx
    from onnx import defs

    try:
        schema: Any = defs.get_schema(proto.op_type, node.opset, proto.domain)
    except defs.SchemaError:
        return None
    body = onnx.FunctionProto()
    if schema.has_function:
        body.CopyFrom(schema.function_body)
        return body
    if schema.has_context_dependent_function:
        types = [_type_proto(node, index) for index in range(len(proto.input))]
        text = schema.get_context_dependent_function_with_opset_version(
            node.opset, proto.SerializeToString(), [each.SerializeToString() for each in types]
        )
        body.ParseFromString(text)
        return body if body.node else None
    return None


def defaults(proto: Any, node: Node) -> Iterator[Any]:
    """The attributes that an operator has where they are not given."""
    from onnx import defs

    schema: Any = defs.get_schema(proto.op_type, node.opset, proto.domain)
    yield from (each.default_value for each in schema.attributes.values() if each.default_value.name)


def _type_proto(node: Node, index: int) -> Any:
    import onnx

    if not node.has(index):
        return onnx.TypeProto()
    type = node.type(index)
    kind = onnx.helper.np_dtype_to_tensor_dtype(type.dtype.numpy)
    shape = [each if isinstance(each, int) else None for each in type.shape]
    return onnx.helper.make_tensor_type_proto(kind, shape)


def with_attributes(proto: Any, given: Mapping[str, Any]) -> Any:
    """A node of a function's body with the attributes that it takes from its caller."""
    import onnx

    if not any(each.ref_attr_name for each in proto.attribute):
        return proto
    found = onnx.NodeProto()
    found.CopyFrom(proto)
    del found.attribute[:]
    for each in proto.attribute:
        if not each.ref_attr_name:
            found.attribute.append(each)
        elif each.ref_attr_name in given:
            copy = found.attribute.add()
            copy.CopyFrom(given[each.ref_attr_name])
            copy.name = each.name
    return found
