"""The lines of `examples/zoo.json`: each a network of the examples, its original, and what it takes.

    {"name": "detr_resnet50", "file": "detr/detr.trtnet", "model": "detr_resnet50", "defines": {},
     "oracle": "detr/detr.py:detr", "arguments": {"queries": 100},
     "inputs": {"image": [3, "H", "W"], "mask": {"shape": ["H", "W"], "type": "bool", "mask": true}},
     "sizes": {"H": [64, 96], "W": [64, 128]}, "tier": "zoo"}

`docs/zoo.md` says what each word means.  Nothing but numpy is needed, so that the scripts that run where
trtdsl is not, and the tests, read the file and draw inputs by the same functions.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BATCH = "N"
TIERS = ("quick", "zoo", "whole")
"""Which run compares an entry with its original: `make unit`, `make test`, `make zoo`; each runs those before
too."""
TYPES = ("float32", "float16", "int64", "int32", "uint8", "bool")


class EntryError(ValueError):
    """A line of the zoo that says what cannot be."""


@dataclass(frozen=True)
class Input:
    """One input: its whole shape, sizes and names of dims, and what its numbers are drawn from.

    Floats are normal, or with ``below`` uniform from ``low``; integers are from ``low`` to ``below``, or
    those that the text states; with ``mask`` the last axis is 1 (true) at first and then 0, in each row for
    a length of its own, at least 1; with ``distinct`` no two rows of integers are alike.
    """

    shape: tuple[int | str, ...]
    type: str = "float32"
    low: float = 0
    below: float | None = None
    mask: bool = False
    distinct: bool = False

    def at(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where dims have these sizes; a sum of dims is written ``P + S``."""
        return tuple(size if isinstance(size, int) else _sum(size, sizes) for size in self.shape)

    def draw(
        self,
        sizes: Mapping[str, int],
        seed: int,
        stated: tuple[float, float] | None = None,
    ) -> npt.NDArray[Any]:
        """Random numbers; ``stated`` are the least and the greatest that the text takes."""
        random, shape = np.random.default_rng(seed), self.at(sizes)
        if self.mask:
            lengths = random.integers(1, shape[-1], (*shape[:-1], 1), endpoint=True)
            return (np.arange(shape[-1]) < lengths).astype(self.type)
        if self.distinct:
            return self._draw_distinct(random, shape)
        if self.below is not None:
            return random.uniform(self.low, self.below, shape).astype(self.type)
        if stated is not None:
            low, high = stated
            return random.uniform(low, high + (not self.is_floating), shape).astype(self.type)
        drawn = random.standard_normal(shape) if self.is_floating else random.integers(0, 2, shape)
        return drawn.astype(self.type)

    def distinct_rows(self, row: tuple[int, ...]) -> int:
        """How many rows of this shape differ from each other."""
        return math.prod(self._choices(row))

    def _choices(self, row: tuple[int, ...]) -> list[int]:
        return [int((self.below or 0) - self.low)] * math.prod(row)

    def _draw_distinct(self, random: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        rows, *row = shape
        sizes, most = self._choices((*row,)), self.distinct_rows((*row,))
        if most < rows:
            raise EntryError(f"there are {most} distinct rows, not {rows}")
        chosen = random.choice(most, rows, replace=False)
        found = np.stack(np.unravel_index(chosen, sizes), axis=1) + self.low
        return found.reshape(shape).astype(self.type)

    @property
    def is_floating(self) -> bool:
        return self.type.startswith("float")


@dataclass(frozen=True)
class Entry:
    """One line.

    ``sizes`` are those of dims at which the original is compared, where those of the text are too large;
    ``keep`` and ``unread`` are patterns of keys: of parameters that keep the values of the constructor, and
    of those that the checkpoint has and the network does not need.  ``parts`` are the sizes, along the axis
    after the batch, into which an output is cut before it is compared.
    """

    name: str
    file: str
    model: str
    oracle: str
    inputs: Mapping[str, Input]
    defines: Mapping[str, Any] = field(default_factory=dict[str, Any])
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    keep: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    int8: bool = False
    tier: str = "whole"

    @property
    def path(self) -> Path:
        return EXAMPLES / self.file

    def in_tier(self, tier: str) -> bool:
        """Whether a run of that tier compares the entry."""
        return TIERS.index(self.tier) <= TIERS.index(tier)


def read_zoo(path: Path = EXAMPLES / "zoo.json") -> dict[str, Entry]:
    """The entries of a file by name."""
    found: dict[str, Entry] = {}
    for line in json.loads(path.read_text(encoding="utf-8")):
        entry = entry_of(line)
        if entry.name in found:
            raise EntryError(f"{path.name} has two entries named {entry.name}")
        found[entry.name] = entry
    return found


def load_oracle(oracle: str) -> Any:
    """The callable that ``module:name``, or ``path.py:name`` under ``examples/``, stands for."""
    module_name, _, name = oracle.partition(":")
    if not module_name.endswith(".py"):
        return getattr(importlib.import_module(module_name), name)
    dotted = module_name.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(dotted, EXAMPLES / module_name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where transformers looks for the file of what derives from its classes
    spec.loader.exec_module(module)
    return getattr(module, name)


def entry_of(line: Mapping[str, Any]) -> Entry:
    """An entry as JSON has it."""
    name = str(line.get("name", "an entry without a name"))
    unknown = line.keys() - Entry.__dataclass_fields__.keys()
    if unknown:
        raise EntryError(f"{name}: unknown {', '.join(sorted(unknown))}")
    if line.get("tier", "whole") not in TIERS:
        raise EntryError(f"{name}: the tier must be {', '.join(TIERS)}, not {line['tier']}")
    fields: dict[str, Any] = dict(line)
    fields |= {key: tuple(line[key]) for key in ("keep", "unread") if key in line}
    for each in ("sizes", "parts"):
        fields[each] = {key: tuple(found) for key, found in line.get(each, {}).items()}
    fields["inputs"] = {each: input_of(f"{name}: {each}", stated) for each, stated in line["inputs"].items()}
    return Entry(**fields)


def input_of(where: str, stated: Any) -> Input:
    """An input as JSON has it: a shape, or an object with one; without the batch, unless it names that."""
    fields: dict[str, Any] = dict(stated) if isinstance(stated, Mapping) else {"shape": stated}
    unknown = fields.keys() - {*Input.__dataclass_fields__, "batch"}
    if unknown:
        raise EntryError(f"{where}: unknown {', '.join(sorted(unknown))}")
    if fields.get("type", "float32") not in TYPES:
        raise EntryError(f"{where}: the type must be one of {', '.join(TYPES)}, not {fields['type']}")
    shape = tuple(fields.pop("shape"))
    batched = fields.pop("batch", BATCH not in shape)
    return Input(shape=(BATCH, *shape) if batched else shape, **fields)


def _sum(dim: str, sizes: Mapping[str, int]) -> int:
    parts = [part.strip() for part in dim.split("+")]
    return sum(int(part) if part.isdigit() else sizes[part] for part in parts)
