"""What the inputs of linear layers are like together: the sums of products of each two channels.

In: a graph with its weights' values, samples, and layers.  Out: for each layer's weight the matrix
``x.T @ x`` of all that is multiplied by it. It tells the error of the layer's output for any change of its
weight, ``trace(change @ moments @ change.T)``, without a sample being kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph, Value, Weight
from trtdsl.passes.masks import STANDS_FOR_INFINITY
from trtdsl.precision.batches import Batches
from trtdsl.precision.calibrate import Progress
from trtdsl.precision.layers import QuantisableLayer
from trtdsl.reference import run

if TYPE_CHECKING:
    import torch

Array: TypeAlias = npt.NDArray[Any]
Moments: TypeAlias = "Mapping[Weight, Array]"

MEMORY = 2**30
"""Bytes that the matrices of one run may take; what does not fit is found in further runs over the data."""


def moments(
    graph: Graph, layers: Sequence[QuantisableLayer], batches: Batches, progress: Progress | None = None
) -> dict[Weight, Array]:
    """The matrix of each weight of linear layers; those that read one tensor share it.

    Samples are run one by one, so that the numbers do not depend on how they are put together. UsageError
    for a tensor with NaN in it.
    """
    by_input: dict[Value, list[QuantisableLayer]] = {}
    for layer in layers:
        by_input.setdefault(layer.input, []).append(layer)
    found: dict[Value, Array] = {}
    parts = list(_parts(by_input))
    done, total = 0, len(parts) * len(batches)
    for part in parts:
        watch = _Watch(part)
        for batch in batches:
            run(graph, batch, observe=watch)
            done += 1
            if progress:
                progress(done, total)
        found |= watch.sums
    return _by_weight(layers, found)


def _parts(by_input: Mapping[Value, list[QuantisableLayer]]) -> Iterator[dict[Value, str]]:
    """The tensors, with the label of a reader, as many at a time as have room."""
    part: dict[Value, str] = {}
    size = 0
    for value, readers in by_input.items():
        more = 8 * int(readers[0].weight.type.shape[1]) ** 2  # pyright: ignore[reportArgumentType]
        if part and size + more > MEMORY:
            yield part
            part, size = {}, 0
        part[value] = readers[0].label
        size += more
    if part:
        yield part


def _by_weight(layers: Sequence[QuantisableLayer], found: Mapping[Value, Array]) -> dict[Weight, Array]:
    inputs: dict[Weight, dict[Value, None]] = {}
    for layer in layers:
        inputs.setdefault(layer.weight, {})[layer.input] = None
    return {weight: _sum([found[value] for value in values]) for weight, values in inputs.items()}


def _sum(matrices: Sequence[Array]) -> Array:
    return matrices[0] if len(matrices) == 1 else np.sum(matrices, axis=0)


class _Watch:
    """One run's sums, of tensors by the label of a layer that reads each."""

    def __init__(self, labels: Mapping[Value, str]) -> None:
        self._labels = labels
        self.sums: dict[Value, Array] = {}

    def __call__(self, value: Value, tensor: torch.Tensor) -> None:
        if value not in self._labels:
            return
        import torch

        rows = tensor.float().flatten(0, -2) if tensor.ndim > 1 else tensor.float()[None]
        if bool(rows.isnan().any()):
            text = f"the input of `{self._labels[value]}` has NaN in it, with these data"
            raise UsageError(Diagnostic(text))
        rows = torch.where(rows.abs() >= STANDS_FOR_INFINITY, 0.0, rows)
        product = (rows.T @ rows).double().numpy()
        if value in self.sums:
            self.sums[value] += product
        else:
            self.sums[value] = product


def output_error(change: Array, matrix: Array) -> float:
    """The squared error of a layer's output, over all that the matrix was made of, for a change of its
    weight."""
    return float(np.einsum("oi,oi->", change @ matrix, change))
