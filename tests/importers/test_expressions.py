"""Expressions as text: parentheses where what is around binds tighter, pipes where one value is passed on."""

from __future__ import annotations

import pytest

from tests.importers.programs import statements, text_of
from trtdsl.importers.expressions import Expressions, head, is_stage, word
from trtdsl.importers.sketch import (
    Apply,
    Cut,
    Expression,
    Infix,
    Items,
    Literal,
    Subscript,
    Text,
    Use,
)
from trtdsl.types import symbol

A, B, C = Use("a"), Use("b"), Use("c")
RELU = Apply("relu", (("input", A),), 1)
LINEAR = Apply("Linear", (("out_features", Literal(4)),), 1, is_module=True, label="fc", tensors=(A,))
LOOKED_UP = Apply("Parameter", (("", Literal(4)),), 1, is_module=True, label="table")


def text(expression: Expression, **absorbed: Expression) -> str:
    texts = Expressions()
    texts.names = {name: name for name in "abcx"}
    texts.absorbed = absorbed
    return texts.text(expression, 0)


def infix(operator: str, left: Expression | None, right: Expression) -> Infix:
    return Infix(operator, left, right)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (infix("+", A, infix("*", B, C)), "a + b * c"),
        (infix("*", infix("+", A, B), C), "(a + b) * c"),
        (infix("-", A, infix("-", B, C)), "a - (b - c)"),
        (infix("-", infix("-", A, B), C), "a - b - c"),
        (infix("**", infix("**", A, B), C), "(a ** b) ** c"),
        (infix("**", A, infix("**", B, C)), "a ** b ** c"),
        (infix("**", Literal(-2), B), "(-2) ** b"),
        (infix("-", None, infix("+", A, B)), "-(a + b)"),
        (infix("not", None, infix("and", A, B)), "not (a and b)"),
        (infix("<", infix("<", A, B), C), "(a < b) < c"),
        (infix("*", Literal(symbol("N", 1, 2, 4) + 1), B), "(N + 1) * b"),
        (infix("*", Text("2 * C"), A), "(2 * C) * a"),
    ],
)
def test_precedence(expression: Expression, expected: str) -> None:
    assert text(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (Subscript(A, (Cut(), Literal(0))), "a[:, 0]"),
        (Subscript(A, (Cut(Literal(1), Literal(-1), Literal(2)),)), "a[1:-1:2]"),
        (Subscript(infix("+", A, B), (Literal(0),)), "(a + b)[0]"),
        (Items((A,)), "(a,)"),
        (Items((A,), brackets=True), "[a]"),
        (Items((A, B)), "(a, b)"),
        (Literal(None), "none"),
        (Literal(value=True), "true"),
        (Literal("same"), '"same"'),
    ],
)
def test_other_forms(expression: Expression, expected: str) -> None:
    assert text(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (RELU, "relu(a)"),
        (LINEAR, "a -> fc: Linear(4)"),
        (Apply("Linear", LINEAR.arguments, 1, True, "1.fc", (A,)), "a -> 1.fc: Linear(4)"),
        (Apply("Linear", LINEAR.arguments, 1, True, Text("fc{i}"), (A,)), 'a -> "fc{i}": Linear(4)'),
        (Apply("Both", (), 0, True, "m", (A, B)), "(a, b) -> m: Both"),
        (Apply("Both", (), 0, True, "m", (A,), (("mask", B),)), "a -> m: Both()(mask = b)"),
        (infix("+", B, LOOKED_UP), "b + (table: Parameter(4))"),
        (infix("+", B, LINEAR), "b + (a -> fc: Linear(4))"),
        (Apply("relu", (("input", LINEAR),), 1), "a -> fc: Linear(4) -> relu"),
        (Apply("max", (("input", A), ("dim", Literal(1)), ("keepdim", Literal(value=True))), 2),
         "max(a, 1, keepdim = true)"),
    ],
)  # fmt: skip
def test_calls(expression: Expression, expected: str) -> None:
    if isinstance(expression, Apply) and expression.function == "relu" and expression is not RELU:
        assert text(Apply("relu", (("input", Use("y")),), 1), y=LINEAR) == expected
    else:
        assert text(expression) == expected


def test_a_value_that_is_absorbed_is_written_where_it_is_read() -> None:
    assert text(infix("*", Use("y"), C), y=infix("+", A, B)) == "(a + b) * c"
    assert text(Apply("relu", (("input", Use("y")),), 1), y=LINEAR) == "a -> fc: Linear(4) -> relu"


def test_what_may_be_piped() -> None:
    assert head(RELU) == "a"
    assert head(LINEAR) == "a"
    assert head(Apply("add", (("input", A), ("other", A)), 2)) is None
    assert head(Apply("Both", (), 0, True, "m", (A, B))) is None
    assert is_stage(Apply("Both", (), 0, True, "m", (A, B)))
    assert not is_stage(LOOKED_UP)
    assert not is_stage(infix("+", A, B))


def test_names_for_what_has_none() -> None:
    assert word(LINEAR) == "fc"
    assert word(Apply("Linear", (), 0, True, "layers.3", (A,))) == "layers"
    assert word(Apply("Linear", (), 0, True, "3", (A,))) == "linear"
    assert word(RELU) == "relu"
    assert word(Subscript(A, (Literal(0),))) == "part"


def test_what_is_made_of_nothing_is_written_where_it_is_read() -> None:
    given = """\
x: float32[N, S]
numbers: int64[S] = arange(S)
others: int64[S] = arange(S)
column: int64[S, 1] = unsqueeze(numbers, 1)
row: int64[1, S] = unsqueeze(others, 0)
later: bool[S, S] = le(row, column)
return later
"""
    lines = text_of(*statements(given))
    assert not any(line.startswith(("numbers =", "others =")) for line in lines)
