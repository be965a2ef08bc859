"""Products of matrices whose type TensorRT 8.5 chooses, and kernels timed more often, for `gpu_forms.py`.

`--precision float16` pins products to float16 there. Left to TensorRT, by timings beside many other builds,
all of deit_tiny and of several decoders was computed in float32, which takes up to three times as long.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

build: Any = import_module("trtdsl.trt.build")


def free():
    """TensorRT chooses what products are computed in."""

    def edit(network: Any) -> None:
        trt: Any = sys.modules[type(network).__module__]
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            if layer.type == trt.LayerType.MATRIX_MULTIPLY and layer.precision == trt.DataType.HALF:
                layer.reset_precision()

    return edit


def timed_eight_times():
    """Each kernel's time is the mean of eight runs, as `trtexec` has it, and not of one."""
    targets = build._set_targets

    def often(dialect: Any, config: Any, given: Any) -> None:
        config.avg_timing_iterations = 8
        targets(dialect, config, given)

    build._set_targets = often


def free_timed_eight_times():
    timed_eight_times()
    return free()
