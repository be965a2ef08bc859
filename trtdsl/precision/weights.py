"""Linear layers whose weights alone are narrow: int4 in blocks, or int8 with a scale for each output.

In: a graph with its weights' values, a policy, how to round, and samples where there are any.  Out: the graph
with `LABEL.weight` and `LABEL.weight_scale` after a `dequantize` that TensorRT computes within the layer's
kernel; what multiplies the weights stays as it is::

    nearest    each number to the nearest; needs no data
    awq        the same, after inputs that are large have been made smaller, and their weights larger
    gptq       one input after the other, each error made up for by the inputs that are still to come

For MiniLM in int4 they are 0.28, 0.25 and 0.19 off (relative L2 of unseen embeddings).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph, Value, Weight
from trtdsl.ops.quantization import Dequantize
from trtdsl.precision.awq import by_output
from trtdsl.precision.batches import Batches
from trtdsl.precision.compensate import compensated
from trtdsl.precision.equalise import equalise_by
from trtdsl.precision.grids import Array, Grid, Held, Hold, nearest, numbers_of
from trtdsl.precision.labels import components
from trtdsl.precision.layers import QuantisableLayer
from trtdsl.precision.moments import Moments, moments
from trtdsl.precision.placement import Policy
from trtdsl.precision.quantize import Quantised, Rewrite, chosen_layers, decisions, held_scales
from trtdsl.precision.ranges import Ranges
from trtdsl.types import DType
from trtdsl.weights import Checkpoint, load_checkpoint
from trtdsl.weights.entries import packed_entry

Told = Callable[[str, int, int], object]


@dataclass(frozen=True)
class RoundedWeights:
    """A graph in floating point, its channels perhaps equalised, and the narrow weights of its layers."""

    graph: Graph
    alphas: Mapping[str, float]
    held: Mapping[Weight, Held]
    around: DType

    def quantised(self, policy: Policy) -> Quantised:
        """The graph with those weights that a policy chooses of the layers that they were made for."""
        layers = chosen_layers(self.graph, policy)
        rewrite = _ByWeights(self.graph, layers, self.around, self.held)
        return Quantised(rewrite.graph(), decisions(self.graph, policy))


def round_weights(
    graph: Graph,
    policy: Policy,
    method: str,
    around: DType,
    batches: Batches | None = None,
    alpha: float | None = None,
    told: Told = lambda phase, done, total: None,
) -> RoundedWeights:
    """The weights of the layers that a policy chooses, rounded by a method; all but `nearest` need data.

    ``alpha`` is what `awq` takes for all layers in the place of the best for each. UsageError for a weight
    that is not finite.
    """
    layers, held = chosen_layers(graph, policy), _held_in(around)
    known = _moments(graph, layers, batches, method, told)
    grids = {layer.weight: _grid(layer, policy) for layer in layers}
    alphas: Mapping[str, float] = {}
    if method == "awq":
        graph, alphas, known = _equalised(graph, layers, known, grids, held, alpha)
    found: dict[Weight, Held] = {}
    todo = {layer.weight: layer for layer in chosen_layers(graph, policy)}
    for done, (weight, layer) in enumerate(todo.items(), 1):
        found[weight] = _rounded(weight, _grid(layer, policy), method, held, known.get(weight.key))
        told("rounding weights", done, len(todo))
    return RoundedWeights(graph, alphas, found, around)


def stored_weights(
    path: Path | str, graph: Graph, policy: Policy, around: DType
) -> tuple[RoundedWeights, dict[str, str]]:
    """The weights that a checkpoint has in the policy's format, with its codes and scales, and why the other
    layers have none; UsageError where all are others."""
    checkpoint = load_checkpoint(path)
    held: dict[Weight, Held] = {}
    lacking: dict[str, str] = {}
    for layer in chosen_layers(graph, policy):
        found = _stored(checkpoint, layer, policy, around)
        if isinstance(found, str):
            lacking[layer.label] = found
        else:
            held[layer.weight] = found
    if not held:
        told = tuple(f"`{label}`: {why}" for label, why in [*lacking.items()][:3])
        text = f"`{path}` has no weights of `{graph.name}` in {policy.precision}"
        raise UsageError(Diagnostic(text, help=told))
    return RoundedWeights(graph, {}, held, around), lacking


def _stored(checkpoint: Checkpoint, layer: QuantisableLayer, policy: Policy, around: DType) -> Held | str:
    """What a checkpoint has of a layer, or of those that it was put together of; else why it has not."""
    weight = layer.weight
    entries = [
        packed_entry(checkpoint, f"{part}.weight", weight.type.dtype) for part in components(layer.label)
    ]
    packed = [entry.packed() for entry in entries if entry]
    if not packed or sum(len(each.codes) for each in packed) != weight.type.shape[0]:
        return "the checkpoint has no packed weight of it"
    if why := next((each.lacking for each in packed if each.lacking), ""):
        return why
    if other := next((each.dtype for each in packed if each.dtype is not policy.dtype), None):
        return f"the checkpoint has it in {other}"
    block = packed[0].block
    if any(each.block != block for each in packed):
        return "the checkpoint has its parts in blocks of different sizes"
    codes, scales = (
        np.concatenate(each) for each in zip(*((p.codes, p.scales) for p in packed), strict=True)
    )
    if policy.format.blocks and (block not in policy.format.blocks or scales.shape[1] < 2):
        return f"the checkpoint has it in blocks of {block}, which TensorRT reads in a kernel of their own"
    if not policy.format.blocks and scales.shape[1] > 1:
        return (
            f"the checkpoint has it in blocks of {block}, and {policy.precision} has a scale for each output"
        )
    numbers = np.concatenate([each.numbers for each in packed])
    factors = _factors(numbers, np.asarray(weight.data))
    if factors is None or (None not in entries and (factors != 1).any()):
        return "a pass has changed its weight"
    grid = Grid(policy.dtype, block if policy.format.blocks else None)
    stored, scaled = (Held(grid, codes, held_scales(each, around)) for each in (scales, scales * factors))
    if not np.array_equal(stored.weight, numbers) or not np.array_equal(scaled.scales, scales * factors):
        return f"its scales have not all their digits in {around}"
    return scaled


def _factors(numbers: Array, weight: Array) -> Array | None:
    """By what a pass has multiplied each output, ``[outputs, 1]``; None where it did something else.

    Rows that make queries have the scale of their attention in them.
    """
    places = np.abs(numbers).argmax(1)[:, None]
    largest, changed = (np.take_along_axis(each, places, 1).astype(np.float32) for each in (numbers, weight))
    factors = np.divide(changed, largest, out=np.ones_like(largest), where=largest != 0)
    rounding = 4 * float(np.spacing(np.ones((), weight.dtype)))
    is_same = np.allclose(numbers * factors, weight.astype(np.float32), rtol=rounding, atol=0)
    return factors if is_same and (factors > 0).all() else None


def _moments(
    graph: Graph, layers: Sequence[QuantisableLayer], batches: Batches | None, method: str, told: Told
) -> dict[str, Array]:
    """The moments of each weight by its key, where the method asks for them."""
    if batches is None or method == "nearest":
        return {}
    found = moments(graph, layers, batches, lambda *done: told("calibrating", *done))
    return {weight.key: matrix for weight, matrix in found.items()}


def _grid(layer: QuantisableLayer, policy: Policy) -> Grid:
    inputs = int(layer.weight.type.shape[1])  # pyright: ignore[reportArgumentType]
    return Grid(policy.dtype, policy.format.block(inputs, policy.block))


def _held_in(around: DType) -> Hold:
    return lambda scales: held_scales(scales, around)


def _equalised(
    graph: Graph,
    layers: Sequence[QuantisableLayer],
    known: Mapping[str, Array],
    grids: Mapping[Weight, Grid],
    held: Hold,
    alpha: float | None,
) -> tuple[Graph, Mapping[str, float], dict[str, Array]]:
    """The graph with equalised channels, what alpha was, and the moments of what is then read."""
    after = dict(known)
    matrices: Moments = {layer.weight: known[layer.weight.key] for layer in layers}
    best = by_output(matrices, grids, held, alpha)

    def choose(group: Sequence[QuantisableLayer]) -> tuple[Array, float] | None:
        if chosen := best(group):
            square = np.outer(chosen[0], chosen[0])
            for weight in dict.fromkeys(layer.weight for layer in group):
                after[weight.key] = known[weight.key] / square
        return chosen

    nothing = Ranges(graph.name, "awq", 0, "", {})
    found = equalise_by(graph, nothing, [layer.label for layer in layers], choose)
    return found.graph, found.alphas, after


def _rounded(weight: Weight, grid: Grid, method: str, held: Hold, matrix: Array | None) -> Held:
    numbers = numbers_of(weight.key, weight.data)
    if method == "gptq" and matrix is not None:
        return compensated(numbers, grid, held, matrix)
    return nearest(numbers, grid, held, None if matrix is None else np.diag(matrix))


class _ByWeights(Rewrite):
    """Layers on weights that are read back."""

    def __init__(
        self, graph: Graph, layers: Sequence[QuantisableLayer], around: DType, held: Mapping[Weight, Held]
    ) -> None:
        super().__init__(graph, layers, around)
        self._held = held

    def weight(self, layer: QuantisableLayer) -> Value:
        found, origins = self._held[layer.weight], layer.node.origins
        in_blocks = found.grid.block is not None
        scales = found.scales if in_blocks else found.scales[:, 0]
        held = scales.astype(layer.weight.type.dtype.numpy)
        codes = self.codes(layer, found.codes)
        scale = self.parameter(layer, "weight_scale", held, f"{layer.label}_ws")
        op = Dequantize(axis=1 if in_blocks else 0)
        return self.builder.value(op, codes, scale, name=f"{layer.label}_wd", origins=origins)
