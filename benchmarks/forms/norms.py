"""Ways to sum over the channels of a norm, for `gpu_forms.py`.

In networks without attention TensorRT 8.5 makes no region: each norm of convnext_tiny or mixer_s32_224 is two
reductions over the last dimension, of 0.020 ms each however few rows there are, and what stands between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

layer_norm: Any = import_module("trtdsl.ops.layer_norm")

Mean = Callable[[Any, Any], Any]
"""Of a network and a tensor the means over the last dimension, which stays with size 1, or as it was."""


def reduced_twice():
    """Groups of channels are summed, then their sums."""

    def mean(net: Any, x: Any) -> Any:
        *rows, width = x.shape
        each = next(size for size in range(math.isqrt(width), 0, -1) if width % size == 0)
        parts = net.reshape(x, (*rows, width // each, each))
        some = net.reduce("AVG", parts, [len(rows) + 1], keepdim=False)
        return net.reduce("AVG", some, [len(rows)], keepdim=True)

    _with(mean)


def product_with_a_column():
    """A product with a column of ones sums them."""
    _with(lambda net, x: net.matmul(x, _ones(net, x, 1)))


def product_with_a_square():
    """A product with ones sums them for each channel."""
    _with(lambda net, x: net.matmul(x, _ones(net, x, x.shape[-1])))


def centred_by_a_product():
    """A product takes the mean away; the squares are summed by another one."""

    def standardised(net: Any, x: Any, eps: float) -> Any:
        width = x.shape[-1]
        away = np.eye(width, dtype=np.float32) - np.float32(1 / width)
        centred = net.matmul(x, net.constant(away.reshape(*(1,) * (x.rank - 2), width, width)))
        squares = net.elementwise("PROD", centred, centred)
        return _divided(net, centred, net.matmul(squares, _ones(net, x, 1)), eps)

    _standardised_by(standardised)


def squares_by_a_product_with_itself():
    """The sum of squares is the product of each row with itself, neither of which is constant."""

    def standardised(net: Any, x: Any, eps: float) -> Any:
        centred = net.elementwise("SUB", x, _reduced(net, x))
        *rows, width = centred.shape
        row = net.reshape(centred, (*rows, 1, width))
        total = net.reshape(net.matmul(row, row, transpose_b=True), (*rows, 1))
        return _divided(net, centred, net.elementwise("PROD", total, net.scalar(1 / width, total)), eps)

    _standardised_by(standardised)


def regions_by_choices():
    """Each variance is chosen over itself: of a choice TensorRT 8.5 makes a region, which may grow."""
    _with(choice=_chosen)


def region_by_one_choice():
    """Only the first norm's variance is chosen over itself."""
    seen: list[Any] = []

    def choice(net: Any, variance: Any) -> Any:
        seen.append(variance)
        return _chosen(net, variance) if len(seen) == 1 else variance

    _with(choice=choice)


def regions_by_choices_of_all():
    """What each norm reads is chosen over itself."""
    as_it_is = layer_norm._standardised
    _standardised_by(lambda net, x, eps: as_it_is(net, _chosen(net, x), [x.rank - 1], eps))


def _chosen(net: Any, x: Any) -> Any:
    return net.select(net.elementwise("EQUAL", x, x), x, x)


def _reduced(net: Any, x: Any) -> Any:
    return net.reduce("AVG", x, [x.rank - 1], keepdim=True)


def _ones(net: Any, x: Any, columns: int) -> Any:
    width = x.shape[-1]
    return net.constant(np.full((*(1,) * (x.rank - 2), width, columns), 1 / width, dtype=np.float32))


def _with(mean: Mean = _reduced, choice: Callable[[Any, Any], Any] = lambda net, variance: variance) -> None:
    def standardised(net: Any, x: Any, eps: float) -> Any:
        centred = net.elementwise("SUB", x, mean(net, x))
        variance = mean(net, net.elementwise("PROD", centred, centred))
        return _divided(net, centred, choice(net, variance), eps)

    _standardised_by(standardised)


def _divided(net: Any, centred: Any, variance: Any, eps: float) -> Any:
    return net.elementwise("DIV", centred, net.unary("SQRT", layer_norm.shifted(net, variance, eps)))


def _standardised_by(standardised: Callable[[Any, Any, float], Any]) -> None:
    """Have norms over the last dimension, of a known size, computed so."""
    as_it_is = layer_norm._standardised

    def chosen(net: Any, x: Any, axes: list[int], eps: float) -> Any:
        if axes != [x.rank - 1] or not isinstance(x.shape[-1], int):
            return as_it_is(net, x, axes, eps)
        return standardised(net, x, eps)

    layer_norm._standardised = chosen
