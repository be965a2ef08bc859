"""Every example prints as a text that parses back to the same graph, and keeps every promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trtdsl.elaborate import elaborate_file, elaborate_text
from trtdsl.ir import difference, show, verify

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ZOO: list[dict[str, Any]] = json.loads((EXAMPLES / "zoo.json").read_text())


@pytest.mark.parametrize("entry", ZOO, ids=lambda entry: entry["name"])
def test_an_example_parses_back(entry: dict[str, Any]) -> None:
    graph = elaborate_file(EXAMPLES / entry["file"], entry["model"], entry["defines"])
    assert verify(graph) == ()
    text = show(graph)
    again = elaborate_text(text)
    assert difference(graph, again) is None
    assert show(again) == text
