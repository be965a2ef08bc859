"""Weights rounded one input after the other, each rounding made up for by the inputs that are still to come.

In: a weight ``[outputs, inputs]``, the second moments of what it is multiplied with, and a grid.  Out: codes
of which the layer's *output* is nearest, where rounding each number by itself makes the nearest weight.

It is GPTQ (Frantar et al., 2022): the error of a rounded column is spread over the columns that are not
rounded yet, by the inverse of the moments, in the form of that inverse's Cholesky factor. Columns are rounded
in the order of their inputs' sizes, the largest first, by scales of the blocks as they stand in the weight.
"""

from __future__ import annotations

import numpy as np

from trtdsl.precision.grids import Array, Grid, Held, Hold, best_scales

DAMPING = 0.01
"""Of the moments' mean is added to each input's own, so that inputs that depend on each other, and those that
were 0 in all the data, have an inverse."""

TOGETHER = 128
"""Columns after which their errors are spread over all that are further on, at once."""


def compensated(weight: Array, grid: Grid, held: Hold, matrix: Array) -> Held:
    """A weight in a narrow type, with the least error of the layer's output that this way finds."""
    importance = np.diag(matrix)
    scales = best_scales(weight, grid, held, importance)
    order = np.argsort(-importance, kind="stable")
    spread = np.repeat(scales, grid.block or weight.shape[1], axis=1)[:, order]
    numbers = _rounded(
        weight[:, order].astype(np.float64), spread, grid, _factor(matrix[np.ix_(order, order)])
    )
    back = np.empty_like(numbers)
    back[:, order] = numbers
    return Held(grid, grid.codes(back), scales)


def _factor(matrix: Array) -> Array:
    """The upper Cholesky factor of the inverse of the damped moments."""
    damped = matrix.astype(np.float64)
    mean = float(np.diag(damped).mean()) or 1.0
    damped[np.diag_indices_from(damped)] += DAMPING * mean
    inverse = np.linalg.inv(damped)
    return np.linalg.cholesky((inverse + inverse.T) / 2).T


def _rounded(weight: Array, scales: Array, grid: Grid, factor: Array) -> Array:
    """The rounded numbers, in float32; ``weight`` is used up."""
    numbers = np.empty(weight.shape, np.float32)
    count = weight.shape[1]
    for start in range(0, count, TOGETHER):
        end = min(start + TOGETHER, count)
        errors = np.empty((len(weight), end - start))
        for column in range(start, end):
            scale = scales[:, column]
            numbers[:, column] = grid.round(weight[:, column] / scale)
            lost = (weight[:, column] - numbers[:, column] * scale) / factor[column, column]
            weight[:, column:end] -= np.outer(lost, factor[column, column:end])
            errors[:, column - start] = lost
        weight[:, end:] -= errors @ factor[start:end, end:]
    return numbers
