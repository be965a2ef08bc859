"""ONNX's operators that move, join, cut and pick elements."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from trtdsl.importers.onnx_node import Known, Node, Value, dtype_of, known, rule
from trtdsl.importers.program import Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, DType, Undecided, bounds, equal, less_equal, maximum, minimum, product, surely

# --- Shapes -----------------------------------------------------------------------------------------------


@rule("Reshape")
def _reshape(node: Node) -> Ref:
    shape: Any = node.ints_or(1, "shape")
    source = node.type(0)
    wanted: list[Dim] = []
    for axis, size in enumerate(shape):
        copies = _is_number(size, 0) and not node.attribute("allowzero", 0)
        wanted.append(source.shape[axis] if copies else size)
    found = _without_unknown(wanted, source.size)
    kept = len(found) - 1
    if 0 < kept < source.rank - 1 and found == (*source.shape[:kept], product(source.shape[kept:])):
        return node.one("flatten", self=node.tensor(0), start_dim=kept)
    return node.reshape(0, found)


def _is_number(value: Any, number: int) -> bool:
    return isinstance(value, int) and value == number


def _without_unknown(shape: list[Dim], size: Dim) -> tuple[Dim, ...]:
    """With what -1 stands for, where that is exact."""
    if not any(_is_number(each, -1) for each in shape):
        return tuple(shape)
    others = product(each for each in shape if not _is_number(each, -1))
    if _is_number(others, 0):
        return tuple(shape)
    rest = size // others
    try:
        exact = equal(rest * others, size)
    except Undecided:
        exact = False
    return tuple(rest if exact and _is_number(each, -1) else each for each in shape)


@rule("Transpose")
def _transpose(node: Node) -> Ref:
    order = node.attribute("perm") or list(range(node.rank(0)))[::-1]
    if order == list(range(len(order))):
        return node.tensor(0)
    return node.one("permute", self=node.tensor(0), dims=tuple(order))


@rule("Flatten")
def _flatten(node: Node) -> Ref:
    shape = node.type(0).shape
    axis = node.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    if axis == 1 and len(shape) > 1:
        return node.one("flatten", self=node.tensor(0), start_dim=1)
    return node.reshape(0, (product(shape[:axis]), product(shape[axis:])))


@rule("Squeeze")
def _squeeze(node: Node) -> Ref:
    shape = node.type(0).shape
    axes = node.ints_or(1, "axes")
    if axes is None:
        axes = [axis for axis, size in enumerate(shape) if _is_number(size, 1)]
    dims = tuple(sorted(node.axis(axis) for axis in axes))
    for dim in dims:
        if not _is_number(shape[dim], 1):
            raise Refused(f"axis {dim} of {node.type(0)} is not 1")
    return node.one("squeeze", self=node.tensor(0), dim=dims) if dims else node.tensor(0)


@rule("Unsqueeze")
def _unsqueeze(node: Node) -> Ref:
    axes = node.ints_or(1, "axes", ())
    rank = node.rank(0) + len(axes)
    found = node.tensor(0)
    for axis in sorted(axis % rank for axis in axes):
        found = node.one("unsqueeze", self=found, dim=axis)
    return found


@rule("Expand")
def _expand(node: Node) -> Ref:
    return expanded(node, node.tensor(0), node.ints(1, "`shape`"))


def expanded(node: Node, source: Ref, wanted: tuple[Dim, ...]) -> Ref:
    """A tensor broadcast with a shape."""
    shape = node.type(source).shape
    rank = max(len(shape), len(wanted))
    own, other = (1,) * (rank - len(shape)) + shape, (1,) * (rank - len(wanted)) + wanted
    sizes = tuple(left if _is_number(right, 1) else right for left, right in zip(own, other, strict=True))
    return source if sizes == shape else node.one("expand", self=source, size=sizes)


@rule("Tile")
def _tile(node: Node) -> Ref:
    return node.one("tile", self=node.tensor(0), dims=node.ints_or(1, "repeats"))


@rule("Concat")
def _concat(node: Node) -> Ref:
    tensors = node.tensors()
    axis = node.axis(node.attribute("axis", 1))
    return tensors[0] if len(tensors) == 1 else node.one("cat", tensors=tensors, dim=axis)


@rule("Split")
def _split(node: Node) -> tuple[Ref, ...]:
    axis = node.axis(node.attribute("axis", 0))
    sizes = node.ints_or(1, "split")
    count = len(node.outputs)
    whole = node.type(0).shape[axis]
    if sizes is None:
        parts = node.attribute("num_outputs", count)
        sizes = _equal(-(-whole // parts), whole, parts)
    return _parts(node, axis, sizes)


def _equal(size: Dim, whole: Dim, count: int) -> tuple[Dim, ...]:
    """So many parts of one size, the last with what is left."""
    return (*(size,) * (count - 1), whole - size * (count - 1))


def _parts(node: Node, axis: int, sizes: tuple[Dim, ...]) -> tuple[Ref, ...]:
    """The parts of these sizes of what a node is given first."""
    whole = node.tensor(0)
    if len(sizes) == 1:
        return (whole,)
    if all(isinstance(each, int) for each in sizes):
        is_equal = len(set(sizes)) == 1
        given = {"split_size": sizes[0]} if is_equal else {"split_sizes": sizes}
        return node.emit("split", self=whole, **given, dim=axis)
    if len({*sizes}) == 1:
        return node.emit("chunk", self=whole, chunks=len(sizes), dim=axis)
    ends = [*accumulate(sizes)]
    starts = [0, *ends[:-1]]
    return tuple(cut(node, whole, axis, start, end, 1) for start, end in zip(starts, ends, strict=True))


def pieces_of(node: Node) -> tuple[Value, ...]:
    """What ``SplitToSequence`` gives."""
    axis = node.axis(node.attribute("axis", 0))
    length = node.type(0).shape[axis]
    sizes: tuple[Dim, ...] = node.ints(1, "`split`") if node.has(1) else (1,)
    if not node.has(1) or node.rank(1) == 0:
        least, most = bounds(-(-length // sizes[0]))
        if least != most:
            raise Refused(f"how many pieces of {sizes[0]} it makes depends on the dynamic `{length}`")
        sizes = _equal(sizes[0], length, most)
    keeps = node.has(1) or node.attribute("keepdims", 1)
    source = node[0]
    if isinstance(source, Known) and not source.is_weight and isinstance(length, int):
        cuts: Any = [*accumulate(sizes)][:-1]
        parts = np.split(source.array, cuts, axis)
        return tuple(known(part if keeps else part.squeeze(axis), source.dtype) for part in parts)
    pieces = _parts(node, axis, sizes)
    return pieces if keeps else tuple(node.one("squeeze", self=each, dim=(axis,)) for each in pieces)


@rule("Slice")
def _slice(node: Node) -> Ref:
    starts, ends = node.ints_or(1, "starts"), node.ints_or(2, "ends")
    axes = node.ints_or(3, "axes", tuple(range(len(starts))))
    steps = node.ints(4, "`steps`") if node.has(4) else (1,) * len(starts)
    found = node.tensor(0)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        found = cut(node, found, node.axis(axis, found), start, end, step)
    return found


def cut(node: Node, source: Ref, dim: int, start: Dim, end: Dim, step: Dim) -> Ref:
    """A slice along one axis; a negative step flips what it takes."""
    size = node.type(source).shape[dim]
    if not isinstance(step, int):
        raise Refused("a slice's step must not depend on a dynamic dimension")
    if step < 0:
        last = _clipped(start, size, -1, -1)
        first = _clipped(end, size, -1, -1)
        taken = cut(node, source, dim, first + 1, last + 1, 1)
        taken = node.one("flip", self=taken, dims=(dim,))
        return taken if step == -1 else cut(node, taken, dim, 0, node.type(taken).shape[dim], -step)
    start, end = _clipped(start, size, 0, 0), _clipped(end, size, 0, 0)
    if _is_number(start, 0) and step == 1 and (end == size):
        return source
    if isinstance(start, int) and isinstance(end, int) and end < start:
        end = start
    return node.one("slice", self=source, dim=dim, start=start, end=None if end == size else end, step=step)


def _clipped(position: Dim, size: Dim, low: int, over: int) -> Dim:
    """A position of a slice within the axis, as ONNX and numpy clip it."""
    if isinstance(position, int) and position > 2**30:
        return size + over
    if isinstance(position, int) and position < -(2**30):
        return low
    if isinstance(position, int) and position < 0:
        position = position + size
        return position if surely(less_equal, low, position) else maximum(low, position)
    limit = size + over
    return position if surely(less_equal, position, limit) else minimum(position, limit)


@rule("Pad")
def _pad(node: Node) -> Ref:
    pads: Any = node.ints_or(1, "pads", node.attribute("paddings"))
    rank = node.rank(0)
    axes = node.ints(3, "`axes`") if node.has(3) else tuple(range(rank))
    count = len(axes)
    before: list[Dim] = [0] * rank
    after: list[Dim] = [0] * rank
    for number, axis in enumerate(axes):
        if not isinstance(axis, int):
            raise Refused("`axes` must not depend on a dynamic dimension")
        before[node.axis(axis)], after[node.axis(axis)] = pads[number], pads[count + number]
    found: str = node.attribute("mode", "constant")
    mode = {"edge": "replicate", "wrap": "circular"}.get(found, found)
    value = node.scalar(2, "`constant_value`") if node.has(2) else node.attribute("value", 0)
    return padded(node, node.tensor(0), before, after, mode, value)


def padded(node: Node, source: Ref, before: Any, after: Any, mode: str = "constant", value: Any = 0) -> Ref:
    """A tensor padded before and after each axis."""
    pairs = [each for pair in list(zip(before, after, strict=True))[::-1] for each in pair]
    if mode == "constant" or mode == "reflect":
        while len(pairs) > 2 and pairs[-1] == 0 and pairs[-2] == 0:
            del pairs[-2:]
    if all(_is_number(each, 0) for each in pairs):
        return source
    if mode != "constant":
        return _mirrored(node, source, pairs, mode)
    if node.type(source).dtype is DType.BOOL:
        raise Refused("it pads a tensor of truth values")
    return node.one("pad", self=source, pad=tuple(pairs), mode=mode, value=value)


def _mirrored(node: Node, source: Ref, pairs: list[Dim], mode: str) -> Ref:
    """Modes that the language has for the last axes of a tensor with batch and channels."""
    while len(pairs) > 2 and pairs[-1] == 0 and pairs[-2] == 0:
        del pairs[-2:]
    rank, axes = node.rank(source), len(pairs) // 2
    if axes > 3:
        raise Refused(f'it pads {axes} axes in mode "{mode}"')
    shape = node.type(source).shape
    if rank in (axes + 1, axes + 2):
        return node.one("pad", self=source, pad=tuple(pairs), mode=mode)
    lead = shape[: rank - axes]
    flat = node.reshape(source, (1, product(lead), *shape[rank - axes :]))
    found = node.one("pad", self=flat, pad=tuple(pairs), mode=mode)
    return node.reshape(found, (*lead, *node.type(found).shape[2:]))


@rule("DepthToSpace")
def _depth_to_space(node: Node) -> Ref:
    block = node.attribute("blocksize")
    if node.attribute("mode", "DCR") == "CRD":
        return node.one("pixel_shuffle", self=node.tensor(0), upscale_factor=block)
    n, c, h, w = node.type(0).shape
    apart = node.reshape(0, (n, block, block, c // (block * block), h, w))
    moved = node.one("permute", self=apart, dims=(0, 3, 4, 1, 5, 2))
    return node.reshape(moved, (n, c // (block * block), h * block, w * block))


@rule("SpaceToDepth")
def _space_to_depth(node: Node) -> Ref:
    block = node.attribute("blocksize")
    if node.attribute("mode", "DCR") == "CRD":
        return node.one("pixel_unshuffle", self=node.tensor(0), downscale_factor=block)
    n, c, h, w = node.type(0).shape
    apart = node.reshape(0, (n, c, h // block, block, w // block, block))
    moved = node.one("permute", self=apart, dims=(0, 3, 5, 1, 2, 4))
    return node.reshape(moved, (n, c * block * block, h // block, w // block))


# --- Made from numbers ------------------------------------------------------------------------------------


@rule("ConstantOfShape")
def _constant_of_shape(node: Node) -> Ref:
    from onnx import numpy_helper

    shape = node.ints(0, "its shape")
    value = node.attribute("value")
    array = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    dtype = dtype_of(array.dtype)
    return node.one("full", size=shape, fill_value=array.reshape(-1)[0].item(), dtype=dtype)


@rule("Range")
def _range(node: Node) -> Ref:
    start, end, step = (node.scalar(index, "`start`, `limit` and `delta` of Range") for index in range(3))
    found = node.one("arange", start=start, end=end, step=step)
    return node.cast(found, dtype_of(node.type(0).dtype.numpy))


@rule("EyeLike")
def _eye_like(node: Node) -> Ref:
    import onnx

    type = node.type(0)
    kind = node.attribute("dtype")
    dtype = dtype_of(onnx.helper.tensor_dtype_to_np_dtype(kind)) if kind else type.dtype
    rows, columns = type.shape
    if node.attribute("k", 0):
        raise Refused("its diagonal is not the main one")
    return node.one("eye", n=rows, m=columns, dtype=dtype)


@rule("Constant")
def _constant(node: Node) -> Known:
    """What a ``Constant`` holds."""
    from onnx import numpy_helper

    for name, value in node.attributes.items():
        if name == "value":
            array = np.array(numpy_helper.to_array(value))
            is_weight = array.dtype.kind not in "iub" and array.size > 1
            return Known(array, array.dtype, node.outputs[0] if is_weight else "")
        if name in ("value_int", "value_ints"):
            return known(np.array(value, np.int64))
        if name in ("value_float", "value_floats"):
            return known(np.array(value, np.float32))
    raise Refused("it holds neither a tensor nor numbers")
