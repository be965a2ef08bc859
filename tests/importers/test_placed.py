"""Weights that a module has and that other operations read too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.importers.comparing import held

X = {"x": "float32[N, 4, 8]"}


class Uses(nn.Module):
    """A layer, and something else that is made of its weights."""

    def __init__(self, layer: nn.Module, other: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.other = layer, other

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x), self.other(self.layer, x)


OTHERS: dict[str, tuple[nn.Module, Any, str]] = {
    "without its bias": (
        nn.Linear(8, 8),
        lambda layer, x: functional.linear(x, layer.weight),
        "linear(x, (layer.weight: Parameter(8, 8)))",
    ),
    "with other sides": (
        nn.Conv1d(4, 6, 3, padding=1),
        lambda layer, x: functional.conv1d(x, layer.weight, layer.bias, stride=2),
        "conv1d(x, (layer.weight: Parameter(6, 4, 3)), (layer.bias: Parameter(6)), stride = 2)",
    ),
    "backwards": (
        nn.Conv1d(4, 4, 3, bias=False),
        lambda layer, x: functional.conv_transpose1d(x, layer.weight),
        "conv_transpose1d(x, (layer.weight: Parameter(4, 4, 3)))",
    ),
    "with another eps": (
        nn.LayerNorm(8, eps=1e-3),
        lambda layer, x: functional.layer_norm(x, (8,), layer.weight, layer.bias),
        "layer_norm(x, (8,), (layer.weight: Parameter(8)), (layer.bias: Parameter(8)))",
    ),
    "of statistics alone": (
        nn.BatchNorm1d(4),
        lambda layer, x: functional.batch_norm(x, layer.running_mean, layer.running_var),
        "batch_norm(x, (layer.running_mean: Parameter(4)), (layer.running_var: Parameter(4)))",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_computes_otherwise_is_given_the_weights(name: str) -> None:
    layer, other, written = OTHERS[name]
    assert written in held(Uses(layer, other), X).text


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, ids: torch.Tensor) -> Any:
        # The function comes first, and the module keeps the label.
        first = functional.linear(torch.ones(1, 8), self.words.weight)
        x = self.words(ids)
        y, weights = self.attention(x, x, x, average_attn_weights=False)
        z = self.attention(y, x, x, need_weights=False)[0]
        return first, functional.linear(z, self.words.weight), weights


def test_a_module_keeps_its_label() -> None:
    text = held(Tied(), {"ids": "int64[N, S] in 0 .. 9"}).text
    assert "ids -> words: Embedding(10, 8)" in text
    assert text.count("words.weight: Parameter(10, 8)") == 1
    assert "in_proj_weight = (attention.in_proj_weight: Parameter(24, 8))" in text
    assert "MultiheadAttention = " not in text
