"""Operations that compute, pick or make values, each said in one way.

In: a :class:`~trtdsl.importers.canonical.Call`.  Out: its expression.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trtdsl.importers.canonical import Call, Expression, Results, Unclear, number, rounded, rule
from trtdsl.importers.canonical_moving import permuted, positions, reshaped, strided
from trtdsl.importers.program import Ref
from trtdsl.importers.upsampling import SCALES, UPSAMPLING, is_antialiased, mode_of
from trtdsl.types import Dim, SymbolicDim


@rule("to", "_to_copy", "type_as")
def _cast(call: Call) -> Expression:
    value = call.tensor()
    if value.name == "to" and value.type.dtype is call.type.dtype:
        return value
    return value if value.type.dtype is call.type.dtype else Expression("to", value, call.type)


@rule("add", "sub", "rsub")
def _sum(call: Call) -> Expression:
    names = list(call.operation.arguments)[:2]
    left, right = map(call.operand, names[::-1] if call.operation.base == "rsub" else names)
    if call.get("alpha", 1) != 1:
        right = Expression("mul", frozenset((right, number(call.get("alpha")))), right.type)
    if call.operation.base == "add":
        for each, other in ((left, right), (right, left)):
            if _uniform(each) == number(0) and other.type == call.type:
                return other
        return Expression("add", frozenset((left, right)) if left != right else (left, right), call.type)
    return Expression("sub", (left, right), call.type)


@rule("linear")
def _linear(call: Call) -> Expression:
    value, weight = call.tensor("input"), call.tensor("weight")
    product = Expression("matmul", ((value, permuted(weight, (1, 0))), frozenset()), call.type)
    if call.get("bias") is None:
        return product
    return Expression("add", frozenset((product, call.tensor("bias"))), call.type)


@rule("addmm")
def _addmm(call: Call) -> Expression:
    if call.get("alpha", 1) != 1 or call.get("beta", 1) != 1:
        raise Unclear(call.operation.name)
    factors = (call.tensor("mat1"), call.tensor("mat2"))
    product = Expression("matmul", (factors, frozenset()), call.type)
    return Expression("add", frozenset((product, call.tensor("self"))), call.type)


@rule("where", "masked_fill")
def _where(call: Call) -> Expression:
    if call.operation.base == "masked_fill":
        operands = (call.tensor("mask"), call.operand("value"), call.tensor("self"))
    else:
        operands = (call.tensor("condition"), call.operand("self"), call.operand("other"))
    return Expression("where", operands, call.type)


@rule("einsum")
def _einsum(call: Call) -> Expression:
    """A product by its equation, in which spaces say nothing."""
    equation, tensors = str(call.get("equation")), call.get("tensors")
    return Expression("einsum", ("".join(equation.split()), *call.values(tensors)), call.type)


@rule("pow", "square")
def _power(call: Call) -> Expression:
    power = number(2) if call.operation.base == "square" else call.operand("exponent")
    return Expression("pow", (call.tensor(), power), call.type)


@rule("mul")
def _product(call: Call) -> Expression:
    """A product; by ones it is the other factor."""
    names = list(call.operation.arguments)[:2]
    left, right = map(call.operand, names)
    for factor, other in ((left, right), (right, left)):
        if _uniform(other) == number(1) and factor.type == call.type:
            return factor
    (found,) = call.plain("mul")
    return found


@rule("linalg_vector_norm", "vector_norm")
def _vector_norm(call: Call) -> Expression:
    """A Euclidean norm is the root of a sum of squares."""
    value = call.tensor()
    if call.get("ord", 2) != 2:
        return call.plain("vector_norm")[0]
    square = Expression("mul", ((value, value), frozenset()), value.type)
    return Expression("sqrt", ((_summed(square, call),), frozenset()), call.type)


@rule("sum")
def _sum_of(call: Call) -> Expression:
    return _summed(call.tensor(), call)


def _summed(value: Expression, call: Call) -> Expression:
    return Expression("sum", (value, tuple(sorted(call.dims()))), call.type)


@rule("addcmul")
def _added_product(call: Call) -> Expression:
    if call.get("value", 1) != 1:
        raise Unclear(call.operation.name)
    factors = [call.tensor("tensor1"), call.tensor("tensor2")]
    product: Any = frozenset(factors) if factors[0] != factors[1] else tuple(factors)
    return Expression(
        "add",
        frozenset((call.tensor(), Expression("mul", (product, frozenset()), call.type))),
        call.type,
    )


@rule("cumsum", "cumprod")
def _so_far(call: Call) -> Expression:
    value = call.tensor()
    cast = value if value.type.dtype is call.type.dtype else Expression("to", value, call.type)
    return Expression(call.operation.base, (cast, call.dims()), call.type)


@rule("ne")
def _unequal(call: Call) -> Expression:
    (equal,) = call.plain("eq")
    return Expression("not", ((equal,), frozenset()), call.type)


@rule("rsqrt")
def _inverse_root(call: Call) -> Expression:
    root = Expression("sqrt", ((call.tensor(),), frozenset()), call.type)
    return Expression("reciprocal", ((root,), frozenset()), call.type)


@rule("clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "relu6")
def _clamp(call: Call) -> Expression:
    base = call.operation.base
    low = 0 if base == "relu6" else call.get("min", call.get("min_val", -1 if base == "hardtanh" else None))
    high = 6 if base == "relu6" else call.get("max", call.get("max_val", 1 if base == "hardtanh" else None))
    if isinstance(low, Ref) or isinstance(high, Ref):
        raise Unclear(call.operation.name)
    return Expression("clamp", (call.tensor(), rounded(low), rounded(high)), call.type)


@rule("full", "zeros", "ones", "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like")
def _filled(call: Call) -> Expression:
    value = call.get("fill_value", 1 if "ones" in call.operation.base else 0)
    found = number(value)
    return found if not call.type.shape else Expression("expand", found, call.type)


@rule("scalar_tensor")
def _scalar(call: Call) -> Expression:
    return number(call.get("s"))


@rule("arange")
def _arange(call: Call) -> Expression:
    numbers = (call.get("start", 0), call.get("end"), call.get("step", 1))
    return Expression("arange", tuple(map(rounded, numbers)), call.type)


@rule("interpolate", *UPSAMPLING)
def _resized(call: Call) -> Expression:
    """By the mode and the size; a scale that is not a whole number also decides which elements are read."""
    value, base = call.tensor(), call.operation.base
    mode = call.get("mode", mode_of(base))
    smooths = bool(call.get("antialias", is_antialiased(base)))
    scales: Any = call.get("scale_factor", call.get("scale_factors"))
    if scales is None:
        scales = tuple(call.get(name) for name in SCALES if call.get(name) is not None)
    rank = len(scales)
    ends = list(zip(value.shape[-rank:], call.type.shape[-rank:], strict=True)) if rank else []
    is_whole = all(_is_scaled(*pair, each) for pair, each in zip(ends, scales, strict=True))
    said = tuple(map(rounded, scales)) if rank and not is_whole else ()
    return Expression("resized", (value, mode, bool(call.get("align_corners")), smooths, said), call.type)


@rule("gather")
def _gather(call: Call) -> Expression:
    (dim,) = call.dims()
    index = call.tensor("index")
    return Expression("gather", (call.tensor(), dim, _from_front(index)), call.type)


def _from_front(index: Expression) -> Expression:
    """Positions without what a file does for those that count from the end, which torch's call has not."""
    if index.name != "where":
        return index
    condition, behind, own = index.operands
    is_negative = condition.name == "lt" and number(0) in condition.operands[0]
    return own if is_negative and behind.name == "add" and own in behind.operands else index


@rule("index_select", "embedding", "index")
def _picked(call: Call) -> Expression:
    """Whole rows along one axis, whichever name says so; several positions at once in any other way."""
    base = call.operation.base
    if base == "index":
        indices: Any = call.get("indices")
        given = [(dim, each) for dim, each in enumerate(indices) if each is not None]
        found = tuple(map(_unexpanded, call.values([each for _, each in given])))
        dims = tuple(dim for dim, _ in given)
        if len(given) > 1:
            return Expression("index", (call.tensor(), dims, found), call.type)
        strides = positions(found[0]) if dims == (0,) and len(call.tensor().shape) == 1 else None
        whole = strided(call.tensor(), call.type.shape, strides, 0) if strides else None
        return whole or _rows(call.tensor(), dims[0], found[0])
    if base == "embedding":
        return _rows(call.tensor("weight"), 0, call.tensor("indices"))
    (dim,) = call.dims()
    return _rows(call.tensor(), dim, call.tensor("index"))


def _rows(value: Expression, dim: int, index: Expression) -> Expression:
    """Those at positions along one axis; of a permuted tensor they are picked before it is."""
    if value.name == "permute":
        source, order = value.operands
        axis, rank = order[dim], len(index.shape)
        turned = [each if each < axis else each + rank - 1 for each in order]
        turned[dim : dim + 1] = range(axis, axis + rank)
        return permuted(_rows(source, axis, index), tuple(turned))
    shape = (*value.shape[:dim], *index.shape, *value.shape[dim + 1 :])
    return Expression("pick", (value, dim, index), value.type.with_shape(shape))


def _is_scaled(before: Dim, after: Dim, scale: float) -> bool:
    """Whether a size is exactly another times a number."""
    if isinstance(before, SymbolicDim) or isinstance(after, SymbolicDim):
        return float(scale).is_integer() and before * int(scale) == after
    return before * scale == after


def _unexpanded(index: Expression) -> Expression:
    """Positions before they were repeated to the shape that several have together."""
    return index.operands if index.name == "expand" else index


@rule("mean", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def _mean(call: Call) -> Expression:
    value = call.tensor()
    rank = len(value.shape)
    if call.operation.base == "mean":
        dims = tuple(sorted(call.dims()))
        return Expression("mean", (value, dims), call.type)
    count = int(call.operation.base[-2])
    if any(each != 1 for each in call.type.shape[rank - count :]):
        return call.plain(call.operation.base)[0]._replace(type=call.type)
    return Expression("mean", (value, tuple(range(rank - count, rank))), call.type)


@rule("max", "min", "amax", "amin")
def _extreme(call: Call) -> Expression | Results:
    """The larger of two tensors, or the largest along dimensions, and where that is."""
    base = call.operation.base.removeprefix("a")
    if call.get("other") is not None:
        return call.plain(f"{base}imum")
    found = Expression(f"a{base}", (call.tensor(), tuple(sorted(call.dims()))), call.types[0])
    if len(call.types) == 1:
        return found
    return found, Expression(f"arg{base}", (call.tensor(), call.dims()), call.types[1])


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _average_pool(call: Call) -> Expression:
    """A pool; whether it counts what it pads with matters only where it pads."""
    padding = call.get("padding", 0)
    (found,) = call.plain(call.operation.base)
    if any(padding) if isinstance(padding, tuple) else padding:
        return found
    operands, given = found.operands
    return found._replace(operands=(operands, frozenset(each for each in given if each[0] != _COUNTS)))


_COUNTS = "count_include_pad"


@rule("group_norm", "instance_norm")
def _group_norm(call: Call) -> Expression:
    """A normalisation of each group by its own mean and variance, in a shape that shows the groups, then the
    factor and what is added of each channel."""
    if call.get("running_mean") is not None or not call.get("use_input_stats", True):
        raise Unclear(call.operation.name)
    value = call.tensor("input")
    batch, channels, *sizes = value.shape
    groups = call.get("num_groups", channels)
    grouped = reshaped(value, (batch, groups, value.type.size // (batch * groups)))
    normed = Expression("normalized", (grouped, rounded(call.get("eps", 1e-5))), grouped.type)
    found = reshaped(normed, value.shape)
    apart = (channels, *(1,) * len(sizes))
    factor, offset = _affine(call)
    if factor != number(1):
        found = Expression("mul", (frozenset((found, _of_channels(factor, apart))), frozenset()), call.type)
    if offset != number(0):
        found = Expression("add", frozenset((found, _of_channels(offset, apart))), call.type)
    return found


def _affine(call: Call) -> tuple[Expression, Expression]:
    """The factor and what is added of each channel, 1 and 0 where nothing is given."""
    given = (("weight", 1), ("bias", 0))
    factor, offset = (
        _uniform(call.tensor(name)) if call.get(name) is not None else number(neutral)
        for name, neutral in given
    )
    return factor, offset


def _of_channels(vector: Expression, shape: tuple[Dim, ...]) -> Expression:
    return vector if vector.name == "number" else reshaped(vector, shape)


@rule("batch_norm")
def _batch_norm(call: Call) -> Expression:
    """A normalisation by statistics that are given, or are those of the batch."""
    value = call.tensor("input")
    if call.get("training"):
        mean, variance = _statistics(value)
    else:
        mean, variance = call.tensor("running_mean"), call.tensor("running_var")
    operands = (value, *_affine(call), mean, variance, rounded(call.get("eps", 1e-5)))
    return Expression("batch_norm", operands, call.type)


def _statistics(value: Expression) -> tuple[Expression, Expression]:
    """The mean of each channel, and of the squares of the distances from it."""
    dims = (0, *range(2, len(value.shape)))
    kept = value.type.with_shape(tuple(1 if dim in dims else size for dim, size in enumerate(value.shape)))
    each = value.type.with_shape(value.shape[1:2])
    centred = Expression("sub", (value, Expression("mean", (value, dims), kept)), value.type)
    square = Expression("mul", ((centred, centred), frozenset()), value.type)
    return Expression("mean", (value, dims), each), Expression("mean", (square, dims), each)


def _uniform(vector: Expression) -> Expression:
    """A constant whose elements are all the same as that number."""
    if vector.name in ("expand", "reshape"):
        found = _uniform(vector.operands)
        return found if found.name == "number" else vector
    if vector.name != "constant":
        return vector
    array = np.frombuffer(vector.operands, vector.type.dtype.numpy)
    return number(array[0].item()) if array.size and (array == array[0]).all() else vector


@rule("scaled_dot_product_attention")
def _attention(call: Call) -> Expression:
    query, key, value = (call.tensor(name) for name in ("query", "key", "value"))
    if call.get("is_causal") or call.get("dropout_p") or call.get("enable_gqa"):
        raise Unclear(call.operation.name)
    mask = call.tensor("attn_mask") if call.get("attn_mask") is not None else None
    width = query.shape[-1]
    scale: Any = call.get("scale")
    if scale is None and isinstance(width, int):
        scale = width**-0.5
    operands = (query, key, value, _as_truth(mask), float(f"{scale:.5g}"))
    return Expression("attention", operands, call.type)


def _as_truth(mask: Expression | None) -> Expression | None:
    """What is added to hide positions, as the truth values by which it was made."""
    if mask is None or mask.name != "where":
        return mask
    condition, shown, hidden = mask.operands
    least = (rounded(float(np.finfo(np.float32).min)), "-inf")
    is_mask = shown == number(0) and hidden.name == "number" and hidden.operands in least
    return condition if is_mask else mask
