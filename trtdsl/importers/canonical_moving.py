"""Operations that only move elements, each said in one way: reshape, permute, slice, expand, cat.

In: a :class:`~trtdsl.importers.canonical.Call`.  Out: its expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtdsl.importers.canonical import Call, Expression, Results, Unclear, rounded, rule
from trtdsl.importers.core_aten import are_in_order, run_of
from trtdsl.importers.program import Ref
from trtdsl.types import Dim, DType, TensorType, product


def reshaped(value: Expression, shape: tuple[Dim, ...]) -> Expression:
    source = value.operands if value.name == "reshape" else value
    return source if source.shape == shape else Expression("reshape", source, value.type.with_shape(shape))


def permuted(value: Expression, order: tuple[int, ...]) -> Expression:
    if value.name == "permute":
        value, inner = value.operands
        order = tuple(inner[each] for each in order)
    if order == tuple(range(len(order))):
        return value
    if value.name == "written":
        whole, part, dim, start = value.operands
        return overwritten(permuted(whole, order), permuted(part, order), order.index(dim), start)
    moved = [each for each in order if value.shape[each] != 1]
    shape = tuple(value.shape[each] for each in order)
    if moved == sorted(moved):
        return reshaped(value, shape)
    return Expression("permute", (value, order), value.type.with_shape(shape))


def taken(value: Expression, dim: int, start: Dim, stop: Dim, step: int = 1) -> Expression:
    size = value.shape[dim]
    if start == 0 and stop == size and step == 1:
        return value
    if value.name == "cat" and value.operands[1] == dim and step == 1:
        begin: Dim = 0
        for part in value.operands[0]:
            end = begin + part.shape[dim]
            if (begin, end) == (start, stop):
                return part
            begin = end
    length = stop - start if step == 1 else -(-(stop - start) // step)
    shape = (*value.shape[:dim], length, *value.shape[dim + 1 :])
    return Expression("slice", (value, dim, start, step), value.type.with_shape(shape))


def joined(parts: Sequence[Expression], dim: int, type: TensorType) -> Expression:
    """Parts one behind the other, without those of nothing."""
    parts = [each for each in parts if each.shape[dim] != 0] or parts
    return parts[0] if len(parts) == 1 else Expression("cat", (tuple(parts), dim), type)


@rule(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as"
)
def _reshape(call: Call) -> Expression:
    return reshaped(call.tensor(), call.type.shape)


@rule("alias", "clone", "contiguous", "detach", "lift_fresh_copy", "dropout", "native_dropout")
def _nothing(call: Call) -> Expression:
    return call.tensor()


@rule("as_strided")
def _as_strided(call: Call) -> Expression:
    """What shows all elements in their order."""
    value, shape = call.tensor(), call.type.shape
    strides: Any = call.get("stride")
    offset = call.get("storage_offset") or 0
    found = strided(value, shape, tuple(strides), offset)
    if found is None:
        raise Unclear(call.operation.name)
    return found


def strided(
    value: Expression, shape: Sequence[Dim], strides: Sequence[Dim], offset: Dim
) -> Expression | None:
    """The elements at multiples of these strides, where that is all of them in their order."""
    is_whole = offset == 0 and are_in_order(shape, strides) and product(shape) == value.type.size
    return reshaped(value, tuple(shape)) if is_whole else None


def positions(index: Expression) -> tuple[Dim, ...] | None:
    """The strides of positions that are a sum of multiples of each dimension's own; None for others."""
    rank = len(index.shape)
    if index.name == "number":
        return (0,) * rank if index.operands == 0 else None
    if index.name == "add":
        parts = [positions(_spread(each, rank)) for each in index.operands]
        known = [each for each in parts if each is not None]
        return tuple(map(sum, zip(*known, strict=True))) if len(known) == len(parts) == 2 else None
    if index.name == "constant":
        array = np.frombuffer(index.operands, index.type.dtype.numpy).reshape(index.shape)
        strides = tuple(
            int(array.take(1, axis).flat[0]) if size > 1 else 0 for axis, size in enumerate(array.shape)
        )
        places = np.indices(array.shape).reshape(rank, -1)
        return strides if (np.dot(strides, places) == array.reshape(-1)).all() else None
    source = index.operands if index.name == "reshape" else index
    factor: Dim = 1
    if source.name == "mul" and len(source.operands[0]) == 2:
        pair = sorted(source.operands[0], key=lambda each: each.name == "number")
        factor, source = pair[1].operands, pair[0]
    axes = [axis for axis, size in enumerate(index.shape) if size != 1]
    if source.name != "arange" or source.operands[0] != 0 or source.operands[2] != 1 or len(axes) > 1:
        return None
    return tuple(factor if axis in axes else 0 for axis in range(rank))


def _spread(value: Expression, rank: int) -> Expression:
    """A value with dimensions of 1 in front."""
    missing = rank - len(value.shape)
    if value.name == "number":
        return value._replace(type=value.type.with_shape((1,) * rank))
    return reshaped(value, (*(1,) * missing, *value.shape)) if missing else value


@rule("permute", "transpose", "t", "numpy_T", "swapaxes", "swapdims", "movedim")
def _permute(call: Call) -> Expression:
    value = call.tensor()
    rank = len(value.shape)
    order = list(range(rank))
    if call.operation.base == "permute":
        order = list(call.dims("dims"))
    elif call.operation.base == "movedim":
        source, target = call.dims("source"), call.dims("destination")
        rest = iter(each for each in range(rank) if each not in source)
        placed = dict(zip(target, source, strict=True))
        order = [placed[each] if each in placed else next(rest) for each in range(rank)]
    else:
        first, second = [name for name in call.operation.arguments if name[-1] in "01"] or ("", "")
        left, right = (call.get(first) % rank, call.get(second) % rank) if first else (0, rank - 1)
        order[left], order[right] = order[right], order[left]
    return permuted(value, tuple(order))


@rule("expand", "expand_as", "broadcast_to")
def _expand(call: Call) -> Expression:
    value = call.tensor()
    return value if value.shape == call.type.shape else Expression("expand", value, call.type)


@rule("repeat", "tile")
def _tiled(call: Call) -> Expression:
    """The whole several times along each axis, also in new ones in front."""
    times: Any = call.get("repeats", call.get("dims"))
    if not isinstance(times, tuple) or any(isinstance(each, Ref) for each in times):
        raise Unclear(call.operation.name)
    value, rank = call.tensor(), len(call.type.shape)
    times = (*(1,) * (rank - len(times)), *times)
    value = reshaped(value, (*(1,) * (rank - len(value.shape)), *value.shape))
    return Expression("tile", (value, times), call.type) if set(times) != {1} else value


@rule("repeat_interleave")
def _repeat(call: Call) -> Expression:
    """Each element several times behind itself: along an axis of its own behind the one."""
    value, times = call.tensor(), call.get("repeats")
    if isinstance(times, Ref) or call.get("dim") is None:
        raise Unclear(call.operation.name)
    (dim,) = call.dims()
    front, back = value.shape[: dim + 1], value.shape[dim + 1 :]
    apart = reshaped(value, (*front, 1, *back))
    if times == 1:
        return value
    wide = Expression("expand", apart, value.type.with_shape((*front, times, *back)))
    return reshaped(wide, call.type.shape)


@rule("select")
def _select(call: Call) -> Expression:
    value = call.tensor()
    (dim,) = call.dims()
    index: Any = call.get("index")
    if isinstance(index, Ref):
        raise Unclear(call.operation.name)
    index = index + value.shape[dim] if isinstance(index, int) and index < 0 else index
    return reshaped(taken(value, dim, index, index + 1), call.type.shape)


@rule("slice")
def _slice(call: Call) -> Expression:
    value = call.tensor()
    (dim,) = call.dims()
    size, step = value.shape[dim], call.get("step", 1)
    start: Any = call.get("start") or 0
    start = start + size if isinstance(start, int) and start < 0 else start
    if step == 1:
        return taken(value, dim, start, start + call.type.shape[dim])
    return Expression("slice", (value, dim, start, step), call.type)


@rule("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "tensor_split", "unbind")
def _split(call: Call) -> Results:
    value = call.tensor()
    dim = call.get("dim", 0) % len(value.shape)
    found: list[Expression] = []
    start: Dim = 0
    for type in call.types:
        length = 1 if call.operation.base == "unbind" else type.shape[dim]
        found.append(reshaped(taken(value, dim, start, start + length), type.shape))
        start = start + length
    return tuple(found)


@rule("cat", "stack")
def _cat(call: Call) -> Expression:
    tensors: Any = call.get("tensors")
    parts = call.values(tensors)
    dim = call.get("dim", 0) % len(call.type.shape)
    if call.operation.base == "stack":
        parts = [reshaped(each, (*each.shape[:dim], 1, *each.shape[dim:])) for each in parts]
    return joined(parts, dim, call.type)


def overwritten(value: Expression, part: Expression, dim: int, start: Dim) -> Expression:
    """A tensor with a part written along a dimension; what is written over the whole of it stands for it."""
    return part if part.type == value.type else Expression("written", (value, part, dim, start), value.type)


@rule("slice_scatter")
def _slice_written(call: Call) -> Expression:
    (dim,) = call.dims()
    value, start = call.tensor(), call.get("start") or 0
    if call.get("step", 1) != 1 or (isinstance(start, int) and start < 0):
        return call.plain("slice_scatter")[0]
    return overwritten(value, call.tensor("src"), dim, start)


@rule("index_put")
def _index_written(call: Call) -> Expression:
    """What is written at positions of the first dimension that follow each other is written to a slice."""
    value, part = call.tensor(), call.tensor("values")
    indices: Any = call.get("indices")
    if len(indices) != 1 or call.get("accumulate"):
        return call.plain("index_put")[0]
    (places,) = call.values(indices)
    start = _first(places)
    if start is None or part.type != value.type.with_shape((*places.shape, *value.shape[1:])):
        return call.plain("index_put")[0]
    return overwritten(value, part, 0, start)


def _first(places: Expression) -> Dim | None:
    """The first of positions that follow each other; None for others."""
    if places.name == "arange" and places.operands[2] == 1:
        return places.operands[0]
    if places.name != "constant" or len(places.shape) != 1:
        return None
    run = run_of(np.frombuffer(places.operands, places.type.dtype.numpy))
    return run and run[0]


@rule("roll")
def _roll(call: Call) -> Expression:
    value = call.tensor()
    shifts = call.get("shifts")
    dims = call.dims("dims")
    if len(shifts) != len(dims):
        raise Unclear(call.operation.name)
    for shift, dim in zip(shifts, dims, strict=True):
        size = value.shape[dim]
        if shift == 0:
            continue
        if not isinstance(size, int):
            raise Unclear(call.operation.name)
        middle = -shift % size
        if middle:
            parts = (taken(value, dim, middle, size), taken(value, dim, 0, middle))
            value = joined(parts, dim, value.type)
    return value


@rule("pad", "constant_pad_nd")
def _pad(call: Call) -> Expression:
    pad: Any = call.get("pad")
    mode = call.get("mode", "constant")
    value = rounded(call.get("value") or 0) if mode == "constant" else 0
    return _padded(call.tensor(), pad, mode, value, call.type)


def _padded(source: Expression, pad: Sequence[Dim], mode: str, value: Any, type: TensorType) -> Expression:
    pad = list(pad)
    while len(pad) > 2 and pad[-2:] == [0, 0]:
        pad = pad[:-2]
    if not any(each != 0 for each in pad):
        return source
    return Expression("pad", (source, tuple(pad), mode, value), type)


@rule("im2col")
def _unfold(call: Call) -> Expression:
    """Windows of an image as columns: its rows, then its columns, picked for each place of a kernel."""
    value, kernel = call.tensor(), call.get("kernel_size")
    dilation, padding, stride = (call.get(name) for name in ("dilation", "padding", "stride"))
    batch, channels, *image = value.shape
    if len(image) != 2 or not all(isinstance(each, int) for each in image):
        raise Unclear(call.operation.name)
    sizes = [int(str(size)) + 2 * margin for size, margin in zip(image, padding, strict=True)]
    margins = (padding[1], padding[1], padding[0], padding[0])
    value = _padded(value, margins, "constant", 0, value.type.with_shape((batch, channels, *sizes)))
    for axis, *window in zip((2, 4), sizes, kernel, dilation, stride, strict=True):
        places = _places(*window)
        shape = (*value.shape[:axis], *places.shape, *value.shape[axis + 1 :])
        value = Expression("pick", (value, axis, places), value.type.with_shape(shape))
    return reshaped(permuted(value, (0, 1, 2, 4, 3, 5)), call.type.shape)


def _places(size: int, kernel: int, dilation: int, stride: int) -> Expression:
    """Which elements of a line each place of a kernel sees, from the first window to the last."""
    first = np.arange(0, size - dilation * (kernel - 1), stride)
    found = np.arange(kernel)[:, None] * dilation + first[None]
    return Expression("constant", found.astype(np.int64).tobytes(), TensorType(DType.INT64, found.shape))
