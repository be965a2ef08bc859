"""Activations that a release lacks, of layers that every release has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from trtdsl.ops.lowering import Network, Tensor


def _gelu(net: Network, x: Tensor, inner: Tensor) -> Tensor:
    """``x / 2 * (1 + inner)``."""
    half = net.elementwise("PROD", x, net.scalar(0.5, x))
    return net.elementwise("PROD", half, net.elementwise("SUM", inner, net.scalar(1.0, x)))


def gelu_erf(net: Network, x: Tensor) -> Tensor:
    """``x / 2 * (1 + erf(x / sqrt(2)))``."""
    scaled = net.elementwise("PROD", x, net.scalar(math.sqrt(0.5), x))
    return _gelu(net, x, net.unary("ERF", scaled))


def gelu_tanh(net: Network, x: Tensor) -> Tensor:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``."""
    cube = net.elementwise("PROD", net.elementwise("PROD", x, x), x)
    inner = net.elementwise("SUM", x, net.elementwise("PROD", cube, net.scalar(0.044715, x)))
    scaled = net.elementwise("PROD", inner, net.scalar(math.sqrt(2 / math.pi), x))
    return _gelu(net, x, net.activation("TANH", scaled))


ACTIVATIONS: Mapping[str, Callable[[Network, Tensor], Tensor]] = {
    "GELU_ERF": gelu_erf,
    "GELU_TANH": gelu_tanh,
}
"""By the ActivationType that is lacking: before TensorRT 10 there is no GELU."""
