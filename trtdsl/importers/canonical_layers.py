"""Recurrent layers, each said in one way: one after the other, the sequence in front of the batch.

In: a :class:`~trtdsl.importers.canonical.Call`.  Out: its expressions.
"""

from __future__ import annotations

from typing import Any

from trtdsl.importers.canonical import Call, Expression, Results, Unclear, number, rule
from trtdsl.importers.canonical_moving import joined, permuted, taken
from trtdsl.importers.program import Argument


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(call: Call) -> Results:
    value, hx = call.tensor("input"), call.get("hx")
    turn = (1, 0, 2) if call.get("batch_first") else (0, 1, 2)
    value = permuted(value, turn)
    states = call.values(hx if isinstance(hx, tuple) else (hx,))
    states = [] if all(map(_is_zero, states)) else states
    directions, length = 2 if call.get("bidirectional") else 1, value.shape[0]
    ends: list[list[Expression]] = [[] for _ in call.types[1:]]
    for layer, weights in enumerate(_weights_of(call, directions)):
        first = layer * directions
        given = tuple(taken(each, 0, first, first + directions) for each in states)
        whole = (call.operation.base, value, weights, given)
        for place, (found, type) in enumerate(zip(ends, call.types[1:], strict=True), 1):
            shape = (directions, *type.shape[1:])
            found.append(Expression("item", (whole, place), type.with_shape(shape)))
        batch, width = call.types[1].shape[1:]
        shape = (length, batch, directions * width)
        value = Expression("item", (whole, 0), call.type.with_shape(shape))
    last = (joined(each, 0, type) for each, type in zip(ends, call.types[1:], strict=True))
    return permuted(value, turn), *last


def _weights_of(call: Call, directions: int) -> list[tuple[Expression, ...]]:
    """The weights of each layer, by their values."""
    params: tuple[Argument, ...] = call.get("params")
    count = directions * (4 if call.get("has_biases") else 2)
    if len(params) != count * call.get("num_layers"):
        raise Unclear(call.operation.name)
    return [call.elements(params[first : first + count]) for first in range(0, len(params), count)]


def _is_zero(value: Any) -> bool:
    """Whether a state is what a layer begins with by itself."""
    if value.name in ("expand", "reshape"):
        return _is_zero(value.operands)
    if value.name == "slice":
        return _is_zero(value.operands[0])
    if value.name == "constant":
        return not any(value.operands)
    return value == number(0)
