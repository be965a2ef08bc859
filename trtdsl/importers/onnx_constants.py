"""Nodes that no input decides, computed: shape arithmetic with dynamic dimensions exactly, the rest in numpy.

In: an ONNX node whose inputs are known.  Out: the values that it gives; None where the node must run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from trtdsl.importers.onnx_node import Known, Node, known
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, SymbolicDim, Undecided, equal, less, less_equal, maximum, minimum

_NEVER = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
"""Operators whose results differ at every run."""

_RECURRENT = re.compile(r"aten\.(lstm|gru|rnn_)")
"""Calls whose weights ONNX has in another order, which the exporter computes of them in the file."""


def shape_of(node: Node) -> Known:
    """What ``Shape`` and ``Size`` give, which the type of a tensor says."""
    shape = node.type(0).shape
    if node.op == "Size":
        return known(np.asarray(reduce(_product, shape, 1), object), np.int64)
    rank = len(shape)
    start, end = node.attribute("start", 0), node.attribute("end", rank)
    return known(_objects(shape[slice(start, end)]), np.int64)


def evaluate(node: Node) -> tuple[Known | None, ...] | None:
    """The results of a node whose inputs are all known."""
    if node.op in ("Shape", "Size"):
        return (shape_of(node),)
    values = [each for each in node.inputs if each is not None]
    if node.op in (*_NEVER, "DequantizeLinear") or not all(isinstance(each, Known) for each in values):
        return None
    given = [each for each in values if isinstance(each, Known)]
    if node.op in ("Identity", "Transpose") and len(given) == 1:
        found = _moved(node, given[0])
        return found if not given[0].is_weight or found[0].initialiser else None
    if any(each.is_weight for each in given) and not _RECURRENT.search(node.called):
        return None
    if not any(each.is_symbolic for each in given):
        return _by_reference(node)
    if node.op not in _SYMBOLIC:
        return None
    try:
        return (_SYMBOLIC[node.op](node, given),)
    except (Undecided, Refused, _NotHere):
        return None


def _moved(node: Node, value: Known) -> tuple[Known, ...]:
    if node.op == "Identity":
        return (value,)
    order = node.attribute("perm") or list(range(value.array.ndim))[::-1]
    array = value.array.transpose(order)
    is_matrix = value.array.ndim == 2 and order == [1, 0]
    name = value.initialiser if is_matrix else ""
    turned = not value.is_transposed if name else False
    return (Known(array, value.dtype, name, turned, value.is_weight and bool(name)),)


def _by_reference(node: Node) -> tuple[Known | None, ...] | None:
    """By ONNX's own evaluator."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    names = [f"i{number}" if each is not None else "" for number, each in enumerate(node.inputs)]
    outputs = [name for name in node.outputs if name]
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.input[:]
    proto.input.extend(names)
    feeds = {
        name: each.array for name, each in zip(names, node.inputs, strict=True) if isinstance(each, Known)
    }
    types = [onnx.helper.make_tensor_value_info(name, 0, None) for name in outputs]
    graph = onnx.helper.make_graph([proto], "node", [_info(name, feeds[name]) for name in feeds], types)
    opset = onnx.helper.make_opsetid(node.proto.domain, node.opset)
    model = onnx.helper.make_model(graph, opset_imports=[opset])
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:
        raise Refused(f"its constant cannot be computed: {type(error).__name__}: {error}") from error
    if not all(isinstance(each, (np.ndarray, np.generic)) for each in results):
        raise Refused("it gives a sequence, which the language does not have")
    found = iter(known(each) for each in results)
    return tuple(next(found) if name else None for name in node.outputs)


def _info(name: str, array: Any) -> Any:
    import onnx

    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, array.shape)


# --- With dynamic dimensions ------------------------------------------------------------------------------


class _NotHere(Exception):
    """The value is not a dimension of the language."""


def _objects(values: Sequence[Any]) -> Any:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _product(left: Dim, right: Dim) -> Dim:
    return left * right


def _whole(value: Any) -> Dim:
    if isinstance(value, float):
        if not value.is_integer():
            raise _NotHere
        return int(value)
    return value


def _elementwise(function: Callable[..., Any], dtype: Any = None) -> Callable[..., Known]:
    def compute(node: Node, given: Sequence[Known]) -> Known:
        arrays = np.broadcast_arrays(*(each.array for each in given))
        flat = [array.reshape(-1).tolist() for array in arrays]
        found = [function(*map(_whole, items)) for items in zip(*flat, strict=True)]
        result = _objects(found).reshape(arrays[0].shape)
        return known(result, dtype or given[-1].dtype)

    return compute


def _multiplied(node: Node, given: Sequence[Known]) -> Known:
    """A product, where a factor of a fraction, ``0.5``, divides."""
    arrays = np.broadcast_arrays(*(each.array for each in given))
    found = [_scaled(a, b) for a, b in zip(*(array.reshape(-1).tolist() for array in arrays), strict=True)]
    return known(_objects(found).reshape(arrays[0].shape), given[0].dtype)


def _scaled(left: Any, right: Any) -> Dim:
    if isinstance(left, float) and not isinstance(right, float):
        left, right = right, left
    if isinstance(right, float) and not right.is_integer():
        divisor = 1 / right
        if not divisor.is_integer():
            raise _NotHere
        return _exact(left, int(divisor))
    return _whole(left) * _whole(right)


def _exact(left: Any, divisor: Dim) -> Dim:
    """A quotient of floats, where it is a whole number at every size."""
    quotient = left // divisor
    if not equal(quotient * divisor, left):
        raise _NotHere
    return quotient


def _divided(node: Node, given: Sequence[Known]) -> Known:
    """A quotient, rounded down: sizes are not negative."""
    if given[0].dtype.kind == "f":
        return _elementwise(_exact)(node, given)
    return _elementwise(lambda left, right: left // right)(node, given)


def _cast(node: Node, given: Sequence[Known]) -> Known:
    import onnx

    dtype = onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to"))
    if dtype.kind not in "iuf":
        raise _NotHere
    return Known(given[0].array, np.dtype(dtype))


def _gathered(node: Node, given: Sequence[Known]) -> Known:
    if given[1].is_symbolic:
        raise _NotHere
    return known(np.take(given[0].array, given[1].array, node.attribute("axis", 0)), given[0].dtype)


def _joined(node: Node, given: Sequence[Known]) -> Known:
    arrays = [each.array.astype(object) for each in given]
    return known(np.concatenate(arrays, node.attribute("axis", 0)), given[0].dtype)


def _sliced(node: Node, given: Sequence[Known]) -> Known:
    starts, ends = node.ints_or(1, "starts"), node.ints_or(2, "ends")
    axes = node.ints_or(3, "axes", tuple(range(len(starts))))
    steps = node.ints(4, "`steps`") if node.has(4) else (1,) * len(starts)
    if any(isinstance(each, SymbolicDim) for part in (starts, ends, steps) for each in part):
        raise _NotHere
    items: list[Any] = [slice(None)] * given[0].array.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        items[axis] = slice(start, None if _is_whole(step, end) else end, step)
    return known(given[0].array[tuple(items)], given[0].dtype)


def _is_whole(step: Any, end: Any) -> bool:
    """Whether a slice backwards takes the first element too."""
    return step < 0 and end < -(2**31)


def _unsqueezed(node: Node, given: Sequence[Known]) -> Known:
    return known(np.expand_dims(given[0].array, node.ints_or(1, "axes")), given[0].dtype)


def _squeezed(node: Node, given: Sequence[Known]) -> Known:
    axes = node.ints_or(1, "axes")
    return known(np.squeeze(given[0].array, None if axes is None else tuple(axes)), given[0].dtype)


def _reshaped(node: Node, given: Sequence[Known]) -> Known:
    if node.op == "Flatten":
        raise _NotHere
    return known(given[0].array.reshape(node.fixed(1, "`shape`")), given[0].dtype)


def _expanded(node: Node, given: Sequence[Known]) -> Known:
    shape = node.fixed(1, "`shape`")
    return known(np.broadcast_to(given[0].array, np.broadcast_shapes(given[0].shape, shape)), given[0].dtype)


def _where(node: Node, given: Sequence[Known]) -> Known:
    if given[0].is_symbolic:
        raise _NotHere
    arrays = [each.array.astype(object) for each in given[1:]]
    return known(np.where(given[0].array, *arrays), given[1].dtype)


def _reduced(function: Callable[[Any, Any], Any]) -> Callable[..., Known]:
    def compute(node: Node, given: Sequence[Known]) -> Known:
        if given[0].array.ndim > 1:
            raise _NotHere
        total = reduce(function, given[0].array.reshape(-1).tolist())
        keep = node.attribute("keepdims", 1) and given[0].array.ndim
        return known(_objects([total]) if keep else np.asarray(total, object), given[0].dtype)

    return compute


def _same(node: Node, given: Sequence[Known]) -> Known:
    return given[0]


_SYMBOLIC: dict[str, Callable[[Node, Sequence[Known]], Known]] = {
    "Add": _elementwise(lambda left, right: left + right),
    "Sub": _elementwise(lambda left, right: left - right),
    "Mul": _multiplied,
    "Div": _divided,
    "Mod": _elementwise(lambda left, right: left % right),
    "Min": _elementwise(lambda *all: reduce(minimum, all)),
    "Max": _elementwise(lambda *all: reduce(maximum, all)),
    "Neg": _elementwise(lambda value: -value),
    "Equal": _elementwise(equal, bool),
    "Less": _elementwise(less, bool),
    "LessOrEqual": _elementwise(less_equal, bool),
    "Greater": _elementwise(lambda left, right: less(right, left), bool),
    "GreaterOrEqual": _elementwise(lambda left, right: less_equal(right, left), bool),
    "Cast": _cast,
    "Floor": _same,
    "Ceil": _same,
    "Round": _same,
    "Gather": _gathered,
    "Concat": _joined,
    "Slice": _sliced,
    "Unsqueeze": _unsqueezed,
    "Squeeze": _squeezed,
    "Reshape": _reshaped,
    "Expand": _expanded,
    "Where": _where,
    "ReduceProd": _reduced(_product),
    "ReduceSum": _reduced(lambda left, right: left + right),
    "ReduceMax": _reduced(maximum),
    "ReduceMin": _reduced(minimum),
}
