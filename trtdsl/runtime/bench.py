"""How fast an engine is.

In: an engine, shapes, and how long to measure.  Out: a :class:`Measurement`, in milliseconds::

    measure(engine, {"data": (8, 3, 32, 32)}, seconds=2).gpu.median

Inputs and outputs stay on the GPU, as in a service that keeps its data there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.flags import by_name
from trtdsl.ops.lowering import Array
from trtdsl.runtime import cuda
from trtdsl.runtime.binding import check_names, check_shapes, choose_profile, show_shape
from trtdsl.runtime.engine import BoundContext, Engine, GraphContext
from trtdsl.trt.manifest import Manifest
from trtdsl.types import DType

Shapes = Mapping[str, tuple[int, ...]]

_WARM_UP = 10
_FEWEST = 10
"""Runs that are timed however long they take."""


@dataclass(frozen=True)
class Distribution:
    """Of times in milliseconds."""

    min: float
    median: float
    mean: float
    p99: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Distribution:
        low, middle, high = (float(x) for x in np.percentile(times, [0, 50, 99]))
        return cls(low, middle, float(np.mean(times)), high)


@dataclass(frozen=True)
class Measurement:
    """``latency`` is from the call until its result is there, as the host's clock says; ``host`` is the part
    the call itself takes before the GPU works on its own; ``gpu`` is the time between two CUDA events around
    the work. ``runs_per_second`` is that of calls which do not wait for each other.
    """

    shapes: Shapes
    cuda_graph: bool
    runs: int
    latency: Distribution
    host: Distribution
    gpu: Distribution
    runs_per_second: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    engine: Engine, shapes: Shapes, *, seconds: float = 3.0, cuda_graph: bool = False, seed: int = 0
) -> Measurement:
    """Time an engine on random inputs of these shapes, half the time run by run, half without waiting."""
    with engine.device.current():
        return _measure(engine, shapes, seconds, cuda_graph, seed)


def _measure(engine: Engine, shapes: Shapes, seconds: float, cuda_graph: bool, seed: int) -> Measurement:
    context = (GraphContext if cuda_graph else BoundContext)(engine, shapes)
    at = context.stream.handle
    inputs = random_arrays(engine.manifest, shapes, seed)
    for name, array in inputs.items():
        cuda.copy_to_device(context.inputs[name].pointer, array, at)
    context.stream.synchronize()
    for _ in range(_WARM_UP):
        context.launch()
    context.stream.synchronize()
    latency, host, gpu = _one_by_one(context.stream, context.launch, seconds / 2)
    rate = _at_full_rate(
        context.stream, context.launch, seconds / 2, batch=max(1, round(20 / max(min(latency), 1e-3)))
    )
    times = (Distribution.of(values) for values in (latency, host, gpu))
    return Measurement(dict(shapes), cuda_graph, len(latency), *times, runs_per_second=rate)


def _one_by_one(
    stream: cuda.Stream, run: Callable[[], None], seconds: float
) -> tuple[list[float], list[float], list[float]]:
    """Latency, host and GPU time of each run."""
    latency: list[float] = []
    host: list[float] = []
    gpu: list[float] = []
    start, end = cuda.Event(), cuda.Event()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(latency) < _FEWEST:
        start.record(stream.handle)
        begin = time.perf_counter()
        run()
        given = time.perf_counter()
        end.record(stream.handle)
        end.synchronize()
        done = time.perf_counter()
        latency.append((done - begin) * 1e3)
        host.append((given - begin) * 1e3)
        gpu.append(start.milliseconds_to(end))
    return latency, host, gpu


def _at_full_rate(stream: cuda.Stream, run: Callable[[], None], seconds: float, batch: int) -> float:
    """Runs a second; waits only after every ``batch`` runs, so that the queue stays bounded."""
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds or count == 0:
        for _ in range(batch):
            run()
        stream.synchronize()
        count += batch
    return count / (time.perf_counter() - begin)


def random_arrays(manifest: Manifest, shapes: Shapes, seed: int) -> dict[str, Array]:
    """Values of an input's range where it has one; else normal noise, and integers are 0, which is a valid
    index everywhere."""
    random = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for binding in manifest.inputs:
        dtype, shape = DType(binding.dtype), shapes[binding.name]
        if binding.range is not None:
            found[binding.name] = binding.range.draw(dtype, shape, random)
            continue
        floating = random.standard_normal(shape, np.float32) if dtype.is_floating else np.zeros(shape)
        found[binding.name] = np.asarray(floating).astype(dtype.numpy)
    return found


def tuned_shapes(manifest: Manifest) -> list[dict[str, tuple[int, ...]]]:
    """The shapes of all inputs that each profile is tuned for; without profiles the only ones they have."""
    fixed = {
        binding.name: tuple(size for size in binding.shape if isinstance(size, int))
        for binding in manifest.inputs
    }
    tuned = [{name: sizes for name, (_, sizes, _) in profile.inputs.items()} for profile in manifest.profiles]
    return [{**fixed, **sizes} for sizes in tuned or [{}]]


def shapes_of(texts: Sequence[str], manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """The shapes to measure: ``name=8x3x32x32`` where given, else what the first profile is tuned for.

    Raises UsageError for shapes that the engine does not accept.
    """
    given = by_name("--shape", (_shape(text, manifest) for text in texts))
    found = {**tuned_shapes(manifest)[0], **given}
    check_names(manifest, found)
    check_shapes(manifest, found)
    choose_profile(manifest, found)
    return found


def _shape(text: str, manifest: Manifest) -> tuple[str, tuple[int, ...]]:
    known = [binding.name for binding in manifest.inputs]
    name, equals, sizes = text.partition("=")
    if not equals and len(known) == 1:
        name, sizes = known[0], text
    if name not in known:
        raise UsageError(Diagnostic(f"the engine has no input `{name}`{did_you_mean(name, known)}"))
    try:
        shape = tuple(int(size) for size in sizes.split("x"))
    except ValueError:
        shape = (-1,)
    if any(size < 0 for size in shape):
        advice = "a shape is written `data=8x3x32x32`"
        raise UsageError(Diagnostic(f"`--shape {text}` is not a shape", help=(advice,)))
    return name, shape


def show_measurement(found: Measurement) -> str:
    """A table for people."""
    shapes = ", ".join(f"{name} = {show_shape(shape)}" for name, shape in found.shapes.items())
    way = "as a CUDA graph" if found.cuda_graph else "without a CUDA graph"
    lines = [
        f"{shapes}, {found.runs} runs {way}",
        f"{'ms':<10}{'min':>10}{'median':>10}{'mean':>10}{'p99':>10}",
    ]
    for name in ("latency", "gpu", "host"):
        times: Distribution = getattr(found, name)
        numbers = (times.min, times.median, times.mean, times.p99)
        lines.append(f"{name:<10}" + "".join(f"{number:>10.3f}" for number in numbers))
    return "\n".join(
        [*lines, f"{found.runs_per_second:.0f} runs a second when none waits for the one before"]
    )
