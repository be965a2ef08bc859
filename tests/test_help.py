"""What help names exists: a name in backquotes is an operator or a word of the language."""

from __future__ import annotations

import ast
import keyword
import re
from pathlib import Path

import pytest

import trtdsl
from trtdsl.elaborate.builtins import prelude
from trtdsl.ops.base import OPERATORS, SPELLINGS
from trtdsl.ops.pytorch_names import NAMES, SYNONYMS, advice

CALL = re.compile(r"`(\w+)\(")
NAME = re.compile(r"(?:use|write) `(\w+)`")
PLACEHOLDERS = {"block", "Name", "print"}


def helps() -> list[tuple[str, str]]:
    """The texts that are given as help by operators and elaboration, with their files."""
    found: list[tuple[str, str]] = []
    root = Path(trtdsl.__file__).parent
    for path in sorted([*root.glob("ops/*.py"), *root.glob("elaborate/*.py"), *root.glob("passes/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "`" in node.value:
                found.append((path.name, re.sub(r"``.*?``", "", node.value)))
    return found


def standard_names() -> set[str]:
    """The blocks and functions of the standard library."""
    texts = (path.read_text() for path in Path(trtdsl.__file__).parent.glob("std/*.trtnet"))
    return {name for text in texts for name in re.findall(r"^(?:block|def) (\w+)", text, re.MULTILINE)}


def test_operators_that_help_names_exist() -> None:
    known = {*OPERATORS, *SPELLINGS, *prelude(), *PLACEHOLDERS, *keyword.kwlist, *standard_names()}
    texts = helps()
    named = [
        (path, name, text) for path, text in texts for name in (*CALL.findall(text), *NAME.findall(text))
    ]
    assert len(named) > 5
    assert [each for each in named if each[1] not in known] == []


@pytest.mark.parametrize("name", sorted(NAMES))
def test_advice_for_pytorchs_names_leads_somewhere(name: str) -> None:
    assert SYNONYMS.get(name, "abs") in OPERATORS
    assert all(each in {*OPERATORS, *SPELLINGS, *PLACEHOLDERS} for each in CALL.findall(advice(name)))
