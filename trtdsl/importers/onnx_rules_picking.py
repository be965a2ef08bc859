"""ONNX's operators that pick elements by positions, and write to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtdsl.importers.core_aten import run_of
from trtdsl.importers.onnx_node import Known, Node, Value, dtype_of, rule
from trtdsl.importers.onnx_rules_moving import cut
from trtdsl.importers.program import Argument, Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, DType, SymbolicDim


@rule("Gather")
def _gather(node: Node) -> Ref:
    axis = node.axis(node.attribute("axis", 0))
    index = node[1]
    if isinstance(index, Known) and index.array.ndim == 0:
        return node.one("select", self=node.tensor(0), dim=axis, index=_one(index))
    if axis == 0 and isinstance(node[0], Known) and node.rank(0) == 2 and node.type(0).dtype.is_floating:
        label = node.label((0, "weight"))
        return node.one(
            "embedding", weight=node.weight(0, "weight", label), indices=_positions(node, 1, 0, axis)
        )
    if isinstance(index, Known) and not index.is_symbolic:
        run = run_of(index.array)
        if run is not None:
            return cut(node, node.tensor(0), axis, run[0], run[1], 1)
    indices = _positions(node, 1, 0, axis)
    return node.one("index", self=node.tensor(0), indices=(*(None for _ in range(axis)), indices))


def _one(index: Known) -> Any:
    (found,) = index.array.reshape(-1).tolist()
    return found


def _positions(node: Node, index: int, source: int | Value, axis: int) -> Ref:
    """Indices, those counted from the end counted from the front."""
    value = node[index]
    size = node.type(source).shape[axis]
    if isinstance(value, Known) and not value.is_symbolic:
        if not (value.array < 0).any():
            return node.tensor(value)
        if isinstance(size, int):
            array = np.where(value.array < 0, value.array + size, value.array).astype(value.dtype)
            return node.tensor(Known(array, value.dtype))
    return node.tensor(value)


@rule("GatherElements")
def _gather_elements(node: Node) -> Ref:
    axis = node.axis(node.attribute("axis", 0))
    index = _wrapped(node, 1, node.type(0).shape[axis])
    return node.one("gather", self=node.tensor(0), dim=axis, index=index)


def _wrapped(node: Node, index: int, size: Dim) -> Ref:
    """Indices counted from the front, in int64."""
    value = node[index]
    if isinstance(value, Known) and not value.is_symbolic and isinstance(size, int):
        array = np.where(value.array < 0, value.array + size, value.array).astype(np.int64)
        return node.tensor(Known(array, array.dtype))
    found = node.cast(node.tensor(value), DType.INT64)
    if isinstance(value, Known):
        return found
    behind = node.one("add", input=found, other=size)
    return node.one("where", condition=node.one("lt", input=found, other=0), self=behind, other=found)


@rule("GatherND")
def _gather_nd(node: Node) -> Ref:
    batch = node.attribute("batch_dims", 0)
    rank = node.rank(1) - 1
    # Along the axes of the batch each index stays where it is.
    still: list[Ref] = []
    for axis, size in enumerate(node.type(0).shape[:batch]):
        places = node.one("arange", start=0, end=size)
        still.append(node.reshape(places, (*(1,) * axis, size, *(1,) * (rank - axis - 1))))
    return node.one("index", self=node.tensor(0), indices=(*still, *_columns(node, 1, batch)))


def _columns(node: Node, index: int, first: int = 0) -> tuple[Ref, ...]:
    """Indices in the last axis, as one tensor for each axis of what is indexed from ``first`` on."""
    value = node[index]
    depth = node.type(value).shape[-1]
    if isinstance(depth, SymbolicDim):
        raise Refused("how many axes it indexes is dynamic")
    if isinstance(value, Known) and not value.is_symbolic:
        shape = node.type(0).shape[first:]
        columns: list[Ref] = []
        for axis in range(depth):
            size, array = shape[axis], value.array[..., axis]
            if isinstance(size, int):
                array = np.where(array < 0, array + size, array)
            columns.append(node.tensor(Known(array.astype(np.int64), np.dtype(np.int64))))
        return tuple(columns)
    source = node.tensor(value)
    return tuple(
        node.one("select", self=source, dim=node.rank(source) - 1, index=axis) for axis in range(depth)
    )


@rule("ScatterND")
def _scatter_nd(node: Node) -> Ref:
    reduction = node.attribute("reduction", "none")
    if reduction not in ("none", "add"):
        raise Refused(f'the language has no index_put with reduction "{reduction}"')
    columns = _columns(node, 1)
    return node.one(
        "index_put",
        self=node.tensor(0),
        indices=columns,
        values=node.tensor(2),
        accumulate=reduction == "add",
    )


@rule("ScatterElements", "Scatter")
def _scatter_elements(node: Node) -> Ref:
    axis = node.axis(node.attribute("axis", 0))
    index = _wrapped(node, 1, node.type(0).shape[axis])
    given: dict[str, Argument] = {"dim": axis, "index": index, "src": node.tensor(2)}
    reduction = node.attribute("reduction", "none")
    if reduction == "none":
        return node.one("scatter", self=node.tensor(0), **given)
    name = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[reduction]
    return node.one("scatter_reduce", self=node.tensor(0), **given, reduce=name)


@rule("OneHot")
def _one_hot(node: Node) -> Ref:
    depth = node.scalar(1, "`depth`")
    values = node[2]
    axis = node.attribute("axis", -1)
    source = node.cast(node.tensor(0), DType.INT64)
    rank = node.rank(source) + 1
    axis = axis % rank
    # Indices outside -depth .. depth - 1 light nothing, as a comparison has it.
    count = int(depth)
    behind = node.one("add", input=source, other=count)
    inside = node.one("where", condition=node.one("lt", input=source, other=0), self=behind, other=source)
    places = node.one("arange", start=0, end=count)
    places = node.reshape(places, (count, *(1,) * (rank - 1 - axis)))
    is_lit = node.one("eq", input=node.one("unsqueeze", self=inside, dim=axis), other=places)
    if isinstance(values, Ref):
        off = node.one("select", self=values, dim=0, index=0)
        on = node.one("select", self=values, dim=0, index=1)
        return node.one("where", condition=is_lit, self=on, other=off)
    off, on = values.array.tolist()
    lit = node.cast(is_lit, dtype_of(values.dtype))
    if (off, on) == (0, 1):
        return lit
    return node.one("add", input=node.one("mul", input=lit, other=on - off), other=off)


@rule("Trilu")
def _trilu(node: Node) -> Ref:
    diagonal = node.scalar(1, "`k`") if node.has(1) else 0
    if node.type(0).dtype is DType.BOOL:
        raise Refused("it takes a triangle of truth values")
    return node.one("triu" if node.attribute("upper", 1) else "tril", self=node.tensor(0), diagonal=diagonal)


@rule("ReverseSequence")
def _reverse_sequence(node: Node) -> Ref:
    raise Refused("the language does not flip each sequence at a length of its own")


@rule("NonZero")
def _non_zero(node: Node) -> Ref:
    raise Refused("the size of its result depends on values; a comparison with `where` does not")


@rule("Compress")
def _compress(node: Node) -> Ref:
    value = node[1]
    if isinstance(value, Ref):
        raise Refused("the size of its result depends on values")
    axis = node.attribute("axis")
    source = node.tensor(0) if axis is not None else node.reshape(0, (node.type(0).size,))
    places = np.flatnonzero(value.array).astype(np.int64)
    index = node.tensor(Known(places, places.dtype))
    return node.one("index_select", self=source, dim=node.axis(axis or 0, source), index=index)
