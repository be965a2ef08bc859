"""What numbers of four bits cost a model on the inputs at hand: too much for a tolerance by rules.

In: a graph before and after weights, or tensors in blocks, were put into int4 or nvfp4, and inputs.  Out: how
far each value of the quantised graph, computed exactly, is off.  The network may be off by as much, or in
nvfp4 by twice as much, beside what the roundings of the type around cost: whether the network computes what
the quantised graph does is then held to the digits of that type, and what quantisation costs is a number
that is told, and not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from trtdsl.ir import Graph, Value
from trtdsl.precision.error import relative, squares
from trtdsl.precision.pipeline import Narrowed
from trtdsl.reference import run
from trtdsl.verification.oracle import Array

if TYPE_CHECKING:
    import torch

TIMES: Mapping[str, float] = {"int4": 1.0, "nvfp4": 2.0}
"""How often the error of the quantised graph a network of these formats may be off. Weights are the same
numbers in both; a tensor that is quantised while the network runs has other codes where it lies between
two of them, an error as large as that of quantising it."""

NOTHING_LEFT = 1.0
"""The error of a tensor of zeros: no more is ever allowed."""


def losses(before: Graph, narrowed: Narrowed | None, inputs: Mapping[str, Array]) -> dict[str, float]:
    """The relative error of each value of the quantised graph, and of each output, by name; nothing for
    formats of more bits."""
    if narrowed is None or narrowed.format.name not in TIMES:
        return {}
    exact: dict[str, torch.Tensor] = {}
    found: dict[str, float] = {}

    def keep(value: Value, tensor: torch.Tensor) -> None:
        if value.type.dtype.is_floating:
            exact[value.name] = tensor

    def compare(value: Value, tensor: torch.Tensor) -> None:
        other = exact.get(value.name)
        if other is not None and other.shape == tensor.shape:
            found[value.name] = relative(*squares(other, tensor))

    wanted = run(before, inputs, observe=keep)
    outputs = run(narrowed.graph, inputs, observe=compare)
    return found | {name: relative(*squares(wanted[name], tensor)) for name, tensor in outputs.items()}


def with_losses(
    graph: Graph, allowed: Mapping[Value, float], lost: Mapping[str, float], narrowed: Narrowed | None
) -> dict[Value, float]:
    """What values of the lowered graph may be off, with what quantisation alone makes of them."""
    times = TIMES.get(narrowed.format.name, 0.0) if narrowed else 0.0
    # Casts at the edges have names of their own.
    named = {output.value: output.name for output in graph.outputs}
    by_value = {value: lost.get(named.get(value, value.name), 0.0) for value in allowed}
    return {
        value: min(size + times * by_value[value], max(size, NOTHING_LEFT)) for value, size in allowed.items()
    }


def notes_on_losses(graph: Graph, lost: Mapping[str, float], narrowed: Narrowed | None) -> Iterator[str]:
    """How far off the outputs are by quantisation, and what that says."""
    known = [(output.name, lost[output.name]) for output in graph.outputs if output.name in lost]
    if narrowed is None or not known:
        return
    each = ", ".join(f"`{name}` {size:.2g}" for name, size in known)
    text = f"{narrowed.format.name} alone, computed exactly, is off on these inputs: {each}"
    if narrowed.error is None:
        yield f"{text}; what it is on yours `compile --calibrate` measures"
    else:
        yield f"{text}; on the data of `--calibrate` {narrowed.error.largest:.2g}"
