"""Ways for the first convolution of a network to read its image, for `gpu_forms.py`.

TensorRT 8.5 converts a float32 image to four channels of float16 in one kernel, which takes five times as
long as reading and writing them would: of resnet18's 550 us at batch 32 it takes 50, and the convolution 65.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

_kept: list[Any] = []
"""What TensorRT reads until the engine is built."""


def float16_by_a_layer():
    def read(trt: Any, network: Any, image: Any, _: Any) -> Any:
        layer = network.add_identity(image)
        layer.set_output_type(0, trt.DataType.HALF)
        return layer.get_output(0)

    return _reading(read)


def product_with_one():
    return _reading(lambda trt, network, image, _: _times_one(trt, network, image).get_output(0))


def product_with_one_of_float16():
    def read(trt: Any, network: Any, image: Any, _: Any) -> Any:
        product = _times_one(trt, network, image)
        product.set_output_type(0, trt.DataType.HALF)
        return product.get_output(0)

    return _reading(read)


def scaled_by_one():
    def read(trt: Any, network: Any, image: Any, _: Any) -> Any:
        one, zero = (_weights(trt, np.array([number])) for number in (1, 0))
        return network.add_scale(image, trt.ScaleMode.UNIFORM, zero, one, one).get_output(0)

    return _reading(read)


def clipped_to_float16():
    def read(trt: Any, network: Any, image: Any, _: Any) -> Any:
        layer = network.add_activation(image, trt.ActivationType.CLIP)
        layer.alpha, layer.beta = -65504.0, 65504.0
        layer.set_output_type(0, trt.DataType.HALF)
        return layer.get_output(0)

    return _reading(read)


def four_channels():
    """A slice that is larger than the image gives zeros."""
    return _reading(lambda *given: _widened(*given, 4))


def eight_channels():
    return _reading(lambda *given: _widened(*given, 8))


def four_channels_by_concatenation():
    def read(trt: Any, network: Any, image: Any, convolution: Any) -> Any:
        _widen(trt, convolution, image, 4)
        shape = (image.shape[0], 4 - image.shape[1], *image.shape[2:])
        zeros = network.add_constant(shape, _weights(trt, np.zeros(shape)))
        joined = network.add_concatenation([image, zeros.get_output(0)])
        joined.axis = 1
        return joined.get_output(0)

    return _reading(read)


def pixels_as_channels():
    """A convolution of 7 x 7 in steps of 2 as one of 4 x 4 over twelve channels, each pixels of 2 x 2."""

    def edit(network: Any) -> None:
        trt, convolution, image = _stem(network)
        kernel = _kernel(convolution, image)
        outputs, channels, *window = kernel.shape
        if window != [7, 7] or (*convolution.stride_nd,) != (2, 2) or (*convolution.padding_nd,) != (3, 3):
            raise SystemExit("the first convolution is not of 7 x 7 in steps of 2")
        height, width = image.shape[2] // 2, image.shape[3] // 2
        apart = network.add_shuffle(image)
        apart.reshape_dims = (0, channels * height, 2, width, 2)
        apart.second_transpose = (0, 2, 4, 1, 3)
        joined = network.add_shuffle(apart.get_output(0))
        joined.reshape_dims = (0, 4 * channels, height, width)
        wide = np.zeros((outputs, channels, 8, 8), np.float32)
        wide[:, :, 1:, 1:] = kernel
        turned = wide.reshape(outputs, channels, 4, 2, 4, 2).transpose(0, 3, 5, 1, 2, 4)
        bias = np.array(convolution.bias, np.float32).reshape(-1)
        weights = (_weights(trt, turned.reshape(outputs, -1, 4, 4)), _weights(trt, bias))
        made = network.add_convolution_nd(joined.get_output(0), outputs, (4, 4), *weights)
        made.pre_padding, made.post_padding = (2, 2), (1, 1)
        made.name = f"{convolution.name}, pixels as channels"
        before = convolution.get_output(0).name
        for layer in _layers(network):
            for index in range(layer.num_inputs):
                if (read := layer.get_input(index)) is not None and read.name == before:
                    layer.set_input(index, made.get_output(0))

    return edit


# What they are made of


def _reading(read: Callable[[Any, Any, Any, Any], Any]) -> Callable[[Any], None]:
    def edit(network: Any) -> None:
        trt, convolution, image = _stem(network)
        convolution.set_input(0, read(trt, network, image, convolution))

    return edit


def _layers(network: Any) -> list[Any]:
    return [network.get_layer(index) for index in range(network.num_layers)]


def _stem(network: Any) -> tuple[Any, Any, Any]:
    """TensorRT's module, the first convolution, and the image that it reads."""
    trt: Any = sys.modules[type(network).__module__]
    for layer in _layers(network):
        if layer.type == trt.LayerType.CONVOLUTION and layer.get_input(0).is_network_input:
            layer.__class__ = trt.IConvolutionLayer
            return trt, layer, layer.get_input(0)
    raise SystemExit("no convolution reads an input")


def _kernel(convolution: Any, image: Any) -> Any:
    window = convolution.kernel_size_nd
    return np.array(convolution.kernel, np.float32).reshape(-1, image.shape[1], *window)


def _weights(trt: Any, array: Any) -> Any:
    _kept.append(np.ascontiguousarray(array, np.float32))
    return trt.Weights(_kept[-1])


def _times_one(trt: Any, network: Any, image: Any) -> Any:
    shape = (1,) * len(image.shape)
    one = network.add_constant(shape, _weights(trt, np.ones(shape)))
    return network.add_elementwise(image, one.get_output(0), trt.ElementWiseOperation.PROD)


def _widen(trt: Any, convolution: Any, image: Any, channels: int) -> None:
    """Give the convolution a kernel for more channels, with zeros."""
    kernel = _kernel(convolution, image)
    wide = np.zeros((kernel.shape[0], channels, *kernel.shape[2:]), np.float32)
    wide[:, : kernel.shape[1]] = kernel
    convolution.kernel = _weights(trt, wide)


def _widened(trt: Any, network: Any, image: Any, convolution: Any, channels: int) -> Any:
    _widen(trt, convolution, image, channels)
    layer = network.add_slice(image, (0,) * 4, (1,) * 4, (1,) * 4)
    layer.mode = (trt.SampleMode if hasattr(trt, "SampleMode") else trt.SliceMode).FILL
    sizes = network.add_shape(image).get_output(0)
    integers = np.int64 if sizes.dtype.name == "INT64" else np.int32
    _kept.append(np.array((0, channels - image.shape[1], 0, 0), integers))
    more = network.add_constant((4,), trt.Weights(_kept[-1])).get_output(0)
    layer.set_input(2, network.add_elementwise(sizes, more, trt.ElementWiseOperation.SUM).get_output(0))
    return layer.get_output(0)
