"""An ONNX file as a :class:`~trtdsl.importers.program.Program`.

In: the path of a file, whatever wrote it.  Out: its operations by PyTorch's names, and the arrays of its
weights by the keys that the text asks for.  Shape arithmetic is computed with the language's dimensions, and
what no input decides in numpy; each remaining node is translated by its rule.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers import (  # noqa: F401  (they register their rules)
    onnx_rules_images,
    onnx_rules_layers,
    onnx_rules_moving,
    onnx_rules_pointwise,
    onnx_rules_reducing,
    onnx_rules_sequences,
)
from trtdsl.importers.onnx_constants import evaluate
from trtdsl.importers.onnx_node import RULES, Known, Node, Results, Store, Value, dtype_of, known
from trtdsl.importers.onnx_scopes import calls_of, is_key, scope_of
from trtdsl.importers.program import Argument, Array, Program, Ref
from trtdsl.ir.names import identifier
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, Symbol, TensorType, Undecided, symbol

DYNAMIC = (1, 8, 64)
"""The range of a dynamic axis that the user says nothing of."""


def read_model(model: Any, name: str, dims: Mapping[str, Symbol] | None = None) -> tuple[Program, dict[str, Array]]:
    """The program of a ModelProto whose external data are loaded, and its weights by key.

    ``dims`` gives the range of each dynamic axis by the name that the file gives it. Raises
    :class:`~trtdsl.diagnostics.DiagnosticError` with everything that cannot be imported.
    """
    import onnx.inliner

    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    reader = _Reader(model, dims or {})
    return reader.program(name)


@dataclass(frozen=True)
class _Broken:
    """A value that a node could not give."""


class _Reader:
    def __init__(self, model: Any, dims: Mapping[str, Symbol]) -> None:
        self._graph = model.graph
        self._opsets = {each.domain: each.version for each in model.opset_import}
        self._dims = dict(dims)
        self._symbols: dict[str, Dim] = {}
        self._values: dict[str, Value | _Broken] = {}
        self._missing: list[tuple[str, str, str]] = []
        names = [each.name for each in model.graph.initializer]
        self._store = Store(reserved=frozenset(filter(is_key, names)))
        self._users = _users(model.graph)

    def program(self, name: str) -> tuple[Program, dict[str, Array]]:
        inputs = dict(self._inputs())
        for tensor in self._graph.initializer:
            self._values[tensor.name] = _initialiser(tensor)
        for proto in self._graph.node:
            self._node(proto, ())
        outputs = tuple(self._outputs())
        if self._missing:
            raise DiagnosticError(*_diagnostics(self._missing))
        symbols = [each for dim in self._symbols.values() for each in _symbols(dim)]
        program = Program(
            name=name,
            symbols=tuple(dict.fromkeys(symbols)),
            inputs=inputs,
            weights=self._store.weights,
            constants=self._store.constants,
            operations=tuple(self._store.operations),
            outputs=outputs,
            types=self._store.types,
            origins={constant: ("", ()) for constant in self._store.constants},
        )
        return program, self._store.arrays

    # --- Inputs and outputs -------------------------------------------------------------------------------

    def _inputs(self) -> Iterator[tuple[str, TensorType]]:
        initialised = {each.name for each in self._graph.initializer}
        for each in self._graph.input:
            if each.name in initialised:
                continue
            try:
                type = self._input_type(each)
            except Refused as refusal:
                self._missing.append((f"the input `{each.name}`", "", str(refusal)))
                self._values[each.name] = _Broken()
                continue
            name = self._store.name(identifier(each.name))
            self._store.types[name] = type
            self._values[each.name] = Ref(name)
            yield name, type

    def _input_type(self, each: Any) -> TensorType:
        import onnx

        if not each.type.HasField("tensor_type"):
            raise Refused("it is not a tensor")
        tensor = each.type.tensor_type
        dtype = dtype_of(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        if not tensor.HasField("shape"):
            raise Refused("the file does not say its rank")
        shape = [self._dim(dim, each.name, axis) for axis, dim in enumerate(tensor.shape.dim)]
        return TensorType(dtype, tuple(shape))

    def _dim(self, dim: Any, name: str, axis: int) -> Dim:
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            return dim.dim_value
        wish = dim.dim_param if re.fullmatch(r"[A-Za-z]\w*", dim.dim_param) else ""
        wish = identifier(wish or dim.dim_param or ("N" if axis == 0 else f"{name}_{axis}"))
        if wish not in self._symbols:
            given = self._dims.get(wish) or self._dims.get(dim.dim_param)
            low, best, high, step = (
                (given.minimum, given.optimum, given.maximum, given.step) if given else (*DYNAMIC, 1)
            )
            self._symbols[wish] = symbol(wish, low, best, high, step)
        return self._symbols[wish]

    def _outputs(self) -> Iterator[tuple[str, Argument]]:
        for each in self._graph.output:
            value = self._values.get(each.name)
            if isinstance(value, (_Broken, type(None))):
                continue
            if isinstance(value, Known):
                node = Node("", self._store, (value,), {}, (), 0)
                try:
                    value = node.tensor(0)
                except Refused as refusal:
                    self._missing.append((f"the output `{each.name}`", "", str(refusal)))
                    continue
            yield identifier(each.name), value

    # --- Nodes --------------------------------------------------------------------------------------------

    def _node(self, proto: Any, outer: Sequence[Any]) -> None:
        values = [self._values.get(name) if name else None for name in proto.input]
        if any(isinstance(each, _Broken) for each in values):
            self._give(proto, tuple(_Broken() for _ in proto.output))
            return
        calls = calls_of(proto) or tuple(outer)
        node = Node(
            op=proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}",
            store=self._store,
            inputs=[each for each in values if not isinstance(each, _Broken)],
            attributes={each.name: _attribute(each) for each in proto.attribute},
            outputs=tuple(proto.output),
            opset=self._opsets.get(proto.domain, self._opsets.get("", 1)),
            calls=calls,
            scope=scope_of(calls, proto.name, proto.op_type),
            users=self._users,
            names=tuple(proto.input),
            proto=proto,
        )
        before = len(self._store.operations)
        try:
            results = self._translated(node, proto)
        except (Refused, Undecided) as refusal:
            del self._store.operations[before:]
            self._missing.append((node.op, proto.name, str(refusal)))
            self._give(proto, tuple(_Broken() for _ in proto.output))
            return
        if results is not None:
            self._give(proto, results if isinstance(results, tuple) else (results,))

    def _translated(self, node: Node, proto: Any) -> Results | None:
        """What a node gives; None where it was read as the nodes of its own definition."""
        found = None if node.op == "Constant" else evaluate(node)
        if found is not None:
            return found
        if node.op in RULES:
            return RULES[node.op](node)
        body = _definition(proto, node)
        if body is None:
            raise Refused("the importer does not have it")
        self._inline(body, proto, node)
        return None

    def _inline(self, body: Any, proto: Any, node: Node) -> None:
        """Read the function that defines an operator in the place of its node."""
        outer, opsets = self._values, self._opsets
        attributes = {each.name: each for each in [*_defaults(proto, node), *body.attribute_proto, *proto.attribute]}
        given = dict(zip(body.input, [outer.get(name) for name in proto.input if True], strict=False))
        self._values = {name: value for name, value in given.items() if value is not None}
        self._opsets = {**opsets, **{each.domain: each.version for each in body.opset_import}}
        before = len(self._missing)
        for inner in body.node:
            self._node(_with_attributes(inner, attributes), node.calls)
        results = [self._values.get(name, _Broken()) for name in body.output]
        self._values, self._opsets = outer, opsets
        del self._missing[before + 1 :]
        self._missing[before:] = [
            (node.op, proto.name, f"of its definition, `{name}`: {reason}")
            for name, _, reason in self._missing[before:]
        ]
        self._give(proto, tuple(results))

    def _give(self, proto: Any, results: Sequence[Value | _Broken | None]) -> None:
        for name, value in zip(proto.output, results, strict=False):
            if name and value is not None:
                self._values[name] = value


def _definition(proto: Any, node: Node) -> Any:
    """The function by which ONNX defines an operator, None where it has none."""
    import onnx
    from onnx import defs

    try:
        schema = defs.get_schema(proto.op_type, node.opset, proto.domain)
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


def _defaults(proto: Any, node: Node) -> Iterator[Any]:
    """The attributes that an operator has where they are not given."""
    from onnx import defs

    schema = defs.get_schema(proto.op_type, node.opset, proto.domain)
    yield from (each.default_value for each in schema.attributes.values() if each.default_value.name)


def _type_proto(node: Node, index: int) -> Any:
    import onnx

    if not node.has(index):
        return onnx.TypeProto()
    type = node.type(index)
    kind = onnx.helper.np_dtype_to_tensor_dtype(type.dtype.numpy)
    shape = [each if isinstance(each, int) else None for each in type.shape]
    return onnx.helper.make_tensor_type_proto(kind, shape)


def _with_attributes(proto: Any, given: Mapping[str, Any]) -> Any:
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


def _attribute(attribute: Any) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (int, float, str)):
        return value
    return list(value) if hasattr(value, "__iter__") else value


def _initialiser(tensor: Any) -> Known:
    from onnx import numpy_helper

    array = np.array(numpy_helper.to_array(tensor))
    return Known(array, array.dtype, tensor.name)


def _users(graph: Any) -> Counter[str]:
    """How often each value is read."""
    found: Counter[str] = Counter(each.name for each in graph.output)
    for node in graph.node:
        found.update(node.input)
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                found.update(_users(inner))
    return found


def _symbols(dim: Dim) -> Iterator[Symbol]:
    from trtdsl.types import symbols

    yield from sorted(symbols(dim), key=str)


def _diagnostics(missing: Sequence[tuple[str, str, str]]) -> list[Diagnostic]:
    """One message for each operator and reason: how often, and at which node first."""
    together: dict[tuple[str, str], list[str]] = {}
    for operator, name, reason in missing:
        together.setdefault((operator, reason), []).append(name)
    found: list[Diagnostic] = []
    for (operator, reason), names in together.items():
        times = "" if len(names) == 1 else f", {len(names)} times"
        place = f" at `{names[0]}`" if names[0] else ""
        what = operator if " " in operator else f"`{operator}`"
        found.append(Diagnostic(f"{what}{place} cannot be imported: {reason}{times}"))
    return found


def constant_attribute(node: Node) -> Known:
    """What a ``Constant`` holds."""
    from onnx import numpy_helper

    for name, value in node.attributes.items():
        if name == "value":
            return known(np.array(numpy_helper.to_array(value)))
        if name in ("value_int", "value_ints"):
            return known(np.array(value, np.int64))
        if name in ("value_float", "value_floats"):
            return known(np.array(value, np.float32))
    raise Refused("it holds neither a tensor nor numbers")


RULES["Constant"] = constant_attribute


def load(path: Path) -> Any:
    """A file's model, with external data; raises :class:`DiagnosticError` for what is not one."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(str(path))
    except (DecodeError, OSError, onnx.checker.ValidationError) as error:
        raise DiagnosticError(Diagnostic(f"{path} cannot be read as an ONNX model: {error}")) from error
