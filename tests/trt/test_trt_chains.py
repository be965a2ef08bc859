"""Random networks of several operators build, and equal PyTorch's, in the oldest release's dialect too."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trt.chains import attempt, images, recurrences, tensors

FIXED = settings(
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
)


@pytest.mark.parametrize("make", [tensors, images, recurrences], ids=lambda make: make.__name__)
def test_random_networks(make: Callable[[random.Random], str]) -> None:
    equal = 0

    @FIXED
    @given(st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        nonlocal equal
        equal += attempt(make(rng), rng) == "equal"

    check()
    assert equal > FIXED.max_examples / 4
