"""Ranges that a checkpoint has beside its weights, as other tools leave them there.

In: a checkpoint.  Out: the range of each layer's input, by the labels of a graph::

    fc.input_quantizer._amax     the magnitude itself (NVIDIA's ModelOpt, torch)
    fc.input_scale               that of one step (compressed-tensors, vLLM, and trtdsl's own names)
    fc.input_global_scale        one over that (compressed-tensors' nvfp4)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph
from trtdsl.precision.grids import LARGEST
from trtdsl.precision.histogram import LEVELS
from trtdsl.precision.labels import parts
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

    Of a layer that was put together of several, the checkpoint has those of its parts: of linear layers, that
    read one tensor, the largest; of convolutions, one behind the other, the first one's. A checkpoint may
    leave layers out; a file of ranges is as it is.
    """
    if not _is_checkpoint(Path(path)):
        return read_ranges(path)
    checkpoint = load_checkpoint(path)
    labels = {layer.label: layer for layer in quantisable_layers(graph)}
    found = {label: _range(checkpoint, layer, dtype) for label, layer in labels.items()}
    layers = {label: LayerRange(end, end, end) for label, end in found.items() if end is not None}
    if not layers:
        text = f"`{path}` has no ranges of the layers of `{graph.name}`"
        help = f"a file of `trtdsl calibrate` or a checkpoint with {' or '.join(_examples(labels))} has"
        raise UsageError(Diagnostic(text, help=(help,)))
    return Ranges(graph.name, STORED, 0, "", layers)


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


def _range(checkpoint: Checkpoint, layer: QuantisableLayer, dtype: DType) -> float | None:
    found: list[float] = []
    for part in parts(layer.label):
        end = _range_of_part(checkpoint, part, dtype)
        if end is not None:
            found.append(end)
        elif layer.is_convolution and _is_kernel(checkpoint, f"{part}.weight"):
            break  # what stands behind it reads another tensor
        if found and (layer.is_convolution or part == layer.label):
            break
    return max(found, default=None)


def _range_of_part(checkpoint: Checkpoint, label: str, dtype: DType) -> float | None:
    levels = LEVELS.get(dtype) or LARGEST[dtype] * LARGEST[DType.FLOAT8]
    for name, range_of in KEYS.items():
        key = f"{label}.{name}" if label else name
        if key in checkpoint:
            return _checked(key, range_of(_number(key, checkpoint[key]), levels))
    return None


def _is_kernel(checkpoint: Checkpoint, key: str) -> bool:
    """Whether a key holds a layer's weight, and not the numbers of a normalisation."""
    return key in checkpoint and checkpoint[key].ndim > 1


def _number(key: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> float:
    if array.size != 1:
        text = f"`{key}` has {array.size} numbers: the input of a layer has one range"
        raise UsageError(Diagnostic(text, help=("TensorRT has no kernels for scales of channels there",)))
    return float(array.astype(np.float32).reshape(()))


def _checked(key: str, end: float) -> float:
    if not math.isfinite(end) or end < 0:
        raise UsageError(Diagnostic(f"`{key}` gives a range of {end:g}"))
    return end
