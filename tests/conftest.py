"""Every test draws the same random numbers, whichever tests ran before it."""

from __future__ import annotations

import sys
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def seeded() -> None:
    """PyTorch's own generator from the beginning, where the test's module has imported torch."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
