"""A divisor of integers that is known to be 0 is refused, as PyTorch refuses it when it computes."""

from __future__ import annotations

import pytest

from tests.elaborate.bodies import graph_of, mistakes_of

QUOTIENTS = ["i % 0", "i // 0", "fmod(i, 0)", 'div(i, 0, rounding_mode = "trunc")', "i % tensor([1, 0, 2])"]


@pytest.mark.parametrize("quotient", QUOTIENTS)
def test_integers_are_not_divided_by_zero(quotient: str) -> None:
    assert mistakes_of(f"i = tensor([4, 5, 6])\noutput y = x + 1\noutput z = {quotient}") == [
        "an integer cannot be divided by 0"
    ]


@pytest.mark.parametrize("quotient", ["i / 0", "i % 2", "x % 0", "x // 0", "x[0] % tensor(0)", "i % 0.0"])
def test_floats_are(quotient: str) -> None:
    graph_of(f"i = tensor([4, 5, 6])\noutput y = x + 1\noutput z = {quotient}")
