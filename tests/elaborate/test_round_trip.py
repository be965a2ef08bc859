"""Every example prints as a text that parses back to the same graph, and keeps every promise."""

from __future__ import annotations

import pytest

from benchmarks.zoo_entries import Entry, read_zoo
from trtdsl.elaborate import elaborate_file, elaborate_text
from trtdsl.ir import difference, show, verify


@pytest.mark.parametrize("entry", read_zoo().values(), ids=lambda entry: entry.name)
def test_an_example_parses_back(entry: Entry) -> None:
    graph = elaborate_file(entry.path, entry.model, entry.defines)
    assert verify(graph) == ()
    text = show(graph)
    again = elaborate_text(text)
    assert difference(graph, again) is None
    assert show(again) == text
