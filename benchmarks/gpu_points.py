"""The sizes at which a model is run and timed on a GPU, and its inputs at those sizes.

It reads the texts with trtdsl, and needs neither PyTorch nor TensorRT: `gpu_reference.py` asks where the one
is, `gpu.py` where the other is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from zoo_entries import BATCH, Entry

from trtdsl.elaborate import elaborate_file
from trtdsl.ir import Graph

BATCHES = (1, 8, 32)
LARGE = 8
"""The most of what a text is tuned for one of: images of 800 x 1088, sequences of 512."""


def batches(entry: Entry) -> tuple[int, ...]:
    """Those of 1, 8 and 32 that the text takes, or its least and largest; 1 where no input has a batch."""
    if not any(BATCH in each.shape for each in entry.inputs.values()):
        return (1,)
    least, best, largest = _sizes(_graph(entry)).get(BATCH, (1, 8, 32))
    most = min(largest, LARGE if best == 1 else BATCHES[-1])
    found = tuple(batch for batch in BATCHES if least <= batch <= most)
    return found if len(found) > 1 else tuple(sorted({least, most}))


def best_batch(entry: Entry) -> int:
    """The one that the text is tuned for, or the largest below it that is run."""
    best = _sizes(_graph(entry)).get(BATCH, (1, 8, 32))[1]
    return max(batch for batch in batches(entry) if batch <= max(best, 1))


def tuned(entry: Entry) -> dict[str, int]:
    """The size of each dim but the batch: what the text's first profile is tuned for.

    Of one that is tuned for 0, a past before there is one, the last size at which the entry compares, or an
    eighth of the largest; and where rows are to be distinct, no more than half of those that there are.
    """
    found = {
        dim: best or entry.sizes.get(dim, (largest // 8,))[-1]
        for dim, (_, best, largest) in _sizes(_graph(entry)).items()
    }
    for each in entry.inputs.values():
        if each.distinct:
            dim, row = str(each.shape[0]), each.at(found)[1:]
            found[dim] = min(found[dim], each.distinct_rows(row) // 2)
    return {dim: size for dim, size in found.items() if dim != BATCH}


def drawn(entry: Entry, batch: int, seed: int) -> dict[str, Any]:
    """Random arrays for all inputs of an entry, within the numbers that the text takes."""
    sizes, ranges = {**tuned(entry), BATCH: batch}, _graph(entry).ranges
    return {
        name: each.draw(sizes, seed * 1000 + i, ranges.get(name))
        for i, (name, each) in enumerate(entry.inputs.items())
    }


def batch_axes(entry: Entry) -> Mapping[str, int]:
    """Where each input that has a batch has it."""
    return {name: each.shape.index(BATCH) for name, each in entry.inputs.items() if BATCH in each.shape}


def _graph(entry: Entry) -> Graph:
    return _elaborated(entry.path, entry.model, json.dumps(entry.defines))


@cache
def _elaborated(path: Path, model: str, defines: str) -> Graph:
    """Once a process: each question here asks for it."""
    return elaborate_file(path, model=model, defines=json.loads(defines))


def _sizes(graph: Graph) -> Mapping[str, tuple[int, int, int]]:
    """The least, best and largest of each dim in the first profile."""
    return graph.profiles[0].ranges if graph.profiles else {}
