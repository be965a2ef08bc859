"""A recurrence of a known number of steps without a loop, for `gpu_forms.py`.

A loop's iterations pay for its boundary layers, and two directions cannot be computed beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trtdsl.ops.lowering import Along, Network, Step, Tensor
from trtdsl.trt.control_flow import ControlFlowNetwork
from trtdsl.trt.facts import Facts


def unrolled():
    """The layers of all steps, one after the other."""
    loop = ControlFlowNetwork.scan

    def scan(
        net: ControlFlowNetwork, step: Step, sequences: Sequence[Along], initial: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        length = sequences[0].length
        if not isinstance(length, int):
            return loop(net, step, sequences, initial)
        emitted, carried = [], initial
        for index in range(length):
            places = [length - 1 - index if each.reverse else index for each in sequences]
            elements = [_element(net, *pair) for pair in zip(sequences, places, strict=True)]
            found, carried = step(elements, carried)
            emitted.append(found)
        return tuple(_stacked(net, rows) for rows in zip(*emitted, strict=True)), tuple(carried)

    ControlFlowNetwork.scan = scan


def unrolled_behind_a_product():
    """The same, of which one product of the whole sequence stands ahead."""
    unrolled()
    behind_a_product()


def behind_a_product():
    """A loop behind one product of the whole sequence."""
    of_release: Any = Facts.habits
    Facts.habits = property(lambda facts: replace(of_release.fget(facts), hoists_products=False))


def _element(net: Network, each: Along, index: int) -> Tensor:
    x, dim = each.tensor, each.dim
    start = [0] * x.rank
    start[dim] = index
    row = net.slice(x, start, (*x.shape[:dim], 1, *x.shape[dim + 1 :]))
    return net.reshape(row, (*x.shape[:dim], *x.shape[dim + 1 :]))


def _stacked(net: Network, rows: Sequence[Along]) -> Tensor:
    def wide(each: Along) -> Tensor:
        shape = each.tensor.shape
        return net.reshape(each.tensor, (*shape[: each.dim], 1, *shape[each.dim :]))

    ordered: Sequence[Any] = rows[::-1] if rows[0].reverse else rows
    return net.concat([wide(each) for each in ordered], rows[0].dim)
