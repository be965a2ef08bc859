"""Entries of the zoo as tests use them: their originals, their texts, and inputs for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any
from zlib import crc32

import pytest
import torch
from torch import nn

from benchmarks.zoo_entries import BATCH, Entry, load_oracle, read_zoo
from trtdsl.elaborate import elaborate_file
from trtdsl.ir import Graph, Value

ZOO = list(read_zoo().values())
BY_NAME = {entry.name: entry for entry in ZOO}

FEW = 1 << 20
"""Up to so many numbers of all inputs a network is tried at the optimum and maximum of its dims too."""


MARKS = {"quick": (), "zoo": (pytest.mark.zoo,), "whole": (pytest.mark.whole,)}

INSTALLED = ("torchvision.", "timm.")
"""Where originals are that are installed with the tests."""


def parameters(entries: list[Entry], tier: str | None = None) -> list[Any]:
    """The entries as parameters of a test, marked by their tiers, or all with one; those of the whole one
    are marked so in any case if what their originals need may not be installed."""
    return [pytest.param(entry, id=entry.name, marks=MARKS[_tier(entry, tier)]) for entry in entries]


def _tier(entry: Entry, wanted: str | None) -> str:
    can_be_chosen = entry.tier != "whole" or entry.oracle.startswith(INSTALLED)
    return wanted if wanted and can_be_chosen else entry.tier


# The original


def original(entry: Entry) -> nn.Module:
    """The oracle as its constructor makes it."""
    return load_oracle(entry.oracle)(**entry.arguments)


def without_values(oracle: str, **arguments: Any) -> nn.Module:
    """The oracle on the meta device, in no time; with values where its constructor needs those of tensors."""
    make = load_oracle(oracle)
    try:
        with torch.device("meta"):
            return make(**arguments)
    except (RuntimeError, NotImplementedError):  # "Cannot copy out of meta tensor; no data!" and the like
        return make(**arguments)


def state_read(entry: Entry, module: nn.Module) -> dict[str, torch.Tensor]:
    """Of all of the oracle's state that its eval-mode forward reads."""
    return {
        key: value
        for key, value in module.state_dict().items()
        if is_read(key) and not any(fnmatchcase(key, pattern) for pattern in entry.unread)
    }


def is_read(key: str) -> bool:
    return not key.endswith("num_batches_tracked")


def tensors_of(outputs: Any) -> list[torch.Tensor]:
    """What a module returns, in order: a tensor, or those of a tuple, list or mapping, without its Nones."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if outputs is None:
        return []
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [tensor for part in parts for tensor in tensors_of(part)]


def parts(entry: Entry, output: str) -> list[Callable[[torch.Tensor], torch.Tensor]]:
    """What cuts an output into the parts of one kind each that the entry states; else all of it is one."""
    sizes = entry.parts.get(output)
    if sizes is None:
        return [lambda x: x]
    return [lambda x, i=i: x.split(sizes, 1)[i] for i in range(len(sizes))]


# The text


def elaborate(entry: Entry) -> Graph:
    return elaborate_file(entry.path, model=entry.model, defines=entry.defines)


def shape_of(value: Value) -> tuple[int | str, ...]:
    """A shape as an entry writes it."""
    return tuple(dim if isinstance(dim, int) else str(dim) for dim in value.type.shape)


# Sizes and inputs


def points(entry: Entry, graph: Graph) -> list[dict[str, int]]:
    """The sizes of all dims at which to compare: those that the entry states; else the minima, optima and
    maxima of each profile; else, where that is large, the minima and one more, in which no two dims are
    alike by chance."""
    smallest, further = _minima(graph), _one_more(graph)
    if entry.sizes:
        count = max(map(len, entry.sizes.values()))
        stated = [
            {d: sizes[min(i, len(sizes) - 1)] for d, sizes in entry.sizes.items()} for i in range(count)
        ]
        rest = [smallest, *[further] * (count - 1)]
        return [{**others, **sizes} for others, sizes in zip(rest, stated, strict=True)]
    found = [
        {dim: sizes[i] for dim, sizes in profile.ranges.items()}
        for profile in graph.profiles
        for i in range(3)
    ]
    if max(_numbers(entry, sizes) for sizes in found) > FEW:
        found = [smallest, further]
    return [sizes for i, sizes in enumerate(found) if sizes not in found[:i]]


def _minima(graph: Graph) -> dict[str, int]:
    return {symbol.name: symbol.minimum for symbol in graph.symbols}


def _one_more(graph: Graph) -> dict[str, int]:
    """A step above the minima, two steps for the second dim, and so on."""
    return {
        symbol.name: min(symbol.minimum + (i + 1) * symbol.step, symbol.maximum)
        for i, symbol in enumerate(sorted(graph.symbols, key=lambda symbol: symbol.name != BATCH))
    }


def _numbers(entry: Entry, sizes: Mapping[str, int]) -> int:
    return sum(math.prod(each.at(sizes)) for each in entry.inputs.values())


def random_inputs(
    entry: Entry, graph: Graph, sizes: Mapping[str, int], seed: int = 0
) -> dict[str, torch.Tensor]:
    """Inputs whose samples differ from each other."""
    return {
        name: torch.from_numpy(each.draw(sizes, seed + crc32(name.encode()), graph.ranges.get(name)))
        for name, each in entry.inputs.items()
    }
