"""Squeeze and excitation in other ways, for `gpu_forms.py`: the means, and the convolutions of one pixel."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

_kept: list[Any] = []
"""What TensorRT reads until the engine is built."""


def products():
    """Convolutions of one pixel as products of matrices."""

    def compute(trt: Any, network: Any, x: Any, weight: Any, bias: Any) -> Any:
        none, transposed = trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE
        constant = network.add_constant(weight.shape, _weights(trt, weight)).get_output(0)
        rows = _reshaped(network, x, (0, 0))
        y = network.add_matrix_multiply(rows, none, constant, transposed).get_output(0)
        if bias.size:
            added = network.add_constant((1, bias.size), _weights(trt, bias)).get_output(0)
            y = network.add_elementwise(y, added, trt.ElementWiseOperation.SUM).get_output(0)
        return _reshaped(network, y, (0, 0, 1, 1))

    return lambda network: _computed(network, compute)


def fully_connected():
    """The same by TensorRT 8.5's own layer."""

    def compute(trt: Any, network: Any, x: Any, weight: Any, bias: Any) -> Any:
        made = network.add_fully_connected(x, len(weight), _weights(trt, weight), _weights(trt, bias))
        return made.get_output(0)

    return lambda network: _computed(network, compute)


def pooled():
    """Means of all pixels by average pooling."""

    def edit(network: Any) -> None:
        trt: Any = sys.modules[type(network).__module__]
        for layer in _layers(network, trt.LayerType.REDUCE, trt.IReduceLayer):
            x, y = layer.get_input(0), layer.get_output(0)
            if layer.op == trt.ReduceOperation.AVG and len(x.shape) == len(y.shape) == 4 and layer.axes == 12:
                pool = network.add_pooling_nd(x, trt.PoolingType.AVERAGE, tuple(x.shape)[2:])
                _replaced(network, y, pool.get_output(0))

    return edit


# What they are made of


def _computed(network: Any, compute: Callable[..., Any]) -> None:
    trt: Any = sys.modules[type(network).__module__]
    for layer in _layers(network, trt.LayerType.CONVOLUTION, trt.IConvolutionLayer):
        x = layer.get_input(0)
        if tuple(x.shape)[2:] == (1, 1) and layer.num_groups == 1 and layer.num_inputs == 1:
            weight = np.array(layer.kernel).reshape(layer.num_output_maps, -1)
            made = compute(trt, network, x, weight, np.array(layer.bias).reshape(-1))
            _replaced(network, layer.get_output(0), made)


def _layers(network: Any, kind: Any, of: Any) -> list[Any]:
    found = [network.get_layer(index) for index in range(network.num_layers)]
    chosen = [each for each in found if each.type == kind]
    for each in chosen:
        each.__class__ = of
    return chosen


def _replaced(network: Any, old: Any, new: Any) -> None:
    """Have all that reads one tensor read another."""
    made = new.name
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for place in range(layer.num_inputs):
            read = layer.get_input(place)
            if read is not None and read.name == old.name and layer.get_output(0).name != made:
                layer.set_input(place, new)


def _reshaped(network: Any, x: Any, shape: tuple[int, ...]) -> Any:
    layer = network.add_shuffle(x)
    layer.reshape_dims = shape
    return layer.get_output(0)


def _weights(trt: Any, array: Any) -> Any:
    kept = np.ascontiguousarray(array, np.float32)
    _kept.append(kept)
    return trt.Weights(kept) if kept.size else trt.Weights()
