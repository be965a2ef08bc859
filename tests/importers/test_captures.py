"""Programs captured of published models give texts that check and are no longer than they were.

``benchmarks/import_captures.py`` captures them; ``UPDATE_GOLDEN=1 pytest tests/importers/test_captures.py``
writes down the lengths, and the texts of those whose every byte is held. Read what changed.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from trtdsl.importers.checking import checked
from trtdsl.importers.module import Imported, import_program
from trtdsl.importers.program import Array, Program
from trtdsl.importers.program_json import from_json
from trtdsl.syntax import format_text

FOLDER = Path(__file__).parent / "captures"
LENGTHS = FOLDER / "lines.json"
NAMES = sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))


def captured(name: str) -> Program:
    return from_json(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()).decode())


def state_of(program: Program) -> dict[str, Array]:
    """A state dict of the right shapes, without values: no weight takes memory."""
    state: dict[str, Array] = {}
    for value, key in program.weights.items():
        type = program.types[value]
        sizes = [size for size in type.shape if isinstance(size, int)]
        zeros = np.broadcast_to(np.zeros((), type.dtype.numpy), sizes)
        state |= dict.fromkeys((key, *program.ties.get(key, ())), zeros)
    return state


def recorded() -> dict[str, int]:
    return json.loads(LENGTHS.read_text(encoding="utf-8"))


def imported(name: str) -> Imported:
    """The text of a capture, written down anew where that is asked for."""
    found = import_program(captured(name))
    golden = FOLDER / f"{name}.trtnet"
    if UPDATE:
        lengths = {**recorded(), name: len(found.text.splitlines())}
        LENGTHS.write_text(json.dumps(lengths, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if golden.exists():
            golden.write_text(found.text, encoding="utf-8")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_text_checks_and_is_no_longer(name: str) -> None:
    program = captured(name)
    found = imported(name)
    graph = checked(found.text, {**state_of(program), **found.constants})
    assert len(graph.inputs) == len(program.inputs)
    assert [each.name for each in graph.outputs] == [each for each, _ in program.outputs]
    assert format_text(found.text) == found.text
    assert len(found.text.splitlines()) <= recorded()[name]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.trtnet")), ids=lambda path: path.stem)
def test_text_is_the_one_written_down(path: Path) -> None:
    assert imported(path.stem).text == path.read_text(encoding="utf-8")


def test_every_capture_has_a_length() -> None:
    assert sorted(recorded()) == NAMES
