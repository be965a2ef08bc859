"""What ``torch.vmap`` runs for all rows at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.importers.comparing import Calls, held

Function = Callable[[torch.Tensor], Any]
FUNCTIONS: dict[str, Function] = {
    "rows": lambda x: torch.vmap(lambda row: row.softmax(-1).cumsum(-1) * row.mean())(x),
    "products": lambda x: torch.vmap(torch.dot)(x[:, 0], x[:, -1]),
    "a mask": lambda x: (x @ x.mT).masked_fill(later(torch.arange(x.shape[1])), -1.0),
}


def later(numbers: torch.Tensor) -> torch.Tensor:
    each = torch.vmap(lambda a, b: a < b, in_dims=(None, 0))
    return torch.vmap(each, in_dims=(0, None))(numbers, numbers)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_mapped(name: str) -> None:
    held(Calls(FUNCTIONS[name]), {"x": "float32[N, S, 6]"})


class Ensemble(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(6)
        self.weights = nn.Parameter(torch.randn(3, 6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        return torch.vmap(lambda weight: torch.tanh(x @ weight))(self.weights).mean(0)


def test_members_of_an_ensemble() -> None:
    text = held(Ensemble(), {"x": "float32[N, S, 6]"}).text
    assert "norm: LayerNorm(6)" in text
