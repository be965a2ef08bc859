"""Graphs that compute the same, and some that do not."""

from __future__ import annotations

import pytest

from trtdsl.elaborate import elaborate_text
from trtdsl.ir.alike import difference

TEXT = """
model m {
  input x: float32[2, 4]
  a = x -> fc: Linear(4) -> relu
  b = a + x
  output y = b
}
"""


def test_names_and_order_do_not_matter() -> None:
    other = "model n { input z: float32[2, 4] output y = relu((z -> fc: Linear(4))) + z }"
    assert difference(elaborate_text(TEXT), elaborate_text(other)) == ""


@pytest.mark.parametrize(
    ("was", "becomes", "what"),
    [
        ("relu", "gelu", "the output `y` is computed otherwise"),
        ("fc:", "fd:", "the output `y` is computed otherwise"),
        ("a + x", "x + a", "the output `y` is computed otherwise"),
        ("output y", "output w", "the output `y` is called `w`"),
        ("output y = b", "output y = b output z = a", "1 outputs and 2"),
    ],
)
def test_what_differs_is_told(was: str, becomes: str, what: str) -> None:
    assert difference(elaborate_text(TEXT), elaborate_text(TEXT.replace(was, becomes))) == what
