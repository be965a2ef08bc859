"""New shapes in TensorRT's spelling.

In: the shape of a tensor, and the one that it shall have.  Out: the numbers of a shuffle layer's
``reshape_dims``, or that they cannot say it.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.types import Dim, bounds


def reshape_dims(old: Sequence[Dim], new: Sequence[Dim]) -> tuple[int, ...] | None:
    """The new shape in TensorRT's spelling, 0 for a dimension copied from the same place of the
    input and at most one -1 to infer; None where that cannot say it."""
    spelled: list[int] = []
    for axis, dim in enumerate(new):
        if isinstance(dim, int):
            spelled.append(dim)
        elif axis < len(old) and old[axis] == dim:
            spelled.append(0)
        else:
            spelled.append(-1)
    told = [dim for dim, length in zip(new, spelled, strict=True) if length != -1]
    if 0 in new or spelled.count(-1) > 1:
        return None
    # Beside a length of 0 the inferred one could be anything.
    return tuple(spelled) if len(told) == len(new) or all(map(is_positive, told)) else None


def is_positive(dim: Dim) -> bool:
    """Whether a dimension is at least 1 at every size."""
    return bounds(dim)[0] > 0
