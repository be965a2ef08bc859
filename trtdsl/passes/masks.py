"""Numbers that stand for infinity, as masks have them, in a type that does not hold them.

In: a graph and the type that it shall be computed in.  Out: the graph with the type's own largest or smallest
number in their places, and a note for each.  ``masked_fill(x, m, -3.4028234663852886e38)`` is how a model in
PyTorch hides what a softmax shall not see. In float16 the same model has -65504 there, for it says
``torch.finfo(x.dtype).min``; minus infinity would make NaN of a row that is hidden as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic
from trtdsl.ir import Graph, Node, Outcome, Surroundings, Value, Weight, graphs, rebuild, rewrite
from trtdsl.ops.logic import MaskedFill, Where
from trtdsl.types import DType

if TYPE_CHECKING:
    import numpy.typing as npt

STANDS_FOR_INFINITY = 1e30
"""Finite numbers from here on are nothing that was measured, but a mask's."""

_CHOOSING = (MaskedFill, Where)
"""Operators that take a number or leave it: one that is out of range can have no other purpose there."""

_WIDE = (DType.FLOAT32, DType.BFLOAT16)


class Masks(NamedTuple):
    """The graph whose masks the type holds, and what was changed for it."""

    graph: Graph
    notes: tuple[Diagnostic, ...]


def within_range(graph: Graph, dtype: DType) -> Masks:
    """The graph with the masks' numbers within the type's range; the graph itself where all of them are."""
    limit = dtype.largest
    chosen = set(_chosen(graph))
    notes: list[Diagnostic] = []

    def bound(node: Node, around: Surroundings) -> Outcome:
        number = _number(node, dtype)
        if number is None or not (abs(number) >= STANDS_FOR_INFINITY or node.result in chosen):
            return None
        bounded = math.copysign(limit, number)
        text = f"{number:g} stands for infinity, and becomes {bounded:g} in {dtype}"
        notes.append(replace(Diagnostic.at(text, node.origins), severity="note"))
        return node.replace(op=node.op.replace(fill_value=bounded))

    bounded = rewrite(graph, bound)
    weights: dict[Value, Value] = {}
    for weight in bounded.weights:
        if (data := _bounded_array(weight, dtype, limit)) is not None:
            weights[weight] = weight.replace(data=data)
            text = f"numbers of `{weight.key}` stand for infinity, and become {limit:g} in {dtype}"
            notes.append(Diagnostic(text, severity="note"))
    return Masks(rebuild(bounded, bounded.nodes, weights) if weights else bounded, tuple(notes))


def _number(node: Node, dtype: DType) -> float | None:
    """The finite number that a node fills a tensor with, if the type does not hold it."""
    number = getattr(node.op, "fill_value", None)
    if not isinstance(number, (int, float)) or node.result.type.dtype not in _WIDE:
        return None
    return None if dtype.holds(number) else float(number)


def _chosen(graph: Graph) -> Iterator[Value]:
    """The values that are read by nothing but a choice."""
    for each in graphs(graph):
        for value, users in each.users.items():
            only_chosen = all(isinstance(user.op, _CHOOSING) for user in users)
            if only_chosen and value not in each.output_values:
                yield value


def _bounded_array(weight: Weight, dtype: DType, limit: float) -> npt.NDArray[Any] | None:
    """The values of a weight with those beyond at the limit; None where all are within it."""
    if weight.data is None or weight.type.dtype not in _WIDE or weight.data.size == 0:
        return None
    values = weight.data.astype(np.float32, copy=False)
    if -limit <= values.min() and values.max() <= limit:  # as most are: no array is made to see it
        return None
    magnitude = np.abs(values)
    beyond = (magnitude > limit) & np.isfinite(magnitude)
    if not beyond.any() or magnitude[beyond].min() < STANDS_FOR_INFINITY:
        return None
    data = weight.data.copy()
    data[beyond] = np.copysign(limit, data[beyond].astype(np.float32)).astype(data.dtype)
    return data
