"""Every test draws the same random numbers, whichever tests ran before it, and none is timed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is imported and collected lives as long as the tests, and takes 0.7 s to go through: the garbage
    collector leaves it alone, then and later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """PyTorch's own generator from the beginning, where the test's module has imported torch."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
