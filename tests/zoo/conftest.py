"""Whole models are large: each test's memory is given back before the next begins."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def memory_given_back() -> Iterator[None]:
    """Graphs, networks and modules refer to themselves; the collector alone frees them."""
    yield
    gc.collect()
