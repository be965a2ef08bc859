"""Residual sums in kernels of their own, for `gpu_forms.py`.

On Hopper TensorRT 8.5 has its fastest kernels (`sm90_xmma_fprop`) for convolutions alone: in resnet18's last
block at batch 32 the one that adds takes 38 us, one of the same size that does not 24.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def apart():
    """All of them: the difference of one operand and the other negated, which no convolution takes up."""
    return _apart(lambda convolution: True)


def wide_ones_apart():
    """Those behind convolutions of 512 channels or more."""
    return _apart(lambda convolution: convolution.num_output_maps >= 512)


def _apart(chosen: Callable[[Any], bool]) -> Callable[[Any], None]:
    def edit(network: Any) -> None:
        trt: Any = sys.modules[type(network).__module__]
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        makers = {layer.get_output(0).name: layer for layer in layers}
        for layer in layers:
            if layer.type != trt.LayerType.ELEMENTWISE:
                continue
            layer.__class__ = trt.IElementWiseLayer
            convolutions = [_convolution(trt, makers.get(layer.get_input(side).name)) for side in range(2)]
            constant = any(_is_constant(trt, makers, layer.get_input(side)) for side in range(2))
            if (
                layer.op != trt.ElementWiseOperation.SUM
                or constant
                or not any(map(chosen, filter(None, convolutions)))
            ):
                continue
            negated = network.add_unary(layer.get_input(1), trt.UnaryOperation.NEG)
            layer.set_input(1, negated.get_output(0))
            layer.op = trt.ElementWiseOperation.SUB

    return edit


def _convolution(trt: Any, layer: Any) -> Any:
    if layer is None or layer.type != trt.LayerType.CONVOLUTION:
        return None
    layer.__class__ = trt.IConvolutionLayer
    return layer


def _is_constant(trt: Any, makers: dict[str, Any], tensor: Any) -> bool:
    maker = makers.get(tensor.name)
    return maker is not None and maker.type == trt.LayerType.CONSTANT
