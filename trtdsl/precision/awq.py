"""How far to equalise what linear layers read, where only their weights become narrow.

In: layers that share a tensor, and the second moments of that.  Out: the factors that its channels are
divided by, and its readers' weights multiplied with, for which the readers' outputs are nearest.

A weight that is multiplied by ``s`` before it is rounded, and its input divided by it, is rounded ``s`` times
more finely, as long as the block that it shares a scale with has a larger number. So what large inputs
are multiplied with is made larger: ``s = x ** alpha`` of an input's root mean square, and alpha is that of
least error, one for all layers that read the tensor. It is AWQ (Lin et al., 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trtdsl.ir import Weight
from trtdsl.precision.equalise import Choose
from trtdsl.precision.grids import Array, Grid, Hold, largest_scales, numbers_of
from trtdsl.precision.layers import QuantisableLayer
from trtdsl.precision.moments import output_error

ALPHAS = tuple(np.linspace(0, 1, 21))
"""Those that are tried; 0 leaves the channels as they are."""

ROWS = 256
"""Outputs of a layer, from all over it, that its error is judged by."""

_LEAST = 1e-4
"""Of the largest channel: what is less counts as this, so that no factor is beyond all others."""


def by_output(
    matrices: Mapping[Weight, Array], grids: Mapping[Weight, Grid], held: Hold, alpha: float | None = None
) -> Choose:
    """What chooses the factors of a group of layers, whose moments are given; by an ``alpha`` where one is.

    The error is that of rounding to the nearest with scales that cut nothing off.
    """

    def choose(group: Sequence[QuantisableLayer]) -> tuple[Array, float] | None:
        readers = list(dict.fromkeys(layer.weight for layer in group))
        matrix = np.sum([matrices[weight] for weight in readers], axis=0)
        sizes = np.sqrt(np.diag(matrix))
        if not sizes.any():
            return None
        tried: Sequence[float] = ALPHAS if alpha is None else (alpha,)
        factors = {each: _factors(sizes, each) for each in tried}
        rows = {weight: _some_rows(numbers_of(weight.key, weight.data)) for weight in readers}

        def error(each: float) -> float:
            return sum(
                _error(rows[weight], factors[each], grids[weight], held, matrices[weight])
                for weight in readers
            )

        best = min(tried, key=error)
        return None if best == 0 else (factors[best], float(best))

    return choose


def _factors(sizes: Array, alpha: float) -> Array:
    """What each channel is divided by, with a geometric mean of 1."""
    logs = alpha * np.log(np.maximum(sizes, sizes.max() * _LEAST))
    return np.exp(logs - logs.mean())


def _some_rows(weight: Array) -> Array:
    return weight[np.linspace(0, len(weight) - 1, min(len(weight), ROWS)).astype(int)]


def _error(weight: Array, factors: Array, grid: Grid, held: Hold, matrix: Array) -> float:
    scaled = (weight * factors).astype(np.float32)
    scales = held(largest_scales(scaled, grid))[..., None]
    rounded = (grid.round(grid.blocks(scaled) / scales) * scales).reshape(weight.shape)
    return output_error((rounded - scaled) / factors, matrix)
