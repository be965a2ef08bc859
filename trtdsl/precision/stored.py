"""Ranges that a checkpoint has beside its weights, as other tools leave them there.

In: a checkpoint.  Out: the range of each layer's input, by the labels of a graph::

    fc.input_quantizer._amax     the magnitude itself (NVIDIA's ModelOpt, torch)
    fc.input_scale               that of one step (compressed-tensors, vLLM, and trtdsl's own names)
    fc.input_global_scale        one over that (compressed-tensors' nvfp4)
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph
from trtdsl.precision.grids import LARGEST
from trtdsl.precision.histogram import LEVELS
from trtdsl.precision.labels import components
from trtdsl.precision.layers import QuantisableLayer, quantisable_layers
from trtdsl.precision.ranges import LayerRange, Ranges, read_ranges
from trtdsl.types import DType
from trtdsl.weights import Checkpoint, load_checkpoint

STORED = "stored"
"""What stands for the method of ranges that a checkpoint has; it may leave layers out."""

KEYS: Mapping[str, Callable[[float, float], float]] = {
    "input_quantizer._amax": lambda number, levels: number,
    "input_scale": lambda number, levels: number * levels,
    "input_global_scale": lambda number, levels: levels / number if number else math.inf,
}
"""What a layer's entry makes of the largest number of the narrow type: the range."""


def stored_ranges(path: Path | str, graph: Graph, dtype: DType) -> Ranges:
    """The ranges of a file that `calibrate` wrote, or of a checkpoint; UsageError where there are none.

    A layer that was put together of several has those of its parts, if the first of them, which reads what it
    does, has one: of linear layers, that read one tensor, the largest; of others the first one's. What a
    convolution reads after a normalisation that went into it is another tensor. A checkpoint may leave
    layers out.
    """
    labels = {layer.label: layer for layer in quantisable_layers(graph)}
    if not _is_checkpoint(Path(path)):
        ranges = read_ranges(path)
        made = {label: _of_parts(layer, ranges.layers.get) for label, layer in labels.items()}
        more = {label: found for label, found in made.items() if found and label not in ranges.layers}
        return dataclasses.replace(ranges, layers={**ranges.layers, **more})
    checkpoint = load_checkpoint(path)

    def stored(label: str) -> LayerRange | None:
        end = _range_of_part(checkpoint, label, dtype)
        return None if end is None else LayerRange(end, end, end)

    made = {label: _of_parts(layer, stored) for label, layer in labels.items()}
    layers = {label: found for label, found in made.items() if found}
    if not layers:
        text = f"`{path}` has no ranges of the layers of `{graph.name}`"
        help = f"a file of `trtdsl calibrate` or a checkpoint with {' or '.join(_examples(labels))} has"
        raise UsageError(Diagnostic(text, help=(help,)))
    return Ranges(graph.name, STORED, 0, "", layers)


def lacking(label: str) -> str:
    """Why a layer has no range of a checkpoint."""
    first, *others = components(label)
    return f"the checkpoint has no range of {f'what `{first}` reads' if others else 'it'}"


def _is_checkpoint(path: Path) -> bool:
    """Whether a file is not one of ranges, as JSON that is not the index of a checkpoint is."""
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip()[:1]
    except OSError:
        # Whoever reads it says what is wrong.
        return False
    return head not in (b"{", b"[") or path.name.endswith(".index.json")


def _examples(labels: Iterable[str]) -> list[str]:
    label = next(iter(labels), "LABEL")
    return [f"`{label}.{key}`" for key in KEYS]


def _of_parts(layer: QuantisableLayer, known: Callable[[str], LayerRange | None]) -> LayerRange | None:
    """The range that is known at a layer's label, or of what it was put together of."""
    names = components(layer.label)
    # `q+y+k` reads what `q` does, or `q+y`, which has the scale of its attention in it.
    firsts = ("+".join(names[:count]) for count in range(len(names), 0, -1))
    found = next((each for first in firsts if (each := known(first))), None)
    if found is None or layer.is_convolution:
        return found
    more = [each for part in names[1:] if (each := known(part))]
    return functools.reduce(_larger, more, found)


def _larger(one: LayerRange, other: LayerRange) -> LayerRange:
    """The range of a tensor of which two are known."""
    alike = len(one.channels) == len(other.channels)
    return LayerRange(
        max(one.input, other.input),
        max(one.largest, other.largest),
        max(one.percentile, other.percentile),
        max(one.infinite, other.infinite),
        tuple(map(max, one.channels, other.channels)) if alike else (),
    )


def _range_of_part(checkpoint: Checkpoint, label: str, dtype: DType) -> float | None:
    levels = LEVELS.get(dtype) or LARGEST[dtype] * LARGEST[DType.FLOAT8]
    for name, range_of in KEYS.items():
        key = f"{label}.{name}" if label else name
        if key in checkpoint:
            return _checked(key, range_of(_number(key, checkpoint[key]), levels))
    return None


def _number(key: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> float:
    if array.size != 1:
        text = f"`{key}` has {array.size} numbers: the input of a layer has one range"
        raise UsageError(Diagnostic(text, help=("TensorRT has no kernels for scales of channels there",)))
    return float(array.astype(np.float32).reshape(()))


def _checked(key: str, end: float) -> float:
    if not math.isfinite(end) or end < 0:
        raise UsageError(Diagnostic(f"`{key}` gives a range of {end:g}"))
    return end
