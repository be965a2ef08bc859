"""Tensors that hold the same numbers in other shapes.

In: what a layer computes on both sides.  Out: how far apart they are, also where a network has them

- without the dimensions along which they repeat: positions of shape [S, W] beside [1, S, W] or [N, S, W];
- in another order or form, or both: [N, H, W, C] beside [N, C, H, W], [N * S, C] beside [N, C, S];
- before or after a slice, which changes nothing else: `norm` of `x[:, -1]`, [N, W], beside that of `x`,
  [N, S, W].
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence

import numpy as np

from trtdsl.verification.result import Array, Measure, measure

MOST_DIMENSIONS = 5
"""Up to so many, every order of them is tried."""


def measure_alike(found: Array, expected: Array, tolerance: float, noise: float = 0.0) -> Measure | None:
    """The measure of two arrays; of other shapes, of what they have in common, or None where nothing is near.

    ``noise`` is that of :func:`~trtdsl.verification.result.measure`.
    """
    if found.shape == expected.shape:
        return measure(found, expected, noise)
    near = [m for a, b in _common(found, expected) if (m := measure(a, b, noise)) is not None]
    best = min(near, key=lambda each: each.relative, default=None)
    return best if best is not None and best.relative <= math.sqrt(tolerance) else None


def _common(found: Array, expected: Array) -> Iterator[tuple[Array, Array]]:
    """The arrays in one shape, in every way that they may correspond."""
    yield from _broadcast(found, expected)
    yield from _rearranged(found, expected)
    yield from ((found, part) for part in _parts(expected, found.shape))
    yield from ((part, expected) for part in _parts(found, expected.shape))


def _broadcast(found: Array, expected: Array) -> Iterator[tuple[Array, Array]]:
    try:
        a, b = np.broadcast_arrays(found, expected)
    except ValueError:
        return
    if a.shape in (found.shape, expected.shape):
        yield a, b


def _rearranged(found: Array, expected: Array) -> Iterator[tuple[Array, Array]]:
    if found.size != expected.size:
        return
    yield found.reshape(expected.shape), expected
    found, expected = np.squeeze(found), np.squeeze(expected)
    yield from _transposed(found, expected)
    if found.ndim != expected.ndim:
        yield from ((a, b) for b, a in _transposed(expected, found))


def _transposed(array: Array, other: Array) -> Iterator[tuple[Array, Array]]:
    """The first in every order of its dimensions in which neighbours make up those of the other."""
    if array.ndim <= MOST_DIMENSIONS:
        for order in itertools.permutations(range(array.ndim)):
            if [*order] != sorted(order) and _are_merged([array.shape[axis] for axis in order], other.shape):
                yield array.transpose(order).reshape(other.shape), other


def _are_merged(sizes: Sequence[int], into: Sequence[int]) -> bool:
    """Whether products of neighbouring sizes are the others: 2, 3, 4 are merged into 6, 4."""
    return {*itertools.accumulate(into, operator.mul)} <= {*itertools.accumulate(sizes, operator.mul)}


def _parts(array: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """The first and the last elements along one axis that have a shape."""
    for axis, size in enumerate(array.shape):
        before, after = array.shape[:axis], array.shape[axis + 1 :]
        if size and before + after == shape:
            yield array.take(0, axis)
            yield array.take(-1, axis)
        wanted = shape[axis] if len(shape) == array.ndim else 0
        if 0 < wanted < size and (*before, wanted, *after) == shape:
            yield array.take(range(wanted), axis)
            yield array.take(range(size - wanted, size), axis)
