"""What TensorRT 8.5 may choose the type of, and kernels timed more often, for `gpu_forms.py`.

`--precision float16` pins products to float16 there, and all around them where they are most of the network.
Left to TensorRT, by timings beside many other builds, all of deit_tiny and of several decoders was computed
in float32, which takes up to three times as long; with products alone pinned, all but products was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

Edit = Callable[[Any], None]

build: Any = import_module("trtdsl.trt.build")


def free() -> Edit:
    """TensorRT chooses what layers compute in."""
    return _chosen(products=True)


def only_products() -> Edit:
    """TensorRT chooses what all but products compute in."""
    return _chosen(products=False)


def _chosen(*, products: bool) -> Edit:
    def edit(network: Any) -> None:
        trt: Any = sys.modules[type(network).__module__]
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            chooses = products or layer.type != trt.LayerType.MATRIX_MULTIPLY
            if chooses and layer.precision_is_set and layer.precision == trt.DataType.HALF:
                layer.reset_precision()

    return edit


def timed_eight_times() -> None:
    """Each kernel's time is the mean of eight runs, as `trtexec` has it, and not of one."""
    targets = build._set_targets

    def often(dialect: Any, config: Any, given: Any) -> None:
        config.avg_timing_iterations = 8
        targets(dialect, config, given)

    build._set_targets = often


def free_timed_eight_times() -> Edit:
    timed_eight_times()
    return free()
