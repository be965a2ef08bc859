"""What TensorRT 8.5 may choose the type of, for `gpu_forms.py`.

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

lower: Any = import_module("trtdsl.trt.lower")


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


def norms_too() -> None:
    """What norms compute is pinned to float16 as well."""
    lower.COMPUTED_WIDE = frozenset()


def norms_in_float32() -> Edit:
    """What norms compute is pinned to float32."""

    def edit(network: Any) -> None:
        trt: Any = sys.modules[type(network).__module__]
        kinds = (trt.LayerType.ELEMENTWISE, trt.LayerType.REDUCE, trt.LayerType.UNARY)
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            is_free = layer.type in kinds and not layer.precision_is_set
            if is_free and layer.get_output(0).dtype == trt.DataType.FLOAT:
                layer.precision = trt.DataType.FLOAT

    return edit
