"""Numbers of float32 as one writes them: 0.1, not 0.10000000149011612."""

from __future__ import annotations

from typing import Any

from trtdsl.types.arrays import np


def shortest(value: Any) -> float:
    """The number with the fewest digits that is this one in float32."""
    found = float(str(np.float32(value)))
    # The shortest text of the greatest float32 is more than it.
    is_more = abs(found) > float(np.finfo(np.float32).max) and np.isfinite(value)
    return float(value) if is_more else found
