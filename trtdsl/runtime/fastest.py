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
from trtdsl.runtime.bench import measure
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

    There is no note on a single build, which is not timed.
    """
    best = build()
    if count == 1:
        return best, ()
    found = [times(best)]
    for _ in range(count - 1):
        other = build()
        found.append(times(other))
        if min(found, key=_size) is found[-1]:
            best = other
    return best, (_note(found),)


def _size(times: Sequence[float]) -> float:
    """What profiles of any length count alike in."""
    return sum(math.log(each) for each in times)


def _note(found: Sequence[Sequence[float]]) -> Diagnostic:
    kept = found.index(min(found, key=_size))
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
    fixed = {
        each.name: tuple(int(size) for size in each.shape)
        for each in manifest.inputs
        if _is_fixed(each.shape)
    }
    tuned = [{name: sizes for name, (_, sizes, _) in profile.inputs.items()} for profile in manifest.profiles]
    return [median_of(engine, {**fixed, **sizes}) for sizes in tuned or [{}]]


def _is_fixed(shape: Sequence[int | str]) -> bool:
    return all(isinstance(size, int) for size in shape)


def median_of(engine: Engine, shapes: dict[str, tuple[int, ...]]) -> float:
    """The median time of runs of these shapes, in milliseconds."""
    try:
        found = measure(engine, shapes, seconds=_SECONDS, cuda_graph=True)
    except RefusedByTensorRT:  # what runs as the data say cannot be captured
        found = None
    # Not above: while the error is handled its context lives, and before TensorRT 10 has the profile.
    return (found or measure(engine, shapes, seconds=_SECONDS)).gpu.median
