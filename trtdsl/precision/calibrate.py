"""What the numbers are like that a model's layers read: two runs over data, one sample at a time.

In: a graph with its weights' values, and arrays for its inputs with the samples along one dimension.
Out: for each layer's input, and for what convolutions may write quantised, the largest magnitude, of the
whole and of each channel, and a histogram of the magnitudes.

Samples are run one by one, or as many together as a fixed batch needs, however they are given: so what comes
out is the same to the bit, and nothing is kept of a tensor but these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph, Value
from trtdsl.passes.masks import STANDS_FOR_INFINITY
from trtdsl.precision.batches import Batches, Data
from trtdsl.precision.histogram import BINS, Histogram
from trtdsl.precision.layers import RangedTensor
from trtdsl.precision.written import ranged_tensors
from trtdsl.reference import run

if TYPE_CHECKING:
    import torch

Progress: TypeAlias = Callable[[int, int], object]
"""Is told how many runs are done, and how many there are."""


@dataclass(frozen=True)
class Observed:
    """What a tensor was like: the magnitudes of its numbers, the largest in each channel, and how many
    numbers stood for infinity."""

    magnitudes: Histogram
    channels: npt.NDArray[np.float32]
    infinite: int


def calibrate(
    graph: Graph, data: Data | Batches, *, samples: int | None = None, progress: Progress | None = None
) -> dict[str, Observed]:
    """What the input of each layer was like, by the layer's label, and what a convolution writes for a sum or
    an average pool, by `LABEL.output`; all uses of one label are put together.

    ``samples`` are the first ones of the data. Raises :class:`~trtdsl.diagnostics.UsageError` for data that
    do not fit, and for a tensor with NaN in it.
    """
    batches = data if isinstance(data, Batches) else Batches(graph, data, samples)
    tensors = ranged_tensors(graph)
    tick = progress or (lambda done, total: None)
    largest = _Largest(tensors)
    for done, batch in enumerate(batches, 1):
        run(graph, batch, observe=largest)
        tick(done, 2 * len(batches))
    largest.require_numbers()
    counts = _Counts(tensors, largest)
    for done, batch in enumerate(batches, 1):
        run(graph, batch, observe=counts)
        tick(len(batches) + done, 2 * len(batches))
    return {label: counts.observed(label) for label in largest.total}


class _Largest:
    """The first run: the largest magnitudes."""

    def __init__(self, tensors: Sequence[RangedTensor]) -> None:
        self.readers: dict[Value, list[RangedTensor]] = {}
        for tensor in tensors:
            self.readers.setdefault(tensor.value, []).append(tensor)
        self._named = {tensor.label: tensor.named for tensor in reversed(tensors)}
        self.total: dict[str, float] = {tensor.label: 0.0 for tensor in tensors}
        self.channels: dict[str, npt.NDArray[np.float32]] = {}
        self.infinite: dict[str, int] = dict.fromkeys(self.total, 0)
        self._finite: dict[str, int] = dict.fromkeys(self.total, 0)

    def __call__(self, value: Value, tensor: torch.Tensor) -> None:
        import torch

        readers = self.readers.get(value)
        if not readers:
            return
        sizes = magnitudes(tensor, readers[0].named)
        infinite = int((tensor.abs() >= STANDS_FOR_INFINITY).sum())
        for each in readers:
            channels = torch.movedim(sizes, each.channels, 0).flatten(1).amax(1).numpy()
            known = self.channels.get(each.label)
            self.channels[each.label] = channels if known is None else np.maximum(known, channels)
            self.total[each.label] = max(self.total[each.label], float(sizes.max()))
            self.infinite[each.label] += infinite
            self._finite[each.label] += tensor.numel() - infinite

    def require_numbers(self) -> None:
        """Refuse data that leave a tensor without any number that does not stand for infinity."""
        for label, count in self._finite.items():
            if not count and self.infinite[label]:
                limit = f"{STANDS_FOR_INFINITY:g}"
                text = f"all numbers of {self._named[label]} are {limit} or more, with these data"
                help = "such numbers stand for infinity, and no range can be found without others"
                raise UsageError(Diagnostic(text, help=(help,)))


class _Counts:
    """The second run: how many numbers have which magnitude."""

    def __init__(self, tensors: Sequence[RangedTensor], largest: _Largest) -> None:
        self._largest = largest
        self._counts = {tensor.label: np.zeros(BINS, np.int64) for tensor in tensors}

    def __call__(self, value: Value, tensor: torch.Tensor) -> None:
        import torch

        readers = self._largest.readers.get(value)
        if not readers:
            return
        sizes = magnitudes(tensor, readers[0].named).double().flatten()
        for each in readers:
            largest = self._largest.total[each.label]
            if largest:
                bins = (sizes * (BINS / largest)).long().clamp(max=BINS - 1)
                self._counts[each.label] += torch.bincount(bins, minlength=BINS).numpy()

    def observed(self, label: str) -> Observed:
        largest, infinite = self._largest.total[label], self._largest.infinite[label]
        counts = self._counts[label].copy()
        if largest:
            # What stands for infinity was made 0, and is not counted among the numbers.
            counts[0] -= infinite
        return Observed(Histogram(largest, counts), self._largest.channels[label], infinite)


def magnitudes(tensor: torch.Tensor, named: str) -> torch.Tensor:
    """A tensor's magnitudes in float32, 0 for what stands for infinity; NaN is refused."""
    import torch

    sizes = tensor.float().abs()
    if bool(sizes.isnan().any()):
        raise UsageError(Diagnostic(f"{named} has NaN in it, with these data"))
    return torch.where(sizes >= STANDS_FOR_INFINITY, 0.0, sizes)
