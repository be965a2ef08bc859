"""How far the outputs of a changed graph are from those of the graph as it was, over data.

In: two graphs of the same inputs and outputs, and samples.  Out: the relative L2 error of each output over
all samples, and that of each run, so that the worst sample can be named.  Both are computed by PyTorch on the
CPU, as many samples at once as leave memory alone: nothing is kept but sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from trtdsl.ir import Graph
from trtdsl.precision.batches import Batches
from trtdsl.precision.calibrate import Progress
from trtdsl.reference import run

if TYPE_CHECKING:
    import torch

Outputs: TypeAlias = "Mapping[str, torch.Tensor]"


@dataclass(frozen=True)
class OutputError:
    """The relative L2 error of each output by name, and for each run of ``batch`` samples that of the output
    which is furthest off. ``places`` are the first samples of the runs, by default one after the other."""

    outputs: Mapping[str, float]
    runs: tuple[float, ...]
    batch: int = 1
    places: tuple[int, ...] = ()

    @property
    def largest(self) -> float:
        """That of the output which is furthest off."""
        return max(self.outputs.values(), default=0.0)

    @property
    def samples(self) -> int:
        return len(self.runs) * self.batch

    @property
    def worst(self) -> int:
        """The run that is furthest off."""
        return max(range(len(self.runs)), key=self.runs.__getitem__)

    @property
    def worst_sample(self) -> int:
        """Where in the data its first sample is."""
        return self.places[self.worst] if self.places else self.worst * self.batch


def output_error(
    graph: Graph, changed: Graph, batches: Batches, progress: Progress | None = None
) -> OutputError:
    """The error of a changed graph's outputs; places where both have the same infinity or NaN are equal."""
    totals = {output.name: (0.0, 0.0) for output in graph.outputs}
    runs: list[float] = []
    groups = batches.together(changed)
    for batch in groups:
        together = run(graph, batch), run(changed, batch)
        for exact, found in _by_run(*together, batches.size) if groups.count > 1 else [together]:
            each = {name: squares(tensor, found[name]) for name, tensor in exact.items()}
            runs.append(max((relative(*sums) for sums in each.values()), default=0.0))
            for name, (difference, size) in each.items():
                totals[name] = totals[name][0] + difference, totals[name][1] + size
        if progress:
            progress(len(runs), len(batches))
    errors = {name: relative(*each) for name, each in totals.items()}
    return OutputError(errors, tuple(runs), batches.size, batches.places)


def _by_run(exact: Outputs, found: Outputs, size: int) -> Iterator[tuple[Outputs, Outputs]]:
    """The outputs of several runs, which were one, run by run."""
    parts = [{name: each.split(size) for name, each in outputs.items()} for outputs in (exact, found)]
    for index in range(len(next(iter(parts[0].values())))):
        one, other = ({name: each[index] for name, each in part.items()} for part in parts)
        yield one, other


def squares(exact: torch.Tensor, found: torch.Tensor) -> tuple[float, float]:
    """The sums of squares of the differences, and of the exact numbers."""
    import torch

    exact, found = exact.double(), found.double()
    same = (exact == found) | (exact.isnan() & found.isnan())
    difference = torch.where(same, 0.0, found - exact)
    size = torch.where(exact.isfinite(), exact, 0.0)
    return float(difference.square().sum()), float(size.square().sum())


def relative(difference: float, size: float) -> float:
    """The relative L2 error, of such sums."""
    if math.isnan(difference):
        return math.inf
    return math.sqrt(difference / size) if size else (math.inf if difference else 0.0)
