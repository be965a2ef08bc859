"""Which tensors of a model a narrow type does not hold, as data show it: one run over them, in float32.

In: a graph with its weights' values, samples, and the type.  Out: for each value that overflows or vanishes,
what is wrong with it: ``reaches 1.2e+05, and float16 ends at 65504``.

Data must be real: noise makes tensors large that are not, and hides those that are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtdsl.ir import Graph, Value, graphs
from trtdsl.passes.masks import STANDS_FOR_INFINITY
from trtdsl.precision.calibrate import Batches, Progress
from trtdsl.precision.known import describe
from trtdsl.reference import run
from trtdsl.types import DType

if TYPE_CHECKING:
    import torch

HEADROOM = 2.0
"""How much larger than in these data numbers may be in others. float16 holds its largest numbers to as many
digits as all others, so that room costs nothing but that a tensor above half the range stays float32."""

PLACES = 2.0
"""How many roundings' worth of a tensor's norm may be lost. A normal number loses one at most, so that what
loses more has lost it to numbers that are too small, or 0."""


@dataclass
class _Sums:
    """What was seen of a value: its largest magnitude, how much of its norm rounding loses at worst, and
    whether all of its numbers stand for infinity, as those of a mask never do."""

    largest: float = 0.0
    worst: float = 0.0
    only_infinite: bool = True


class _Magnitudes:
    """Watches a graph's floating-point values."""

    def __init__(self, graph: Graph, dtype: DType) -> None:
        import torch

        self._constant = _constant(graph)
        self._narrow: torch.dtype = getattr(torch, str(dtype))
        # What masks are cut off to, which the type holds.
        self._limit = dtype.largest
        self.seen: dict[Value, _Sums] = {}

    def __call__(self, value: Value, tensor: torch.Tensor) -> None:
        if value.type.dtype is not DType.FLOAT32 or not tensor.numel():
            return
        import torch

        sizes = tensor.abs()
        infinite = bool((sizes >= STANDS_FOR_INFINITY).all())
        # Masks are not measured, and neither is what a model makes infinite itself.
        measured = (sizes < STANDS_FOR_INFINITY) & (sizes != self._limit) & sizes.isfinite()
        sizes = torch.where(measured, sizes, 0.0)
        sums = self.seen.setdefault(value, _Sums())
        sums.only_infinite &= infinite and value not in self._constant
        sums.largest = max(sums.largest, float(sizes.max()))
        rounded = sizes.to(self._narrow).float()
        lost = torch.where(rounded.isfinite(), rounded - sizes, 0.0)
        whole = float(sizes.double().norm())
        sums.worst = max(sums.worst, float(lost.double().norm()) / whole if whole else 0.0)


def out_of_range(
    graph: Graph, batches: Batches, dtype: DType, progress: Progress | None = None
) -> dict[Value, str]:
    """What is wrong with values in the type, those of bodies included; what is not wrong is left out."""
    watch = _Magnitudes(graph, dtype)
    for done, batch in enumerate(batches, 1):
        run(graph, batch, observe=watch)
        if progress:
            progress(done, len(batches))
    found = {value: _problem(sums, dtype) for value, sums in watch.seen.items()}
    return {value: problem for value, problem in found.items() if problem}


def _constant(graph: Graph) -> set[Value]:
    """What no input has a part in, such as a mask's own number."""
    varying = {value for each in graphs(graph) for value in each.inputs}
    found: set[Value] = set()
    for each in graphs(graph):
        for node in each.nodes:
            (found if varying.isdisjoint(node.operands) else varying).update(node.results)
    return found


def _problem(sums: _Sums, dtype: DType) -> str:
    limit = dtype.largest
    if sums.only_infinite:
        return f"has no number below {STANDS_FOR_INFINITY:g}, and {dtype} ends at {limit:.6g}"
    if sums.largest * HEADROOM > limit:
        return f"reaches {describe(sums.largest)}, and {dtype} ends at {limit:.6g}"
    if sums.worst > PLACES * dtype.unit:
        lost = "all" if math.isclose(sums.worst, 1, rel_tol=0.05) else f"{100 * sums.worst:.2g} %"
        return f"would lose {lost} of itself, for it is below {describe(dtype.smallest_normal)}"
    return ""
