"""How large a tensor's numbers are, and which range to give a narrow type of them.

In: counts of magnitudes in bins of equal width from 0 to the largest.  Out: the largest magnitude that the
type shall hold; larger ones are cut off to it.

- ``max`` cuts nothing off.
- ``percentile`` cuts off all but a share of the numbers.
- ``mse`` has the least squared error, of what is rounded and what is cut off together.
- ``entropy`` keeps the distribution: the least Kullback-Leibler divergence, as TensorRT's calibrators had it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.recipe import Method
from trtdsl.types import DType

BINS = 2048
LEVELS = {DType.INT8: 127.0, DType.FLOAT8: 448.0}
"""The largest number of each type, to which a range is scaled."""

_FIRST = 128
"""The fewest bins that a range is made of."""

_Counts: TypeAlias = npt.NDArray[np.int64]
_Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Histogram:
    """Magnitudes of a tensor's numbers: ``counts`` of them in bins of equal width up to ``largest``."""

    largest: float
    counts: _Counts

    def range(self, method: Method, dtype: DType = DType.INT8, percentile: float = 99.99) -> float:
        """The magnitude that becomes the type's largest number; 0 where all numbers are 0."""
        if method == "max" or self.largest == 0 or not self.counts.any():
            return self.largest
        if method == "percentile":
            return self.percentile(percentile)
        choose = _least_error if method == "mse" else _least_divergence
        return float(np.float32(self.largest * choose(self.counts, dtype) / len(self.counts)))

    def percentile(self, share: float) -> float:
        """The upper end of the bin up to which ``share`` percent of the numbers lie."""
        cumulated = np.cumsum(self.counts)
        place = int(np.searchsorted(cumulated, cumulated[-1] * share / 100)) + 1
        return float(np.float32(self.largest * min(place, len(self.counts)) / len(self.counts)))

    def share_beyond(self, end: float) -> float:
        """The share of the numbers that a range cuts off, as far as bins tell."""
        if self.largest == 0:
            return 0.0
        first = round(end / self.largest * len(self.counts))
        return float(self.counts[first:].sum() / max(self.counts.sum(), 1))


def _centres(count: int) -> _Floats:
    return np.arange(count, dtype=np.float64) + 0.5


def rounded(numbers: _Floats, dtype: DType) -> _Floats:
    """Magnitudes scaled to a type, rounded to its numbers and cut off at its largest."""
    numbers = np.minimum(numbers, LEVELS[dtype])
    if dtype is DType.INT8:
        return np.rint(numbers)
    return numbers.astype(dtype.numpy).astype(np.float64)


def _least_error(counts: _Counts, dtype: DType) -> int:
    """How many bins the range with the least squared error has."""
    centres, weights = _centres(len(counts)), counts.astype(np.float64)
    ends = range(_FIRST, len(counts) + 1, 8)
    errors = [float((weights * _errors(centres, end, dtype) ** 2).sum()) for end in ends]
    return ends[int(np.argmin(errors))]


def _errors(centres: _Floats, end: int, dtype: DType) -> _Floats:
    scale = end / LEVELS[dtype]
    return centres - rounded(centres / scale, dtype) * scale


def _least_divergence(counts: _Counts, dtype: DType) -> int:
    """How many bins the range has whose distribution, in 128 levels, tells most of the whole."""
    # Zeros, as relu makes, are exact in any range, and would outweigh all others.
    counts = np.concatenate([counts[1:2], counts[1:]])
    ends = range(_FIRST, len(counts) + 1, 8)
    divergences = [_divergence(counts, end) for end in ends]
    return ends[int(np.argmin(divergences))]


def _divergence(counts: _Counts, end: int) -> float:
    """Of the first bins, with all beyond added to the last of them, from the same in 128 levels."""
    kept = counts[:end].astype(np.float64)
    reference = kept.copy()
    reference[-1] += counts[end:].sum()
    starts = np.unique(np.linspace(0, end, 129, dtype=np.int64)[:-1])
    lengths = np.diff([*starts, end])
    held = reference > 0
    filled = np.add.reduceat(held.astype(np.float64), starts)
    means = np.divide(np.add.reduceat(kept, starts), filled, out=np.zeros(len(starts)), where=filled > 0)
    levels = np.where(held, np.repeat(means, lengths), 0.0)
    return _relative_entropy(reference, levels)


def _relative_entropy(reference: _Floats, levels: _Floats) -> float:
    if not levels.any():
        return float("inf")
    p, q = reference / reference.sum(), levels / levels.sum()
    # Where only one of both has numbers a little is moved there, as the divergence would be infinite.
    p, q = _smoothed(p), _smoothed(q)
    return float((p * np.log(p / q)).sum())


def _smoothed(shares: _Floats, little: float = 1e-4) -> Any:
    empty = shares <= 0
    count, filled = int(empty.sum()), int((~empty).sum())
    if not count or not filled:
        return shares
    moved = np.where(empty, little, shares - little * count / filled)
    return np.maximum(moved, little * 1e-3)
