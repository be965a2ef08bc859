"""The sizes at which a model is run and timed on a GPU, and its inputs at those sizes.

Only numpy is needed: `gpu_reference.py` asks where trtdsl is not, `gpu.py` where PyTorch is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zoo_entries import BATCH, Entry

BATCHES = (1, 8, 32)
LARGE = 8
"""The most of what a text is tuned for one of: images of 800 x 1088, sequences of 512."""


def batches(entry: Entry) -> tuple[int, ...]:
    """Those of 1, 8 and 32 that the text takes, or its least and largest; 1 where no input has a batch."""
    if not any(BATCH in each.shape for each in entry.inputs.values()):
        return (1,)
    least, best, largest = _stated(entry).get(BATCH, (1, 8, 32))
    most = min(largest, LARGE if best == 1 else BATCHES[-1])
    found = tuple(batch for batch in BATCHES if least <= batch <= most)
    return found if len(found) > 1 else tuple(sorted({least, most}))


def best_batch(entry: Entry) -> int:
    """The one that the text is tuned for, or the largest below it that is run."""
    best = _stated(entry).get(BATCH, (1, 8, 32))[1]
    return max(batch for batch in batches(entry) if batch <= max(best, 1))


def tuned(entry: Entry) -> dict[str, int]:
    """The size of each dim but the batch: what the text is tuned for, where it states that by a number.

    Of one that is tuned for 0, a past before there is one, and of one that is stated otherwise, the last
    size at which the entry compares, or an eighth of the largest.
    """
    found = {dim: sizes[-1] for dim, sizes in entry.sizes.items()}
    for dim, (_, best, largest) in _stated(entry).items():
        if best or dim not in found:
            found[dim] = best or largest // 8
    return {dim: size for dim, size in found.items() if dim != BATCH}


def drawn(entry: Entry, batch: int, seed: int) -> dict[str, Any]:
    """Random arrays for all inputs of an entry."""
    sizes = {**tuned(entry), BATCH: batch}
    return {name: each.draw(sizes, seed * 1000 + i) for i, (name, each) in enumerate(entry.inputs.items())}


def batch_axes(entry: Entry) -> Mapping[str, int]:
    """Where each input that has a batch has it."""
    return {name: each.shape.index(BATCH) for name, each in entry.inputs.items() if BATCH in each.shape}


def _stated(entry: Entry) -> dict[str, tuple[int, int, int]]:
    text = entry.path.read_text(encoding="utf-8")
    found = re.findall(r"^ *dim (\w+) = (\d+) \.\. (\d+) \.\. (\d+)", text, re.MULTILINE)
    return {dim: (int(least), int(best), int(largest)) for dim, least, best, largest in found}
