"""What a region of ``torch.autocast`` or ``torch.no_grad`` computes, its text computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.importers.comparing import held
from trtdsl.importers.module import import_module

Function = Callable[["Layers", torch.Tensor], Any]


class Layers(nn.Module):
    """Layers, called in a region."""

    def __init__(self, function: Function, dtype: torch.dtype, *, enabled: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.dtype, self.enabled = function, dtype, enabled
        self.linear = nn.Linear(6, 6)
        self.conv = nn.Conv1d(4, 4, 3, padding=1)
        self.norm = nn.LayerNorm(6)
        self.batch = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> Any:
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.enabled):
            return self.function(self, x)


def nested(layers: Layers, x: torch.Tensor) -> Any:
    y = layers.linear(x)
    with torch.autocast("cpu", enabled=False):
        z = layers.linear(y.float())
    return y, z


def written(layers: Layers, x: torch.Tensor) -> torch.Tensor:
    y = layers.linear(x) * 2
    y[:, 0] += 1
    return y


FUNCTIONS: dict[str, Function] = {
    "linear": lambda layers, x: layers.linear(x),
    "a convolution and its norm": lambda layers, x: layers.batch(layers.conv(x)).relu(),
    "a norm with weights of float32": lambda layers, x: layers.norm(layers.linear(x)).softmax(-1),
    "a product": lambda _, x: x @ x.mT,
    "einsum": lambda _, x: torch.einsum("bij,bkj->bik", x, x),
    "promotes": lambda layers, x: torch.cat([layers.linear(x), x], 1),
    "adds": lambda layers, x: layers.linear(x) + x,
    "attention": lambda layers, x: functional.scaled_dot_product_attention(layers.linear(x), x, x),
    "nested": nested,
    "written in place": written,
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_is_what_it_computes(name: str, dtype: torch.dtype) -> None:
    # What both round may differ in the last place.
    imported = held(Layers(FUNCTIONS[name], dtype), {"x": "float32[N, 4, 6]"}, tolerance=2 * _step(dtype))
    assert str(dtype).removeprefix("torch.") in imported.text


def _step(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def test_autocast_that_is_off_leaves_the_text_as_it_is() -> None:
    off = Layers(FUNCTIONS["linear"], torch.bfloat16, enabled=False)
    assert "x -> linear: Linear(6)\n" in held(off, {"x": "float32[N, 4, 6]"}).text


class ForAnotherDevice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", dtype=torch.float16):
            return x @ x.mT


def test_autocast_for_another_device_is_noted() -> None:
    notes = import_module(ForAnotherDevice(), {"x": "float32[N, 4, 6]"}).notes
    (note,) = [each for each in notes if "another device" in each.message]
    assert note.severity == "note"
    assert note.span and note.span.text == "return x @ x.mT"


class WithoutGradients(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = self.fc(x)
            y[:, 1:] += 1
        with torch.enable_grad():
            z = self.fc(y)
            z[:, 0].relu_()
        return y + z


def test_what_is_written_in_place_without_gradients() -> None:
    held(WithoutGradients(), {"x": "float32[N, 4, 6]"})
