"""Whole models are large: each test's memory is given back before the next begins."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from trtdsl.trt.memory import return_large_blocks

return_large_blocks()  # or the C library keeps what a model's weights took, and a whole zoo takes 8 GB


@pytest.fixture(scope="package", autouse=True)
def earlier_left_alone() -> None:
    """What other tests keep takes 0.3 s to go through; the garbage collector leaves it alone too."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def memory_given_back() -> Iterator[None]:
    """Graphs, networks and modules refer to themselves; the collector alone frees them."""
    yield
    gc.collect()
