"""Slices of step 1 and constant pads as what both are: amounts that are added to dimensions, or cut."""

from __future__ import annotations

from typing import NamedTuple

from trtdsl.ir import Node
from trtdsl.ops.indexing import Slice
from trtdsl.ops.pad import Amounts, Pad, pairs
from trtdsl.ops.refused import Refused
from trtdsl.ops.strided_slice import StridedSlice
from trtdsl.types import Dim, Undecided, less_equal, surely


class Edges(NamedTuple):
    """What is added to every dimension, before and after, negative where it is cut; and the fill, if any."""

    amounts: Amounts
    fill: float | None


def edges_of(node: Node) -> Edges | None:
    """What a constant pad adds, or what a slice of step 1 cuts.

    None for other pads and slices, and where that depends on a size.
    """
    try:
        return _edges(node)
    except (Refused, Undecided):
        return None


def pad_of(edges: Edges) -> Pad:
    """The pad that adds and cuts these, as PyTorch has it: last dimension first, as short as it can be."""
    pad = tuple(amount for sides in reversed(edges.amounts) for amount in sides)
    while pad and pad[-2:] == (0, 0):
        pad = pad[:-2]
    return Pad(pad, value=edges.fill or None)


def _edges(node: Node) -> Edges | None:
    shape = node.operands[0].type.shape
    if isinstance(node.op, Pad):
        if node.op.mode != "constant":
            return None
        given = pairs(node.op.pad)
        amounts = (*((0, 0),) * (len(shape) - len(given)), *given)
        adds = not all(surely(less_equal, amount, 0) for sides in amounts for amount in sides)
        return Edges(amounts, (node.op.value or 0.0) if adds else None)
    assert isinstance(node.op, Slice | StridedSlice)
    parts = node.op.slices(len(shape)) if isinstance(node.op, StridedSlice) else [node.op]
    cut: list[tuple[Dim, Dim]] = [(0, 0)] * len(shape)
    for part in parts:
        if part.step != 1:
            return None
        axis = part.dim % len(shape)
        start, length = part.bounds(shape[axis])
        cut[axis] = (-start, start + length - shape[axis])
    return Edges(tuple(cut), None)
