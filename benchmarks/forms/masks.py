"""Ways to add a mask with a row for each query, for `gpu_forms.py`.

Where it knows all sizes TensorRT 8.5 makes the sums of llama_small's scores and mask kernels between three
regions of Myelin, and two regions where sizes are dynamic. By the ONNX route the network is one region.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import trtdsl.passes.computed_masks as computed_masks
from trtdsl.types import bounds

attention: Any = import_module("trtdsl.ops.attention")


def fixed():
    """All sizes are known, and nothing else is changed."""
    computed_masks.has_computed_masks = lambda graph: False


def no_zeros():
    """Rows that allow nothing are not looked for."""
    attention._without = lambda net, y, empty: y


def rows_by_a_product():
    """Rows that allow nothing are those whose product with ones is 0."""

    def empty(net: Any, mask: Any, dtype: Any) -> Any:
        keys = mask.shape[-1]
        _, largest = bounds(keys)
        ahead = (1,) * (mask.rank - 2)
        ones = net.filled((*ahead, largest, 1), 1, dtype)
        if keys != largest:
            ones = net.slice(ones, (0,) * mask.rank, (*ahead, keys, 1))
        count = net.matmul(net.cast(mask, dtype), ones)
        return net.elementwise("LESS", count, net.scalar(0.5, count))

    _empty_by(empty)


def rows_by_the_added_numbers():
    """Rows that allow nothing are those for which the greatest number that is added is minus infinity."""

    def empty(net: Any, mask: Any, dtype: Any) -> Any:
        added = attention._added_once(net, mask, dtype)
        highest = net.reduce("MAX", added, (added.rank - 1,), keepdim=True)
        return net.elementwise("LESS", highest, net.scalar(-1, highest))

    _empty_by(empty)


def zeros_by_the_softmax():
    """Rows that allow nothing are those where the softmax is not a number, as by the ONNX route."""

    def without(net: Any, y: Any, empty: Any) -> Any:
        return net.select(net.elementwise("EQUAL", y, y), y, net.scalar(0, y))

    attention._without = without


def zeros_in_the_softmax():
    """Weights that are not numbers are 0, which those of rows that allow nothing are."""
    _weights_by(lambda net, y, scores: net.scalar(0, y))


def zeros_by_the_scores():
    """Weights that are not numbers are 0 times the score: 0, unless the score itself is not finite."""
    _weights_by(lambda net, y, scores: net.elementwise("PROD", scores, net.scalar(0, scores)))


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


def _empty_by(empty: Callable[[Any, Any, Any], Any]) -> None:
    """Have the rows of bools that allow nothing found so."""
    made = attention._mask

    def mask(net: Any, given: Any, dtype: Any) -> Any:
        found = made(net, given, dtype)
        if found.empty is None or given.dtype.name != "BOOL":
            return found
        return attention._Mask(found.tensor, empty(net, found.tensor, dtype))

    attention._mask = mask


def _weights_by(instead: Callable[[Any, Any, Any], Any]) -> None:
    """Have weights that are not numbers replaced so, where a mask of bools may allow nothing."""
    as_it_is, masked = attention._composed, attention._masked

    def composed(net: Any, query: Any, key: Any, value: Any, mask: Any, causal: bool) -> Any:
        if mask is None or mask.empty is None or mask.tensor.dtype.name != "BOOL":
            return as_it_is(net, query, key, value, mask, causal)
        softmax, read = net.softmax, []

        def read_and_masked(net: Any, scores: Any, mask: Any) -> Any:
            read.append(scores)
            return masked(net, scores, mask)

        def replaced(x: Any, axis: int) -> Any:
            y = softmax(x, axis)
            return net.select(net.elementwise("EQUAL", y, y), y, instead(net, y, read[-1]))

        attention._masked, net.softmax = read_and_masked, replaced
        try:
            return as_it_is(net, query, key, value, attention._Mask(mask.tensor, None), causal)
        finally:
            attention._masked, net.softmax = masked, softmax

    attention._composed = composed


def _repeating(product: Callable[..., Any]) -> Callable[..., Any]:
    def repeated(net: Any, a: Any, b: Any, transpose: bool) -> Any:
        if a.rank == b.rank == 4 and a.shape[1] != b.shape[1] != 1:
            share = a.shape[1] // b.shape[1]
            wide = net.reshape(b, (*b.shape[:2], 1, *b.shape[2:]))
            wide = net.concat([wide] * share, 2)
            b = net.reshape(wide, (b.shape[0], a.shape[1], *b.shape[2:]))
        return product(net, a, b, transpose)

    return repeated
