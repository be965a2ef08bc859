"""The ranges of a model's tensors as a file that one can read, change and keep.

In: what :func:`~trtdsl.precision.calibrate.calibrate` has seen, and a method.  Out: a JSON file with a line
for each layer::

    {
      "format": 1, "model": "cnn", "method": "max", "samples": 128, "data": "sha256:…",
      "layers": {
        "conv1": {"input": 2.64, "max": 2.64, "p99.99": 2.6311},
        "fc": {"input": 11.25, "max": 11.25, "p99.99": 9.0312}
      },
      "channels": {
        "conv1": [2.64, 1.218, 0.3304],
        "fc": [11.25, 0.2017, 3.64, …]
      }
    }

``input`` is the magnitude that the layer's input is cut off at, and becomes the largest number of a narrow
type, whichever that is; the others are there to compare it with. ``channels`` are the largest magnitudes of
each channel, rounded up to four digits; a layer that reads the same tensor as one before it has that one's
label in their place.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError, cannot_read
from trtdsl.json_object import NotAnObject, json_object
from trtdsl.output import write_atomically
from trtdsl.precision.calibrate import Observed
from trtdsl.recipe import Method
from trtdsl.types import DType, shortest

FORMAT = 1

_AT_ONCE = 2**24
"""Bytes of data that are read together."""


@dataclass(frozen=True)
class LayerRange:
    """A layer's input: where it is cut off, the largest magnitude seen, and that of all but one number in ten
    thousand.

    ``infinite`` numbers stood for infinity, and were left out. ``channels`` are the largest magnitudes of
    each channel, or none where they are not known.
    """

    input: float
    largest: float
    percentile: float
    infinite: int = 0
    channels: tuple[float, ...] = ()


@dataclass(frozen=True)
class Ranges:
    """The ranges of a model by the labels of its layers, and what they were found with."""

    model: str
    method: str
    samples: int
    data: str
    layers: Mapping[str, LayerRange]

    def text(self) -> str:
        """The file's text; numbers are those of float32 in their shortest form."""
        head = {"model": self.model, "method": self.method, "samples": self.samples, "data": self.data}
        lines = [
            f"    {json.dumps(label)}: {json.dumps(_entry(layer))}" for label, layer in self.layers.items()
        ]
        stated = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items())
        layers = _object("layers", lines)
        channels = _object("channels", list(_channel_lines(self.layers)))
        return f'{{\n  "format": {FORMAT}, {stated},\n{layers},\n{channels}\n}}\n'

    def write(self, path: Path | str) -> None:
        """Write the file; UsageError where it cannot be written."""
        write_atomically(path, self.text().encode())


def ranges_of(
    observed: Mapping[str, Observed],
    model: str,
    method: Method,
    samples: int,
    data: str = "",
    *,
    dtype: DType = DType.INT8,
    percentile: float = 99.99,
) -> Ranges:
    """The ranges that a method gives to what was observed."""
    layers = {
        label: LayerRange(
            each.magnitudes.range(method, dtype, percentile),
            each.magnitudes.largest,
            each.magnitudes.percentile(99.99),
            each.infinite,
            tuple(_rounded_up(float(size), each.magnitudes.largest) for size in each.channels),
        )
        for label, each in observed.items()
    }
    stated = f"percentile {_plain(float(percentile))}" if method == "percentile" else method
    return Ranges(model, stated, samples, data, layers)


def _rounded_up(size: float, most: float) -> float:
    """A magnitude rounded up to four digits, no further than the largest one of all.

    What is less than a rounding of float32 above such a number is taken for that number.
    """
    if size == 0 or size >= most:
        return shortest(size)
    digits = 3 - math.floor(math.log10(size))
    step = math.ceil(size * 10.0**digits - 1e-3)
    return min(round(step * 10.0**-digits, digits), shortest(most))


def digest(data: Mapping[str, npt.NDArray[Any]]) -> str:
    """What tells data from other data: ``sha256:`` of all names, types, shapes and elements."""
    found = hashlib.sha256()
    for name in sorted(data):
        array = data[name]
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        array = np.atleast_1d(array)
        # Part by part they are the same bytes, and need not be in memory together.
        step = max(_AT_ONCE * len(array) // max(array.nbytes, 1), 1)
        for start in range(0, len(array), step):
            part = np.ascontiguousarray(array[start : start + step])
            found.update(part.view(np.uint8).data if part.size else b"")
    return f"sha256:{found.hexdigest()[:16]}"


def _entry(layer: LayerRange) -> dict[str, float]:
    entry = {
        "input": shortest(layer.input),
        "max": shortest(layer.largest),
        "p99.99": shortest(layer.percentile),
    }
    return {**entry, "infinite": layer.infinite} if layer.infinite else entry


def _object(name: str, lines: Sequence[str]) -> str:
    body = ",\n".join(lines)
    return f'  "{name}": {{\n{body}\n  }}' if lines else f'  "{name}": {{}}'


def _channel_lines(layers: Mapping[str, LayerRange]) -> Iterator[str]:
    """The channels of each layer; those of one before it by that one's label."""
    first: dict[tuple[float, ...], str] = {}
    for label, layer in layers.items():
        if layer.channels:
            known = first.setdefault(layer.channels, label)
            told = json.dumps(known if known != label else [_plain(size) for size in layer.channels])
            yield f"    {json.dumps(label)}: {told}"


def _plain(size: float) -> float | int:
    return int(size) if size.is_integer() else size


def read_ranges(path: Path | str) -> Ranges:
    """A file of ranges; raises UsageError for what is not one, with what is wrong with it."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise cannot_read(path, "it is not UTF-8 text") from error
    except OSError as error:
        raise cannot_read(path, error) from error
    try:
        found = json_object(text.encode(), _unique)
    except NotAnObject as error:
        raise _wrong(path, str(error)) from error
    if found.get("format") != FORMAT:
        raise _wrong(path, f"its format is {found.get('format')!r}, not {FORMAT}")
    layers = found.get("layers")
    if not isinstance(layers, dict):
        raise _wrong(path, "it has no object `layers`")
    entries: dict[str, Any] = layers
    channels = _read_channels(path, found.get("channels", {}))
    head = (str(found.get("model", "")), str(found.get("method", "")), int(found.get("samples", 0)))
    read = {label: _layer(path, label, entry, channels.get(label, ())) for label, entry in entries.items()}
    return Ranges(*head, str(found.get("data", "")), read)


def _read_channels(path: Path | str, given: Any) -> dict[str, tuple[float, ...]]:
    """The magnitudes of channels by label, those that stand at another label included."""
    entries: dict[str, Any] = given if isinstance(given, dict) else {}
    found: dict[str, tuple[float, ...]] = {}
    for label, entry in entries.items():
        numbers: Any = found.get(entry) if isinstance(entry, str) else entry
        if not isinstance(numbers, (list, tuple)) or not all(map(_is_magnitude, numbers)):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            raise _wrong(path, f"the channels of `{label}` must be numbers from 0 on, or a label before it")
        found[label] = tuple(map(float, numbers))
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise NotAnObject(f"`{twice}` is there twice")
    return found


def _is_magnitude(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0


def _layer(path: Path | str, label: str, entry: Any, channels: tuple[float, ...]) -> LayerRange:
    numbers: dict[str, Any] = entry if isinstance(entry, dict) else {}
    value: Any = numbers.get("input")
    if not _is_magnitude(value):
        raise _wrong(path, f"`input` of `{label}` must be a number from 0 on, not {value!r}")
    largest, percentile = (float(numbers.get(key, value)) for key in ("max", "p99.99"))
    return LayerRange(float(value), largest, percentile, int(numbers.get("infinite", 0)), channels)


def _wrong(path: Path | str, why: str) -> UsageError:
    return UsageError(Diagnostic(f"`{path}` is not a file of ranges: {why}"))
