"""Weights in few bits: the scales of their rows or blocks, and the nearest numbers of a narrow type.

In: a weight ``[outputs, inputs]``, a type, how many elements share a scale, and how a scale is held.  Out:
the codes and scales of which ``codes * scales`` is the weight, as near as the type allows::

    held = nearest(weight, Grid(DType.INT4, 128), held=lambda scales: scales.astype(np.float16))
    held.codes, held.scales        # int4[512, 256], float32[512, 2]

A scale that lets the largest number through leaves few levels for all others. So scales are tried from that
one down to half of it, and the one with the least squared error is taken, block by block, each number
weighted with how large what it is multiplied with is, where that is known. No data are needed for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.types import DType

Array: TypeAlias = npt.NDArray[Any]
Hold: TypeAlias = Callable[[Array], Array]
"""Scales as they will be held, in float32 again: rounded to float16, or to powers of two."""

LARGEST = {DType.INT8: 127.0, DType.INT4: 7.0, DType.FLOAT8: 448.0, DType.FLOAT4: 6.0}
"""What the largest magnitude of a block becomes where nothing is cut off."""

SHARES = tuple(np.linspace(1.0, 0.5, 41))
"""Of that scale, those that are tried. The one of 7/8 lets int4's -8 through."""

ROWS = 2**20
"""Elements that are worked on at once, so that what is tried needs little memory beside the weight."""


@dataclass(frozen=True)
class Grid:
    """A narrow type, and how many elements of a row share a scale; all of a row where ``block`` is None."""

    dtype: DType
    block: int | None = None

    def blocks(self, weight: Array) -> Array:
        """A weight as ``[outputs, blocks, elements]``."""
        return weight.reshape(len(weight), -1, self.block or weight.shape[1])

    def round(self, numbers: Array) -> Array:
        """The nearest numbers of the type, halves to even, in float32; those beyond it become its last."""
        if self.dtype.is_floating:
            end = LARGEST[self.dtype]
            return np.clip(numbers, -end, end).astype(self.dtype.numpy).astype(np.float32)
        return np.clip(np.rint(numbers), *self.dtype.limits).astype(np.float32)

    def codes(self, numbers: Array) -> Array:
        """Rounded numbers in the type itself."""
        if self.dtype.is_floating:
            return numbers.astype(self.dtype.numpy)
        return numbers.astype(np.int8).astype(self.dtype.numpy)


@dataclass(frozen=True)
class Held:
    """A weight in a narrow type: its codes, and a scale in float32 of each block, ``[outputs, blocks]``."""

    grid: Grid
    codes: Array
    scales: Array

    @property
    def weight(self) -> Array:
        """What the codes stand for, in float32."""
        numbers = self.grid.blocks(self.codes.astype(np.float32)) * self.scales[..., None]
        return numbers.reshape(self.codes.shape)


def nearest(weight: Array, grid: Grid, held: Hold, importance: Array | None = None) -> Held:
    """Each number rounded to the nearest, by the scales of :func:`best_scales`."""
    scales = best_scales(weight, grid, held, importance)
    numbers = grid.round(grid.blocks(weight.astype(np.float32)) / scales[..., None])
    return Held(grid, grid.codes(numbers).reshape(weight.shape), scales)


def best_scales(weight: Array, grid: Grid, held: Hold, importance: Array | None = None) -> Array:
    """The scale of each block that makes the least squared error, ``[outputs, blocks]``.

    ``importance`` are weights of the inputs' squares, by default all alike.
    """
    step = max(ROWS // weight.shape[1], 1)
    parts = [weight[start : start + step] for start in range(0, len(weight), step)]
    return np.concatenate([_best_scales(part, grid, held, importance) for part in parts])


def _best_scales(weight: Array, grid: Grid, held: Hold, importance: Array | None) -> Array:
    blocks = grid.blocks(weight.astype(np.float32))
    weights = np.ones(weight.shape[1]) if importance is None else importance
    weights = grid.blocks(weights.astype(np.float32)[None])
    whole = largest_scales(weight, grid)
    scales = held(whole)
    least = _error(blocks, grid, scales, weights)
    for share in SHARES[1:]:
        tried = held(whole * np.float32(share))
        error = _error(blocks, grid, tried, weights)
        better = error < least
        scales, least = np.where(better, tried, scales), np.where(better, error, least)
    return scales


def largest_scales(weight: Array, grid: Grid) -> Array:
    """The scales that cut nothing off; 1 where a block has nothing but zeros."""
    sizes = np.abs(grid.blocks(weight.astype(np.float32))).max(axis=2)
    return np.where(sizes == 0, np.float32(1), sizes / np.float32(LARGEST[grid.dtype]))


def _error(blocks: Array, grid: Grid, scales: Array, weights: Array) -> Array:
    spread = scales[..., None]
    difference = grid.round(blocks / spread) * spread - blocks
    return (difference * difference * weights).sum(axis=2)


def numbers_of(key: str, data: Array | None) -> Array:
    """A weight's numbers in float32; UsageError where one is not finite, which no scale is for."""
    if data is None:
        raise ValueError(f"weight `{key}` has no data: bind the graph to a checkpoint first")
    numbers = data.astype(np.float32)
    if not np.isfinite(numbers).all():
        text = f"the weight `{key}` has numbers that are not finite, which cannot be quantised"
        raise UsageError(Diagnostic(text))
    return numbers
