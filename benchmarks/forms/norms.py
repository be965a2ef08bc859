"""Ways to have TensorRT 8.5 make regions of norms, for `gpu_forms.py`.

In a network without attention it makes a region of norms and products only where there is a choice, and so
the variance of a layer norm is chosen over itself: mixer_s32_224 takes 0.43 ms instead of 1.28, convnext_tiny
2.01 instead of 2.66. Of norms of groups one was measured, wav2vec2_small's: with a choice in it the network
takes 0.25 ms instead of 0.37.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

layer_norm: Any = import_module("trtdsl.ops.layer_norm")

AS_IT_IS: Callable[..., Any] = layer_norm._standardised


def no_choices():
    """Nothing is chosen, as before."""
    _standardised_by(lambda net, x, axes, eps, choose: AS_IT_IS(net, x, axes, eps))


def choices_of_groups_too():
    """Norms of groups and instances choose as layer norms do."""
    _standardised_by(lambda net, x, axes, eps, choose: AS_IT_IS(net, x, axes, eps, choose=True))


def choices_of_what_is_read():
    """A layer norm chooses what it reads, in place of the variance."""

    def standardised(net: Any, x: Any, axes: list[int], eps: float, choose: bool) -> Any:
        return AS_IT_IS(net, _chosen(net, x) if choose else x, axes, eps)

    _standardised_by(standardised)


def one_choice():
    """Only the first layer norm chooses."""
    seen: list[Any] = []

    def standardised(net: Any, x: Any, axes: list[int], eps: float, choose: bool) -> Any:
        seen.append(x)
        return AS_IT_IS(net, x, axes, eps, choose=choose and len(seen) == 1)

    _standardised_by(standardised)


def _chosen(net: Any, x: Any) -> Any:
    return net.select(net.elementwise("EQUAL", x, x), x, x)


def _standardised_by(standardised: Callable[..., Any]) -> None:
    def chosen(net: Any, x: Any, axes: list[int], eps: float, *, choose: bool = False) -> Any:
        return standardised(net, x, axes, eps, choose)

    layer_norm._standardised = chosen
