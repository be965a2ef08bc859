"""Places of extreme and sorted elements: equal values may come in any order.

In: the places that the network found and those that are expected.  Out: how far the elements at the former
are from those at the latter, which is what decides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trtdsl.ir import Node, Value, Weight
from trtdsl.verification.oracle import Array
from trtdsl.verification.result import Measure, measure
from trtdsl.verification.returned import numbers
from trtdsl.verification.setting import Computed

PLACES = {"topk": 1, "sort": 1, "max": 1, "min": 1, "argmax": 0, "argmin": 0, "argsort": 0}
"""The operators that find places, and which of their results these are."""


def measure_places(computed: Computed, value: Value, found: Array, expected: Array) -> Measure | None:
    """The measure of the elements at both places, or None where the value does not hold places."""
    node = _maker(computed, value)
    if node is None or found.shape != expected.shape:
        return None
    searched = next((v for v in node.operands if not isinstance(v, Weight)), None)
    if searched is None or searched not in computed.values:
        return None
    elements = numbers(computed.values[searched])
    dim, keepdim = getattr(node.op, "dim", None), getattr(node.op, "keepdim", True)
    if dim is None:
        elements, dim = elements.reshape(-1), 0
        found, expected = found.reshape(1), expected.reshape(1)
    elif not elements.ndim:
        elements, found, expected = (np.reshape(array, (1,)) for array in (elements, found, expected))
        dim = 0
    elif not keepdim:
        found, expected = (np.expand_dims(places, dim) for places in (found, expected))
    return _measure_elements(elements, dim, found, expected)


def _maker(computed: Computed, value: Value) -> Node | None:
    """The operator that found the places, before they were cast."""
    node = computed.graph.producers.get(value)
    while node is not None and node.op.name == "to" and not value.type.dtype.is_floating:
        value = node.operands[0]
        node = computed.graph.producers.get(value)
    if node is None or node.op.name not in PLACES or value is not node.results[-1]:
        return None
    return node if len(node.results) == PLACES[node.op.name] + 1 else None


def _measure_elements(elements: Array, dim: int, found: Array, expected: Array) -> Measure | None:
    size = elements.shape[dim]
    for places in (found, expected):
        if places.size and (places.min() < 0 or places.max() >= size):
            return None
    # No element twice: equal ones have places of their own.
    ordered: Any = np.sort(found, axis=dim)
    if ordered.shape[dim] > 1 and not np.diff(ordered, axis=dim).all():
        return None
    at = [np.take_along_axis(elements, places.astype(np.int64), dim) for places in (found, expected)]
    return measure(at[0], at[1])
