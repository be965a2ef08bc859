"""Times of an engine's layers, as TensorRT's profiler has them."""

from __future__ import annotations

from typing import Any


def profiler_of(trt: Any) -> Any:
    """A profiler of TensorRT that adds up the time of each layer."""

    class Profiler(trt.IProfiler):
        def __init__(self) -> None:
            super().__init__()
            self.milliseconds: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.milliseconds[layer_name] = self.milliseconds.get(layer_name, 0.0) + ms

    return Profiler()
