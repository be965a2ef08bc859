"""Indices by whole ranges are dimensions of size 1; others stay indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.importers.comparing import Calls, held

X = {"x": "float32[N, S]"}


def ranges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(x.shape[0]), torch.arange(x.shape[1])


def mask(x: torch.Tensor) -> torch.Tensor:
    rows, columns = ranges(x)
    return x[rows[:, None, None, None], columns[None, None, None, :]]


def behind(x: torch.Tensor) -> torch.Tensor:
    rows, columns = ranges(x)
    return x[rows[:, None, None], columns[None, :, None]]


def backwards(x: torch.Tensor) -> torch.Tensor:
    rows, columns = ranges(x)
    return x[rows[:, None, None], columns.flip(0)[None, None]]


def transposed(x: torch.Tensor) -> torch.Tensor:
    rows, columns = ranges(x)
    return x[rows[None, None], columns[:, None, None]]


def shifted(x: torch.Tensor) -> torch.Tensor:
    rows, columns = ranges(x)
    return x[rows[:, None, None], (columns - 1)[None, None]]


def first_rows(x: torch.Tensor) -> torch.Tensor:
    return x[torch.arange(x.shape[0])[:, None]]


@pytest.mark.parametrize("function", [mask, behind, first_rows])
def test_whole_ranges(function: Callable[..., Any]) -> None:
    text = held(Calls(function), X).text
    assert "unsqueeze" in text
    assert "[" not in text.partition("\n\n")[2]


@pytest.mark.parametrize("function", [backwards, transposed, shifted])
def test_others(function: Callable[..., Any]) -> None:
    held(Calls(function), X)
