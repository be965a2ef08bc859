"""Modules with half precision inside: their weights are moved to one wide type, and what they cast is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from trtdsl.importers.module import import_module
from trtdsl.importers.verifying import compared

HALVES = [torch.float16, torch.bfloat16]


class Halves(nn.Module):
    """Layers in half precision beside one that is not."""

    def __init__(self, function: Callable[[Halves, torch.Tensor], torch.Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.dtype = function, dtype
        self.scale: torch.Tensor
        self.fc = nn.Linear(8, 8, dtype=dtype)
        self.conv = nn.Conv1d(8, 8, 3, padding=1, dtype=dtype)
        self.norm = nn.LayerNorm(8, dtype=dtype)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, dtype=dtype)
        self.rnn = nn.LSTM(8, 8, batch_first=True, dtype=dtype)
        self.words = nn.Embedding(4, 8, dtype=dtype)
        self.register_buffer("scale", torch.rand(8, dtype=dtype) + 0.5)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.function(self, x.to(self.dtype)).float())


def written(halves: Halves, x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[:, 0] = halves.fc(x[:, 1])
    return y


def attention(halves: Halves, x: torch.Tensor) -> torch.Tensor:
    return functional.scaled_dot_product_attention(halves.fc(x), x, x * halves.scale)


FUNCTIONS: dict[str, Callable[[Halves, torch.Tensor], torch.Tensor]] = {
    "a layer": lambda halves, x: halves.fc(x),
    "a layer in the type of its weights": lambda halves, x: halves.fc(x.to(halves.fc.weight.dtype)),
    "a norm": lambda halves, x: halves.fc(halves.norm(x)),
    "a convolution": lambda halves, x: halves.conv(x.mT).mT,
    "attention": attention,
    "attention's layer": lambda halves, x: halves.attention(x, x, x)[0],
    "a recurrent layer": lambda halves, x: halves.rnn(x)[0],
    "a buffer": lambda halves, x: halves.fc(x * halves.scale) @ torch.diag(halves.scale),
    "a table": lambda halves, x: x + halves.fc(halves.words((x[..., 0] > 0).long())),
    "written in place": written,
}


def verdicts(module: nn.Module) -> list[tuple[str, bool]]:
    """By type whether the module agrees with its import."""
    imported = import_module(module.eval(), {"x": "float32[N, 6, 8]"})
    return [(each.dtype, each.verification.equal) for each in compared(imported, module)]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_layers_of_half_precision_are_compared(name: str, dtype: torch.dtype) -> None:
    assert verdicts(Halves(FUNCTIONS[name], dtype)) == [("float32", True), ("float64", True)]


class Deep(nn.Module):
    """Many layers in half precision, by one way or another, none of which makes errors small again."""

    def __init__(self, way: str, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way, self.dtype = way, dtype
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(16))
        self.head = nn.Linear(32, 4)
        if way == "moved":
            self.layers.to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.way == "autocast"):
            x = x if self.way == "autocast" else x.to(self.dtype)
            for layer in self.layers:
                if self.way == "cast":
                    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
                    x = functional.linear(x, weight.to(self.dtype), bias.to(self.dtype))
                else:
                    x = layer(x)
                x = x.relu()
        return self.head(x.float())


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("way", ["moved", "cast", "autocast"])
def test_roundings_of_many_layers_are_no_difference(way: str, dtype: torch.dtype) -> None:
    module = Deep(way, dtype)
    imported = import_module(module, {"x": "float32[N, 32]"})
    assert all(each.verification.equal for each in compared(imported, module))


def test_a_layer_of_half_precision_that_is_another_one_is_found() -> None:
    module = Halves(FUNCTIONS["a norm"], torch.float16)
    imported = import_module(module, {"x": "float32[N, 6, 8]"})

    def swapped(halves: Halves, x: torch.Tensor) -> Any:
        return halves.norm(halves.fc(x))

    module.function = swapped
    assert not any(each.verification.equal for each in compared(imported, module))


def test_what_a_module_itself_refuses_is_told() -> None:
    """Sizes that do not fit are not made to fit by a cast."""
    module = Halves(FUNCTIONS["a layer"], torch.float16)
    imported = import_module(module, {"x": "float32[N, 6, 8]"})
    module.function = lambda halves, x: halves.fc(x.mT)
    with pytest.raises(Exception, match="mat1 and mat2"):
        list(compared(imported, module))
