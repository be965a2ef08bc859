"""Ways to add a mask with a row for each query, for `gpu_forms.py`.

Where it knows all sizes TensorRT 8.5 makes the sums of llama_small's scores and mask kernels between three
regions of Myelin, and two regions where sizes are dynamic. By the ONNX route the network is one region.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import trtdsl.passes.computed_masks as computed_masks

attention: Any = import_module("trtdsl.ops.attention")


def fixed():
    """All sizes are known, and nothing else is changed."""
    computed_masks.has_computed_masks = lambda graph: False


def no_zeros():
    """Rows that allow nothing are not looked for."""
    attention._without = lambda net, y, empty: y


def rows_by_whole_numbers():
    """Rows that allow nothing are those whose greatest bool, as an integer, is 0."""
    made = attention._mask

    def mask(net: Any, given: Any, dtype: Any) -> Any:
        found = made(net, given, dtype)
        if found.empty is None or given.dtype.name != "BOOL":
            return found
        some = net.apply(attention.AnyTrue(dim=found.tensor.rank - 1, keepdim=True), found.tensor)
        return attention._Mask(found.tensor, attention.negate(net, some))

    attention._mask = mask


def zeros_by_the_softmax():
    """Rows that allow nothing are those where the softmax is not a number, as by the ONNX route."""

    def without(net: Any, y: Any, empty: Any) -> Any:
        return net.select(net.elementwise("EQUAL", y, y), y, net.scalar(0, y))

    attention._without = without


def rows_by_the_added_numbers():
    """Rows that allow nothing are those for which the greatest number that is added is minus infinity."""
    made = attention._mask

    def mask(net: Any, given: Any, dtype: Any) -> Any:
        found = made(net, given, dtype)
        if found.empty is None or given.dtype.name != "BOOL":
            return found
        added = attention._added_once(net, found.tensor, dtype)
        highest = net.reduce("MAX", added, (added.rank - 1,), keepdim=True)
        return attention._Mask(found.tensor, net.elementwise("LESS", highest, net.scalar(-1, highest)))

    attention._mask = mask


def zeros_in_the_softmax():
    """Weights that are not numbers are 0, which those of rows that allow nothing are."""
    as_it_is = attention._composed

    def composed(net: Any, *operands: Any) -> Any:
        softmax = net.softmax

        def zeroed(x: Any, axis: int) -> Any:
            y = softmax(x, axis)
            return net.select(net.elementwise("EQUAL", y, y), y, net.scalar(0, y))

        net.softmax = zeroed
        try:
            return as_it_is(net, *operands)
        finally:
            net.softmax = softmax

    attention._composed = composed
    attention._without = lambda net, y, empty: y


def a_mask_for_each_layer():
    """What is added is made of the bools by each layer."""
    attention._masked = lambda net, scores, mask: net.elementwise(
        "SUM", scores, attention._added(net, mask, scores.dtype)
    )


def chosen():
    """Scores or minus infinity are chosen, and nothing is added."""

    def masked(net: Any, scores: Any, mask: Any) -> Any:
        least = net.filled((1,) * scores.rank, float("-inf"), scores.dtype)
        return net.select(net.to_rank(mask, scores.rank), scores, least)

    attention._masked = masked


def keys_repeated():
    """Keys and values are repeated for the queries' heads, so that scores are what a product gives."""
    attention._product = _repeating(attention._product)


def keys_repeated_and_zeros_by_the_softmax():
    keys_repeated()
    zeros_by_the_softmax()


def fixed_and_zeros_by_the_softmax():
    fixed()
    zeros_by_the_softmax()


def fixed_and_keys_repeated():
    fixed()
    keys_repeated()


def _repeating(product: Callable[..., Any]) -> Callable[..., Any]:
    def repeated(net: Any, a: Any, b: Any, transpose: bool) -> Any:
        if a.rank == b.rank == 4 and a.shape[1] != b.shape[1] != 1:
            share = a.shape[1] // b.shape[1]
            wide = net.reshape(b, (*b.shape[:2], 1, *b.shape[2:]))
            wide = net.concat([wide] * share, 2)
            b = net.reshape(wide, (b.shape[0], a.shape[1], *b.shape[2:]))
        return product(net, a, b, transpose)

    return repeated
