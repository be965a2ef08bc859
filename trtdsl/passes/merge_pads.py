"""Pads of slices, slices of pads and pads of pads become one pad.

TensorRT's slice layer cuts and fills at once, and so does PyTorch's ``pad``, where a negative amount cuts.
"""

from __future__ import annotations

from trtdsl.ir import Graph, Node, Outcome, Surroundings, rewrite
from trtdsl.ops.indexing import Slice
from trtdsl.ops.pad import Pad
from trtdsl.ops.refused import Refused
from trtdsl.ops.strided_slice import StridedSlice
from trtdsl.passes.cutting import Edges, edges_of, pad_of
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import made_by
from trtdsl.types import Dim, Undecided, less_equal, surely


@graph_pass(
    after=["merge_slices"],
    before=["remove_dead_nodes"],
    why="slices of several dimensions are then one, and taken from what they lie in",
)
def merge_pads(graph: Graph) -> Graph:
    """Merge pads with the slices and pads before and after them, where nothing else reads what is between.

    A side that was cut is not padded: what was cut off would stand where the fill belongs.

    before::

        model example() {
          input x: float32[2, 8, 16]
          later = slice(x, 1, 1)
          y = pad(later, (0, 0, 0, 1))
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 8, 16]
          y = pad(x, (0, 0, -1, 1))
          output y = y
        }
    """
    return rewrite(graph, _merged)


def _merged(node: Node, around: Surroundings) -> Outcome:
    if not isinstance(node.op, Pad | Slice | StridedSlice):
        return None
    before = made_by(node.operands[0], around, Pad, Slice, StridedSlice)
    if before is None or not any(isinstance(each.op, Pad) for each in (before, node)):
        return None
    try:
        return _as_one(before, node, around)
    except (Refused, Undecided):  # what is cut depends on a size
        return None


def _as_one(before: Node, node: Node, around: Surroundings) -> Outcome:
    inner, outer = edges_of(before), edges_of(node)
    if inner is None or outer is None:
        return None
    fills = {each.fill for each in (inner, outer) if each.fill is not None}
    amounts: list[tuple[Dim, Dim]] = []
    for (first, last), (then_first, then_last) in zip(inner.amounts, outer.amounts, strict=True):
        if not (_may_follow(then_first, first) and _may_follow(then_last, last)):
            return None
        amounts.append((first + then_first, last + then_last))
    if len(fills) > 1:
        return None
    op = pad_of(Edges(tuple(amounts), next(iter(fills), None)))
    (source,) = before.operands
    if not op.pad:
        return source
    build = around.builder()
    build.place(op, source, scope=node.scope, origins=node.origins, results=node.results)
    return build.nodes


def _may_follow(then: Dim, amount: Dim) -> bool:
    """Whether the second of two amounts at one side only cuts, or the first one cuts nothing."""
    return surely(less_equal, then, 0) or surely(less_equal, 0, amount)
