"""Products of matrices that must be of float16, for `gpu_forms.py`, and kernels that are timed more often.

`--precision float16` leaves it to TensorRT 8.5 what it computes in float32. By timings beside many other
builds it computed all of deit_tiny in float32, which takes three times as long, and parts of an LSTM.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

build: Any = import_module("trtdsl.trt.build")


def of_float16():
    """All products are."""

    def edit(network: Any) -> None:
        trt: Any = sys.modules[type(network).__module__]
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            if layer.type == trt.LayerType.MATRIX_MULTIPLY and not layer.precision_is_set:
                layer.precision = trt.DataType.HALF

    return edit


def timed_eight_times():
    """Each kernel's time is the mean of eight runs, as `trtexec` has it, and not of one."""
    targets = build._set_targets

    def often(dialect: Any, config: Any, given: Any) -> None:
        config.avg_timing_iterations = 8
        targets(dialect, config, given)

    build._set_targets = often


def of_float16_timed_eight_times():
    timed_eight_times()
    return of_float16()
