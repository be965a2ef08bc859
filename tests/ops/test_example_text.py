"""What `trtdsl ops NAME` shows as examples can be typed in, and gives the types that stand behind it."""

from __future__ import annotations

import re

import pytest

from tests.ops.examples import SYMBOLS, Example
from trtdsl.elaborate import elaborate_text
from trtdsl.ops.base import OPERATORS
from trtdsl.ops.describe import describe_operator, operator_pages
from trtdsl.types import symbols


def shown(name: str) -> list[list[str]]:
    """The examples on the page of an operator, each as its lines."""
    _, _, text = describe_operator(name).partition("\nexamples:\n")
    return [[line.strip() for line in example.splitlines()] for example in text.split("\n\n")]


def missing_sizes(lines: list[str]) -> str:
    """An input for dynamic dimensions that no input of the example has."""
    used = set(re.findall(r"\b[NHWS]\b", " ".join(lines)))
    declared = set(re.findall(r"\b[NHWS]\b", " ".join(line for line in lines if line.startswith("input "))))
    left = sorted(used - declared)
    return f"input sizes: float32[{', '.join(left)}]" if left else ""


@pytest.mark.parametrize("name", OPERATORS)
def test_examples_can_be_typed_in(name: str) -> None:
    found = (next(iter(symbols(dim))) for dim in SYMBOLS.values())
    dims = [f"dim {s.name} = {s.minimum} .. {s.optimum} .. {s.maximum}" for s in found]
    examples = shown(name)
    assert len(examples) >= len(OPERATORS[name].examples)
    for lines in examples:
        statement, _, types = lines[-1].partition("  # ")
        outputs = f"output {statement.partition(' = ')[0]}"
        text = ["model m() {", *dims, missing_sizes(lines), *lines, outputs, "}"]
        graph = elaborate_text("\n".join(text))
        assert tuple(output.value.type for output in graph.outputs) == Example(f"any()() -> {types}").results


def test_the_pages_show_the_same() -> None:
    pages = operator_pages()
    for name in OPERATORS:
        for lines in shown(name):
            assert "\n".join(lines) in pages


def test_the_pages_list_their_contents() -> None:
    pages = operator_pages()
    headings = re.findall(r"^## (.*)$", pages, re.MULTILINE)
    assert len(headings) > 20
    for heading in headings:
        assert f"- [{heading}](#{heading.lower().replace(' ', '-')}): " in pages
    for name in OPERATORS:
        assert f"[{name}](#{name.lower()})" in pages
