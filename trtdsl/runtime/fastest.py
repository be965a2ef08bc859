"""Of several builds of one network, the one that runs fastest.

TensorRT times kernels one by one while it builds, and two builds of a network choose differently. What counts
is the time of the whole, which only a built engine has::

    fastest(build, 3, lambda built: milliseconds(built.data, built.manifest, dialect))

In: what builds an engine, and what times it.  Out: the best of them, and a note on all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT
from trtdsl.runtime.bench import Shapes, measure, tuned_shapes
from trtdsl.runtime.engine import Engine
from trtdsl.trt.dialect import Dialect
from trtdsl.trt.manifest import Manifest

T = TypeVar("T")

_SECONDS = 1.0
"""How long each profile of an engine is timed."""


def fastest(
    build: Callable[[], T], count: int, times: Callable[[T], Sequence[float]]
) -> tuple[T, tuple[Diagnostic, ...]]:
    """The best of ``count`` builds: the one with the smallest product of its ``times``, in milliseconds.

    With one build nothing is timed, and there is nothing to note.
    """
    best = build()
    if count == 1:
        return best, ()
    kept, found = 0, [times(best)]
    for number in range(1, count):
        other = build()
        found.append(times(other))
        if _size(found[number]) < _size(found[kept]):
            best, kept = other, number
    return best, (_note(found, kept),)


def _size(times: Sequence[float]) -> float:
    """What profiles of any length count alike in."""
    return sum(math.log(each) for each in times)


def _note(found: Sequence[Sequence[float]], kept: int) -> Diagnostic:
    shown = ["/".join(f"{each:.3f}" for each in times) for times in found]
    others = ", ".join(text for number, text in enumerate(shown) if number != kept)
    text = f"kept build {kept + 1} of {len(found)}: {shown[kept]} ms, where the others take {others}"
    return Diagnostic(text, severity="note")


def milliseconds(
    data: bytes | memoryview, manifest: Manifest, dialect: Dialect, plugins: Sequence[Any] = ()
) -> list[float]:
    """The median time on the GPU of each profile, at the sizes that it is tuned for; as a CUDA graph where it
    can be captured."""
    engine = Engine(data, manifest, dialect, plugins=plugins)
    return [median_of(engine, shapes) for shapes in tuned_shapes(manifest)]


def median_of(engine: Engine, shapes: Shapes) -> float:
    """The median time of runs of these shapes, in milliseconds."""
    try:
        found = measure(engine, shapes, seconds=_SECONDS, cuda_graph=True)
    except RefusedByTensorRT:  # what runs as the data say cannot be captured
        found = None
    # Not above: while the error is handled its context lives, and before TensorRT 10 has the profile.
    return (found or measure(engine, shapes, seconds=_SECONDS)).gpu.median
