"""ONNX's operators of quantised numbers.

In: ``QuantizeLinear`` and ``DequantizeLinear`` around layers, as tools for quantisation place them.
Out: ``quantize`` and ``dequantize``, which have no zero points; weights stay int8 beside their scales.
"""

from __future__ import annotations

import numpy as np

from trtdsl.importers.onnx_node import Known, Node, Value, dtype_of, rule
from trtdsl.importers.onnx_scopes import path_of
from trtdsl.importers.program import Argument, Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import DType

AROUND = ("QuantizeLinear", "DequantizeLinear")

_SYMMETRIC = (
    "quantise it anew with signed types and symmetric ranges (QInt8, ActivationSymmetric, WeightSymmetric)"
)


@rule("QuantizeLinear")
def _quantize(node: Node) -> Ref:
    scale, axis = _scale(node)
    source = node.tensor(0)
    return node.one("quantize", input=source, scale=scale, dtype=_narrow(node), **axis)


@rule("DequantizeLinear")
def _dequantize(node: Node) -> Value:
    value = node[0]
    if isinstance(value, Known) and value.dtype not in (np.int8, DType.FLOAT8.numpy):
        return _computed(node, value)
    _narrow(node)
    scale, axis = _scale(node)
    source = _stored(node, value) if isinstance(value, Known) else value
    found = node.one("dequantize", input=source, scale=scale, **axis)
    if isinstance(value, Known):
        node.store.quantised[found.value] = node.store.key_of(source)
    return found


def _computed(node: Node, value: Known) -> Known:
    """Numbers of a type that no layer computes in, such as int32 biases, as what they stand for."""
    parts = [node[index] for index in (1, 2) if node.has(index)]
    arrays = [each.array for each in parts if isinstance(each, Known)]
    if len(arrays) < len(parts) or node.attribute("block_size", 0):
        raise Refused("its scale or zero point is not known, or there is one for each block")
    axis = node.axis(node.attribute("axis", 1), value) if arrays[0].size > 1 else 0
    shape = [-1 if dim == axis else 1 for dim in range(value.array.ndim)]
    scale, *zeros = [each.reshape(shape) if each.size > 1 else each.reshape(()) for each in arrays]
    numbers = value.array.astype(np.int64)
    for zero in zeros:
        numbers = numbers - zero.astype(np.int64)
    return Known((numbers * scale).astype(scale.dtype), scale.dtype)


def _narrow(node: Node) -> DType:
    """The quantised type; refused where it has a zero point, or is unsigned."""
    import onnx

    if node.has(2):
        zero = node[2]
        dtype = node.type(2).dtype
        if not isinstance(zero, Known) or zero.array.astype(np.float32).any():
            raise Refused(f"its zero point is not 0, and TensorRT has none: {_SYMMETRIC}")
    elif node.op == "DequantizeLinear":
        dtype = node.type(0).dtype
    else:
        kind = node.attribute("output_dtype", 0) or onnx.TensorProto.UINT8
        dtype = dtype_of(onnx.helper.tensor_dtype_to_np_dtype(kind))
    if dtype not in (DType.INT8, DType.FLOAT8):
        raise Refused(f"it quantises to {dtype}, which TensorRT does not compute with: {_SYMMETRIC}")
    return dtype


def _scale(node: Node) -> tuple[Ref, dict[str, Argument]]:
    """The scales, and along which dimension they lie."""
    value = node[1]
    if not isinstance(value, Known):
        raise Refused("its scale is computed when it runs")
    if node.attribute("block_size", 0) or value.array.ndim > 1:
        raise Refused("it has a scale for each block of elements")
    if value.array.size == 1:
        array = value.array.reshape(())
        return node.store.weight(array, _key(node, "scale"), (value.initialiser, "scale")), {}
    scales = node.store.weight(value.array, _key(node, "scale"), (value.initialiser, "scales"))
    return scales, {"axis": node.axis(node.attribute("axis", 1))}


def _stored(node: Node, value: Known) -> Ref:
    """A weight that is kept as the file has it."""
    return node.store.weight(value.array, _key(node, "weight"), (value.initialiser, "quantised"))


def _key(node: Node, slot: str) -> str:
    """A key after the tensor that is quantised: ``fc.weight`` and ``fc.weight_scale``."""
    stem = _stem(node)
    if stem.endswith(".weight"):
        return stem if slot == "weight" else f"{stem}_{slot}"
    return f"{stem}.{slot}"


def _stem(node: Node) -> str:
    name = node.names[0] if node.names else ""
    for suffix in ("_quantized", "_QuantizeLinear_Output", "_output_0"):
        name = name.removesuffix(suffix)
    return path_of(name) or node.scope


@rule(
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
)
def _integers(node: Node) -> Ref:
    raise Refused(
        "the language does not compute with quantised integers: quantise with QuantizeLinear and"
        " DequantizeLinear (QuantFormat.QDQ, quantize_static), or import the model before it was quantised"
    )
