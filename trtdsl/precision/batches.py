"""Data for a model, in as few or as many samples at once as one asks for.

In: a graph, and arrays for its inputs with the samples along their first dimension, or along the one dynamic
dimension that all of them have, such as N of ``ids[N, S]`` and ``cache[2, N, S, 8]``.  Out: batches by the
inputs' names, the smallest that the model takes, or as large as memory allows::

    for batch in Batches(graph, {"x": images}): ...
    for batch in Batches(graph, {"x": images}).together(graph): ...
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from trtdsl.array_files import read_named
from trtdsl.diagnostics import Diagnostic, UsageError, counted, did_you_mean
from trtdsl.given import require_in_range, sizes_of, would_fit
from trtdsl.ir import Graph, walk
from trtdsl.recipe import Recipe
from trtdsl.reference import symbol_values
from trtdsl.types import Dim, Symbol, SymbolicDim, bounds, evaluate_shape, symbols

Array: TypeAlias = npt.NDArray[Any]
Batch: TypeAlias = dict[str, Array]
Data: TypeAlias = "Mapping[str, Array] | Sequence[Mapping[str, Array]]"
"""Arrays by the inputs' names, all samples in one or in several parts of any size."""

Axes: TypeAlias = Mapping[str, int]
"""By an input's name its dimension that has the samples."""

MEMORY = 2**27
"""Bytes that a graph's tensors may take together."""

HELD_OUT = 5
"""Of so many samples one is kept apart to measure with, where others are what was fitted."""


class RecipeData:
    """The data that a recipe names for a model's inputs: opened when they are first asked for, and once; they
    stay in their file but for the samples that are run."""

    def __init__(self, graph: Graph, recipe: Recipe) -> None:
        self._names = [value.name for value in graph.inputs]
        self._path = recipe.calibrate
        self._samples = recipe.samples

    @cached_property
    def arrays(self) -> dict[str, Array] | None:
        """By the inputs' names; None where the recipe names none. UsageError for a file without them."""
        return None if self._path is None else read_named(Path(self._path), self._names)

    def batches(self, graph: Graph) -> Batches | None:
        """The samples that the recipe takes, in the smallest batches; UsageError names the file."""
        if self.arrays is None:
            return None
        try:
            return Batches(graph, self.arrays, self._samples)
        except UsageError as error:
            raise UsageError(*(self._of_file(each) for each in error.diagnostics)) from error

    def notes(self, graph: Graph) -> Iterator[Diagnostic]:
        """Says where the file has fewer samples than the recipe takes."""
        batches = self.batches(graph)
        if batches is not None and self._samples is not None and batches.found < self._samples:
            text = f"`{self._path}` has {counted(batches.found, 'sample')}, not the {self._samples} that "
            yield Diagnostic(f"{text}`--samples` asks for", severity="note")

    def _of_file(self, found: Diagnostic) -> Diagnostic:
        return replace(found, help=(*found.help, f"the data are those of `{self._path}`"))


class Batches:
    """Data in the smallest batches that a model takes, ``size`` samples each; the first ``samples`` of them,
    of the ``found`` ones that there are.

    Raises UsageError for data that do not fit the model's inputs.
    """

    def __init__(self, graph: Graph, data: Data, samples: int | None = None) -> None:
        self._data = [data] if isinstance(data, Mapping) else data
        self.axes = _sample_axes(graph)
        self.size = _batch_size(graph, self.axes)
        self.found = sum(_length(graph, batch, self.axes) for batch in self._data)
        used = min(samples or self.found, self.found)
        if used < self.size:
            have = "the data have" if used == self.found else "`--samples` asks for"
            text = f"{have} {counted(used, 'sample')}, and the model takes {self.size} at a time"
            raise UsageError(Diagnostic(text))
        self._chosen: Sequence[int] = range(used // self.size)
        for batch in self._data:
            _require_sizes(graph, batch, self.axes, self.size)

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[Batch]:
        groups, place = iter(self._samples()), 0
        for chosen in self._chosen:
            skipped = (chosen - place) * self.size
            group = list(islice(groups, skipped, skipped + self.size))
            place = chosen + 1
            yield _joined(group, self.axes)

    def _samples(self) -> Iterator[Batch]:
        for batch in self._data:
            for index in range(_samples_of(batch, self.axes)):
                one = slice(index, index + 1)
                yield {name: array[(*_before(self.axes[name]), one)] for name, array in batch.items()}

    def spread(self, samples: int) -> Batches:
        """At most so many samples of these, from all over the data."""
        count = max(samples // self.size, 1)
        return self._with(self._chosen[:: math.ceil(len(self) / count)])

    @property
    def places(self) -> tuple[int, ...]:
        """Where in the data the first sample of each batch is."""
        return tuple(index * self.size for index in self._chosen)

    def apart(self, every: int = HELD_OUT) -> tuple[Batches, Batches]:
        """These without every so manyth, or the last where they are fewer, and that one by itself.

        A single batch is in both.
        """
        held = self._chosen[every - 1 :: every] or self._chosen[-1:]
        kept = {*held}
        others = [index for index in self._chosen if index not in kept]
        return self._with(others or self._chosen), self._with(held)

    def _with(self, chosen: Sequence[int]) -> Batches:
        found = Batches.__new__(Batches)
        found._data, found.size, found._chosen = self._data, self.size, chosen
        found.axes, found.found = self.axes, self.found
        return found

    def together(self, graph: Graph, memory: int = MEMORY) -> Groups:
        """The same with several samples at once, as many as let the graph's tensors stay within a memory."""
        return Groups(self, _most_together(graph, next(iter(self)), self.axes, memory))


class Groups:
    """Batches put together, ``count`` of one shape at most."""

    def __init__(self, batches: Batches, count: int) -> None:
        self._batches = batches
        self.count = count

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Batch]:
        group: list[Batch] = []
        for batch in self._batches:
            if group and (len(group) == self.count or _shapes(group[0]) != _shapes(batch)):
                yield _joined(group, self._batches.axes)
                group = []
            group.append(batch)
        yield _joined(group, self._batches.axes)


def _before(axis: int) -> tuple[slice, ...]:
    """An index that takes all of the dimensions before one."""
    return (slice(None),) * axis


def _joined(group: Sequence[Batch], axes: Axes) -> Batch:
    return {name: np.concatenate([each[name] for each in group], axes[name]) for name in group[0]}


def _samples_of(batch: Mapping[str, Array], axes: Axes) -> int:
    name, array = next(iter(batch.items()))
    return array.shape[axes[name]]


def _shapes(batch: Batch) -> list[tuple[int, ...]]:
    return [array.shape for array in batch.values()]


def _most_together(graph: Graph, batch: Batch, axes: Axes, memory: int) -> int:
    """How many of the smallest batches a graph may run at once: one where its outputs are not by sample."""
    dim = _sample_dim(graph, axes)
    by_sample = all(output.value.type.shape[:1] == (dim,) for output in graph.outputs)
    if not isinstance(dim, SymbolicDim) or not by_sample:
        return 1
    sizes = symbol_values(graph, batch)
    results = [result.type for node in walk(graph) for result in node.results]
    bits = sum(math.prod(evaluate_shape(type.shape, sizes)) * type.dtype.bits for type in results)
    length = _samples_of(batch, axes)
    return max(min(memory * 8 // max(bits, 1), bounds(dim)[1] // length), 1)


def _length(graph: Graph, batch: Mapping[str, Array], axes: Axes) -> int:
    """How many samples a batch has; refused where it does not fit the model's inputs."""
    named = {value.name: value for value in graph.inputs}
    if unknown := [name for name in batch if name not in named]:
        text = f"the model has no input `{unknown[0]}`{did_you_mean(unknown[0], named)}"
        raise UsageError(Diagnostic(text, help=(_inputs(graph),)))
    if missing := [name for name in named if name not in batch]:
        text = f"the data have no `{missing[0]}`, which is an input of the model"
        raise UsageError(Diagnostic(text, help=(_inputs(graph),)))
    for name, array in batch.items():
        type = named[name].type
        if array.ndim != type.rank or array.dtype != type.dtype.numpy:
            found = f"{array.dtype}{list(array.shape)}"
            text = f"input `{name}` is {type}, but the data are {found}"
            help = would_fit({name: named[name]}, {name: array.shape})
            raise UsageError(Diagnostic(text, help=(*help, _inputs(graph))))
    lengths = {name: array.shape[axes[name]] for name, array in batch.items()}
    if len({*lengths.values()}) != 1:
        told = ", ".join(f"{count} of `{name}`" for name, count in lengths.items())
        raise UsageError(Diagnostic(f"the inputs have different numbers of samples: {told}"))
    return next(iter(lengths.values()))


def _inputs(graph: Graph) -> str:
    return f"the model's inputs: {', '.join(f'{value.name}: {value.type}' for value in graph.inputs)}"


def _require_sizes(graph: Graph, batch: Mapping[str, Array], axes: Axes, size: int) -> None:
    """Refuse dimensions and values that the model's inputs do not have, of ``size`` samples at a time."""
    named = {value.name: value for value in graph.inputs}
    shapes = {
        name: (*array.shape[: axes[name]], size, *array.shape[axes[name] + 1 :])
        for name, array in batch.items()
    }
    dynamic = frozenset[Symbol]().union(*(symbols(dim) for v in graph.inputs for dim in v.type.shape))
    require_in_range(dynamic, sizes_of(named, shapes))
    for name, values in graph.ranges.items():
        if name in batch and (problem := values.problem(name, batch[name])):
            raise UsageError(Diagnostic(problem))


def _sample_axes(graph: Graph) -> Axes:
    """The dimension of each input that has the samples: the first, or the dynamic one that all have."""
    shapes = {value.name: value.type.shape for value in graph.inputs}
    if len({shape[:1] for shape in shapes.values()} - {()}) == 1 and all(shapes.values()):
        return dict.fromkeys(shapes, 0)
    candidates = {dim for shape in shapes.values() for dim in shape if isinstance(dim, SymbolicDim)}
    common = [dim for dim in candidates if all(shape.count(dim) == 1 for shape in shapes.values())]
    leading = [dim for dim in common if any(shape[0] == dim for shape in shapes.values())]
    found = common if len(common) == 1 else leading
    if len(found) != 1:
        text = "the inputs have no dimension in common along which data could have samples"
        raise UsageError(Diagnostic(text, help=(_inputs(graph),)))
    return {name: shape.index(found[0]) for name, shape in shapes.items()}


def _sample_dim(graph: Graph, axes: Axes) -> Dim:
    first = graph.inputs[0]
    return first.type.shape[axes[first.name]]


def _batch_size(graph: Graph, axes: Axes) -> int:
    """How many samples the model takes at least."""
    dim = _sample_dim(graph, axes)
    return max(bounds(dim)[0], 1) if isinstance(dim, SymbolicDim) else int(dim or 1)
