"""Parameters that hold the same numbers are one; others, and modules' weights, stay."""

from __future__ import annotations

import numpy as np

from tests.passes.texts import names
from trtdsl.elaborate import elaborate_text
from trtdsl.passes import merge_common_subexpressions, merge_equal_weights
from trtdsl.weights import bind

LONG = np.arange(2000, dtype=np.float32)
TEXT = """model m() {
  input x: float32[2, 2000]
  output y = (x + exp(a: Parameter(2000))) * exp(b: Parameter(2000)) - (c: Parameter(2000))
}"""


def changed(place: int, value: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    other = LONG.copy()
    other[place] = value
    return other


def parameters(*arrays: np.ndarray[tuple[int], np.dtype[np.float32]]) -> list[str]:
    """The operators left of the text, its parameters bound to these."""
    graph = bind(elaborate_text(TEXT), dict(zip("abc", arrays, strict=True))).graph
    return names(merge_common_subexpressions(merge_equal_weights(graph)))


def test_what_is_made_of_equal_ones_is_equal_too() -> None:
    left = parameters(LONG, LONG.copy(), LONG.copy())
    assert left == ["Parameter", "exp", "add", "mul", "sub"]


def test_every_number_counts() -> None:
    left = parameters(LONG, changed(1000, -1), changed(1000, -1))
    assert left.count("Parameter") == 2
    assert left.count("exp") == 2


def test_bits_are_compared() -> None:
    """NaN is the same as itself, and 0.0 is not -0.0."""
    assert parameters(changed(5, np.nan), changed(5, np.nan), LONG).count("Parameter") == 2
    assert parameters(changed(0, 0.0), changed(0, -0.0), changed(1000, -0.0)).count("Parameter") == 3


def test_types_are_compared() -> None:
    text = """model m() {
      input x: float32[2]
      output y = x + (a: Parameter(2)) + reshape((b: Parameter(2, 1)), (2,))
    }"""
    graph = bind(elaborate_text(text), {"a": LONG[:2], "b": LONG[:2, None]}).graph
    assert merge_equal_weights(graph) is graph


def test_a_module_keeps_its_own() -> None:
    text = """model m() {
      input x: float32[2, 4]
      output y = x -> a: Linear(4, bias = false) -> b: Linear(4, bias = false)
    }"""
    weight = np.ones((4, 4), np.float32)
    graph = bind(elaborate_text(text), {"a.weight": weight, "b.weight": weight.copy()}).graph
    assert merge_equal_weights(graph) is graph
