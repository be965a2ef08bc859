"""What the numbers are like that a model's layers read: two runs over data, one sample at a time.

In: a graph with its weights' values, and arrays for its inputs with the samples along their first dimension.
Out: for each layer's input the largest magnitude, of the whole and of each channel, and a histogram of the
magnitudes.

Samples are run one by one, or as many together as a fixed batch needs, however they are given: so what comes
out is the same to the bit, and nothing is kept of a tensor but these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.ir import Graph, Value
from trtdsl.precision.histogram import BINS, Histogram
from trtdsl.precision.layers import QuantisableLayer, quantisable_layers
from trtdsl.reference import run
from trtdsl.types import SymbolicDim, bounds

if TYPE_CHECKING:
    import torch

Array: TypeAlias = npt.NDArray[Any]
Data: TypeAlias = "Mapping[str, Array] | Sequence[Mapping[str, Array]]"
"""Arrays by the inputs' names, all samples in one or in several parts of any size."""

Progress: TypeAlias = Callable[[int, int], object]
"""Is told how many runs are done, and how many there are."""

INFINITE = 1e30
"""Numbers from here on stand for infinity, as in masks, and are left out."""


@dataclass(frozen=True)
class Observed:
    """What a layer's input was like: the magnitudes of its numbers, the largest in each channel, and how many
    numbers stood for infinity."""

    magnitudes: Histogram
    channels: npt.NDArray[np.float32]
    infinite: int


def calibrate(
    graph: Graph, data: Data | Batches, *, samples: int | None = None, progress: Progress | None = None
) -> dict[str, Observed]:
    """What the input of each layer was like, by the layer's label; all uses of one label are put together.

    ``samples`` are the first ones of the data. Raises :class:`~trtdsl.diagnostics.UsageError` for data that
    do not fit, and for a tensor with NaN in it.
    """
    batches = data if isinstance(data, Batches) else Batches(graph, data, samples)
    layers = list(quantisable_layers(graph))
    tick = progress or (lambda done, total: None)
    largest = _Largest(layers)
    for done, batch in enumerate(batches, 1):
        run(graph, batch, observe=largest)
        tick(done, 2 * len(batches))
    counts = _Counts(layers, largest)
    for done, batch in enumerate(batches, 1):
        run(graph, batch, observe=counts)
        tick(len(batches) + done, 2 * len(batches))
    return {label: counts.observed(label) for label in largest.total}


class Batches:
    """Data in the smallest batches that a model takes, ``size`` samples each; the first ``samples`` of them.

    Raises UsageError for data that do not fit the model's inputs.
    """

    def __init__(self, graph: Graph, data: Data, samples: int | None = None) -> None:
        self._data = [data] if isinstance(data, Mapping) else data
        self.size = _batch_size(graph)
        found = sum(_length(graph, batch) for batch in self._data)
        self._count = min(samples or found, found) // self.size
        if self._count == 0:
            text = f"the data have {found} samples, and the model takes {self.size} at a time"
            raise UsageError(Diagnostic(text))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Array]]:
        groups = iter(self._samples())
        for _ in range(self._count):
            group = list(islice(groups, self.size))
            yield {name: np.concatenate([sample[name] for sample in group]) for name in group[0]}

    def _samples(self) -> Iterator[dict[str, Array]]:
        for batch in self._data:
            for index in range(len(next(iter(batch.values())))):
                yield {name: array[index : index + 1] for name, array in batch.items()}


def _length(graph: Graph, batch: Mapping[str, Array]) -> int:
    """How many samples a batch has; refused where it does not fit the model's inputs."""
    named = {value.name: value for value in graph.inputs}
    if unknown := [name for name in batch if name not in named]:
        text = f"the model has no input `{unknown[0]}`{did_you_mean(unknown[0], named)}"
        raise UsageError(Diagnostic(text))
    if missing := [name for name in named if name not in batch]:
        raise UsageError(Diagnostic(f"the data have no `{missing[0]}`, which is an input of the model"))
    for name, array in batch.items():
        type = named[name].type
        if array.ndim != type.rank or array.dtype != type.dtype.numpy:
            found = f"{array.dtype}{list(array.shape)}"
            raise UsageError(Diagnostic(f"input `{name}` is {type}, but the data are {found}"))
    lengths = {name: len(array) for name, array in batch.items()}
    if len({*lengths.values()}) != 1:
        told = ", ".join(f"{count} of `{name}`" for name, count in lengths.items())
        raise UsageError(Diagnostic(f"the inputs have different numbers of samples: {told}"))
    return next(iter(lengths.values()))


def _batch_size(graph: Graph) -> int:
    """How many samples the model takes at least; refused where its inputs differ in that."""
    first = [value.type.shape[0] if value.type.rank else None for value in graph.inputs]
    if not first or any(dim is None or dim != first[0] for dim in first):
        raise UsageError(
            Diagnostic("the inputs have no first dimension in common, along which data could have samples")
        )
    (dim, *_) = first
    return max(bounds(dim)[0], 1) if isinstance(dim, SymbolicDim) else int(dim or 1)


class _Largest:
    """The first run: the largest magnitudes."""

    def __init__(self, layers: list[QuantisableLayer]) -> None:
        self.readers: dict[Value, list[QuantisableLayer]] = {}
        for layer in layers:
            self.readers.setdefault(layer.input, []).append(layer)
        self.total: dict[str, float] = {layer.label: 0.0 for layer in layers}
        self.channels: dict[str, npt.NDArray[np.float32]] = {}
        self.infinite: dict[str, int] = dict.fromkeys(self.total, 0)

    def __call__(self, value: Value, tensor: torch.Tensor) -> None:
        import torch

        readers = self.readers.get(value)
        if not readers:
            return
        sizes = magnitudes(tensor, readers[0].label)
        infinite = int((tensor.abs() >= INFINITE).sum())
        for layer in readers:
            channels = torch.movedim(sizes, layer.channels, 0).flatten(1).amax(1).numpy()
            known = self.channels.get(layer.label)
            self.channels[layer.label] = channels if known is None else np.maximum(known, channels)
            self.total[layer.label] = max(self.total[layer.label], float(sizes.max()))
            self.infinite[layer.label] += infinite


class _Counts:
    """The second run: how many numbers have which magnitude."""

    def __init__(self, layers: list[QuantisableLayer], largest: _Largest) -> None:
        self._largest = largest
        self._counts = {layer.label: np.zeros(BINS, np.int64) for layer in layers}

    def __call__(self, value: Value, tensor: torch.Tensor) -> None:
        import torch

        readers = self._largest.readers.get(value)
        if not readers:
            return
        sizes = magnitudes(tensor, readers[0].label).double().flatten()
        for layer in readers:
            largest = self._largest.total[layer.label]
            if largest:
                bins = (sizes * (BINS / largest)).long().clamp(max=BINS - 1)
                self._counts[layer.label] += torch.bincount(bins, minlength=BINS).numpy()

    def observed(self, label: str) -> Observed:
        largest, infinite = self._largest.total[label], self._largest.infinite[label]
        counts = self._counts[label].copy()
        if largest:
            # What stands for infinity was made 0, and is not counted among the numbers.
            counts[0] -= infinite
        return Observed(Histogram(largest, counts), self._largest.channels[label], infinite)


def magnitudes(tensor: torch.Tensor, label: str) -> torch.Tensor:
    """A tensor's magnitudes in float32, 0 for what stands for infinity; NaN is refused."""
    import torch

    sizes = tensor.float().abs()
    if bool(sizes.isnan().any()):
        raise UsageError(Diagnostic(f"the input of `{label}` has NaN in it, with these data"))
    return torch.where(sizes >= INFINITE, 0.0, sizes)
