"""Resampling with antialiasing: each dimension a product with a constant matrix.

In: the sizes of a dimension.  Out: the weights of PyTorch's ``antialias=True``, a triangle or a cubic
(Keys' with -0.5, as in Pillow) stretched over as many elements as become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, SymbolicDim, equal, surely
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor

_CUBIC = -0.5


def smoothing(size: Dim, output: Dim, cubic: bool, aligned: bool, scale: float | None) -> Array | None:
    """``[output, size]``: the weights of each output's elements; None where the dimension is kept.

    ``scale`` is the factor that coordinates follow, None for the ratio of the sizes. Refused where the
    weights depend on the input's size.
    """
    if surely(equal, size, output):
        return None
    if isinstance(size, SymbolicDim) or isinstance(output, SymbolicDim):
        raise Refused(
            f"the weights that make {output} of the dynamic {size} would change with the input's size",
            "antialias",
            "fix the dimension, or leave out `antialias`",
        )
    if aligned:
        step = (size - 1) / (output - 1) if output > 1 else 0.0
    else:
        step = size / output if scale is None else 1 / scale
    return _matrix(size, output, cubic, step)


@lru_cache(maxsize=64)
def _matrix(size: int, output: int, cubic: bool, step: float) -> Array:
    """ATen's ``_compute_index_ranges_weights``, in float64."""
    stretch = max(step, 1.0)
    reach = (2.0 if cubic else 1.0) * stretch
    matrix = np.zeros((output, size))
    for row in range(output):
        centre = step * (row + 0.5)
        first, end = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), size)
        away = np.abs((np.arange(first, end) - centre + 0.5) / stretch)
        weights = _cubic(away) if cubic else np.clip(1 - away, 0, None)
        matrix[row, first:end] = weights / weights.sum()
    return matrix


def _cubic(x: Array) -> Array:
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _CUBIC
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def lower_smoothed(net: Network, x: Tensor, matrices: Sequence[Array | None]) -> Tensor:
    """An image resampled by the matrices of its height and its width."""
    height, width = matrices
    if width is not None:
        x = net.matmul(x, net.constant(width.astype(x.dtype.numpy)), transpose_b=True)
    if height is not None:
        x = net.matmul(net.constant(height.astype(x.dtype.numpy)), x)
    return x
