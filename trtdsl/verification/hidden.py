"""What the Euclidean norm of a whole tensor hides: what varies about a large mean, and small channels.

In: the numbers of a tensor beside what they should be.  Out: the largest relative error of such a part::

    hidden_error(1e6 + 2 * signal, 1e6 + signal, 0.0)  # 1.0, although the tensors are 1e-6 apart

An output of 1e6 everywhere agrees to 1e-6 whatever the layers before it compute, so each part is held
against its own size. Small parts inherit the rounding of what hides them: that much is not their own
error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

DWARFED = 100.0
"""A part hides another that is so many times smaller: to 1e-2, the error of one that is larger is seen in
the whole tensor's, which may be 1e-4."""

ROUNDINGS = 8.0
"""How many times the error of what hides it a small part may be off: it is the result of as large terms."""

FLOAT64_SUMS = 2e-15
"""The error of float64 sums of some thousand terms beside their size: what varies by less is not in the
numbers, as where all rows of a tensor are the same but for rounding, also in a channel that is nearly 0."""


def hidden_error(found: Array, expected: Array, noise: float) -> float:
    """The largest relative error of a hidden part, 0 where nothing is hidden; for finite float64 arrays.

    ``noise`` is the relative error that the computation itself may have.
    """
    if expected.size < 2:
        return 0.0
    rounding = FLOAT64_SUMS * float(_size(expected.reshape(1, -1))[0])
    rows = [(found.reshape(1, -1), expected.reshape(1, -1))]
    rows += [(_channels(found, axis), _channels(expected, axis)) for axis in _axes(expected.ndim)]
    errors = (_about_the_mean(*each, noise, rounding) for each in rows)
    return max([*errors, *(_dwarfed(*each, noise) for each in rows[1:])], default=0.0)


def _axes(rank: int) -> Iterator[int]:
    """Where channels may be: after the batch, as images have them, or at the end, as sequences do."""
    if rank > 1:
        yield 1
    if rank > 2:
        yield rank - 1


def _channels(array: Array, axis: int) -> Array:
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def _size(rows: Array) -> Array:
    """The root of the mean square of each row."""
    return np.sqrt(np.mean(np.square(rows), axis=1))


def _about_the_mean(found: Array, expected: Array, noise: float, rounding: float) -> float:
    """The largest error of what varies in a row by more than ``rounding``, where its mean hides that."""
    means = np.mean(expected, axis=1, keepdims=True)
    spreads, large = _size(expected - means), np.abs(means[:, 0])
    hidden = large > DWARFED * spreads
    if not hidden.any():
        return 0.0
    difference = found - expected
    errors = _size(difference - np.mean(difference, axis=1, keepdims=True))
    allowed = ROUNDINGS * np.maximum(_beside(spreads, errors)[1], np.maximum(noise * large, rounding))
    return _worst(errors - allowed, spreads, hidden)


def _dwarfed(found: Array, expected: Array, noise: float) -> float:
    """The largest error of a row beside which others are large."""
    sizes = _size(expected)
    if not sizes.max() > DWARFED * sizes.min(where=sizes > 0, initial=math.inf):
        return 0.0
    errors = _size(found - expected)
    hidden, worst = _beside(sizes, errors)
    allowed = ROUNDINGS * np.maximum(worst, noise * sizes.max())
    return _worst(errors - allowed, sizes, hidden)


def _beside(sizes: Array, errors: Array) -> tuple[Array, Array]:
    """Whether other rows dwarf each row, and the largest error of those; two rows that are near each other by
    chance have it too."""
    order = np.argsort(sizes)
    first = np.searchsorted(sizes[order], DWARFED * sizes, side="right")
    worst_behind = np.maximum.accumulate(errors[order][::-1])[::-1]
    dwarfed = first < len(sizes)
    return dwarfed, np.where(dwarfed, worst_behind[np.minimum(first, len(sizes) - 1)], 0.0)


def _worst(errors: Array, sizes: Array, hidden: Array) -> float:
    # A part that is 0 throughout has no relative error; the whole tensor's tells of it.
    counted = hidden & (sizes > 0) & (errors > 0)
    return float(np.max(errors[counted] / sizes[counted], initial=0.0))
