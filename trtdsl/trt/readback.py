"""Reading back what TensorRT was told: whether it took a property, and whether it agrees on a shape; and how
messages say what it was told, and what it said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtdsl.ops.lowering import Tensor
from trtdsl.types import Dim, bounds


def agrees(found: Sequence[int], ours: Sequence[Dim]) -> bool:
    """Whether shapes agree: TensorRT may know less (-1), or more where our range has one value."""
    return len(found) == len(ours) and all(
        a < 0 or (a == b if isinstance(b, int) else bounds(b) == (a, a))
        for a, b in zip(found, ours, strict=True)
    )


def took(found: Any, wanted: Any) -> bool:
    """Whether a property read back is what was set; floats went through 32 bits."""
    if isinstance(wanted, float):
        return isinstance(found, float) and bool(np.float32(found) == np.float32(wanted))
    if isinstance(wanted, tuple | list):
        # A Permutation always reads back 8 long.
        items = list(found) if found is not None else []
        items = items[: len(wanted)] if type(found).__name__ == "Permutation" else items
        return len(items) == len(wanted) and all(map(took, items, wanted))
    return bool(found == wanted)


def shown(value: Any) -> str:
    """A property's value, a tensor by its type."""
    return str(value.type) if isinstance(value, Tensor) else str(value)


def shown_sizes(shape: Sequence[int]) -> str:
    """Sizes as TensorRT has them, one that it does not know as a question mark."""
    return ", ".join("?" if size < 0 else str(size) for size in shape)


def first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
