"""Compile-time values: Python's meaning, dimensions included, and strings."""

from __future__ import annotations

import pytest

from tests.elaborate.bodies import graph_of, keys, mistakes_of, shape_of, value_of

EXPRESSIONS = [
    "1 + 2 * 3 - 4 // 3 + 7 % 4",
    "2 ** 3 ** 2 // 100",
    "-(-7 // 2)",
    "int(7 / 2)",
    "len([1, 2]) + len((1, 2, 3)) + len(\"ab\")",
    "sum([1, 2, 3]) + min(4, 5) + max([1, 9]) + abs(-2)",
    "floor(2.7) + ceil(2.1) + round(2.6) + int(sqrt(16))",
    "[1, 2, 3][-1] + [4, 5, 6][1:][0] + (7, 8)[1]",
    "1 if 2 > 1 and not 1 >= 2 else 5",
    "3 if \"a\" == \"b\" or 1 != 1 else 4",
    "sum([1, 2] + [3] * 4)",
    "len(list(enumerate([5, 6]))) + list(zip([1, 2], [3, 4]))[1][1]",
    "reversed([1, 2, 3])[0] + len(list(reversed(range(5))))",
    "range(2, 11, 4)[1]",
    "int(1e2 + 0.5)",
]  # fmt: skip


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_numbers_are_pythons(text: str) -> None:
    import math

    names = {"floor": math.floor, "ceil": math.ceil, "sqrt": math.sqrt, "reversed": lambda x: list(x)[::-1]}
    assert value_of(text) == [eval(text, names)]


@pytest.mark.parametrize(
    ("expression", "shape"),
    [
        ("reshape(x, N, 3 * 64)", "float32[N, 192]"),
        ("reshape(x, 4 * N, 48)", "float32[4 * N, 48]"),
        ("x[:, :, :min(N, 8) - 0]", "float32[N, 3, min(N, 8), 8]"),
        ("x[:N - N // 2]", "float32[N - N // 2, 3, 8, 8]"),
        ("x[:max(N, 100) // 100]", "float32[1, 3, 8, 8]"),
        ("x -> flatten(0, 1) -> reshape(N, x.shape[1], -1)", "float32[N, 3, 64]"),
        ("zeros(N % 2 + 1)", "float32[N - 2 * (N // 2) + 1]"),
        ("zeros(N ** 2)", "float32[N * N]"),
        ("zeros(1 if N > 0 else 2)", "float32[1]"),
        ("zeros(1 if N == 65 else 2)", "float32[2]"),
        ("zeros(x.rank, len(x.shape))", "float32[4, 4]"),
        ("zeros(3, dtype = x.dtype)", "float32[3]"),
    ],
)
def test_dimensions(expression: str, shape: str) -> None:
    assert shape_of(expression) == shape


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('"a{1 + 1}"', "a2"),
        ('"{true}.{none}"', "true.none"),
        ('"{[1, 2]}"', "[1, 2]"),
        ('"{x.dtype}"', "float32"),
        ('"{N}"', "N"),
        ('"{{i}}"', "{i}"),
    ],
)
def test_strings(text: str, key: str) -> None:
    assert keys(graph_of(f"p = {text}: Parameter(8)\noutput o = x * p")) == [key]


@pytest.mark.parametrize(
    "loop",
    [
        "a = N + 1\nfor i in range(9) { a = a * a }",
        "a = 10 ** 9\nfor i in range(200) { a = a * a }",
        "a = [1]\nfor i in range(40) { a = a + a }",
        "a = round(5, -10 ** 9)",
    ],
)
def test_values_stay_small(loop: str) -> None:
    assert any(word in mistakes_of(f"{loop}\noutput o = x")[0] for word in ("too l", "at most"))


def test_a_model_stays_finite() -> None:
    loop = "for i in range(1000) { for j in range(1000) { for k in range(1000) { a = k } } }"
    assert "statements" in mistakes_of(f"{loop}\noutput o = x")[0]


def test_lists_nested_too_deeply_are_refused() -> None:
    body = "a = []\nfor i in range(5000) { a = [a] }\noutput o = x if a == a else x"
    assert mistakes_of(body.replace("a == a", "a == [a]")) == ["the model nests too deeply"]


def test_a_failed_assertion_says_its_message() -> None:
    body = 'heads = 7\nassert 64 % heads == 0, "64 does not divide into {heads} heads"\noutput o = x'
    assert mistakes_of(body) == ["64 does not divide into 7 heads"]
    assert mistakes_of("assert N < 1\noutput o = x") == ["assertion failed: `N < 1`"]


def test_only_the_branch_taken_is_looked_at() -> None:
    assert graph_of(
        "y = relu(x) if true else undefined\nif x.rank == 2 { z = undefined }\noutput o = y"
    ).nodes


@pytest.mark.parametrize(
    ("condition", "true"),
    [("N == 1.5", False), ("N != 0.5", True), ("N == 70.0", False), ("N > 0.0", True), ("N == none", False)],
)
def test_dimensions_compare_with_numbers(condition: str, true: bool) -> None:
    assert value_of(f"1 if {condition} else 2".replace("N", "(N)").replace("(N)one", "none")) == [2 - true]


def test_and_and_or_stop_early() -> None:
    assert graph_of("if false and undefined { y = 1 }\nif true or undefined { output o = relu(x) }").nodes
