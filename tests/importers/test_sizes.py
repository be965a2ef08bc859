"""Numbers of sizes, and sizes that a module takes, at other sizes than the example's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.importers.comparing import Calls, held
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.module import import_module

Function = Callable[[torch.Tensor], Any]
X = {"x": "float32[N, S, 6]"}

NUMBERS: dict[str, Function] = {
    "a fraction": lambda x: x * (x.shape[0] / x.shape[1]),
    "a root": lambda x: x / x.shape[1] ** 0.5,
    "its inverse": lambda x: x * x.shape[1] ** -0.5,
    "one over": lambda x: x * (1.0 / x.shape[1]),
    "mixed": lambda x: x * (0.5 * x.shape[1] + 1.5 / x.shape[0] - 2),
    "rounded up": lambda x: x[:, : math.ceil(x.shape[1] / 2)],
    "a remainder": lambda x: functional.pad(x, (0, 0, 0, -x.shape[1] % 4)),
    "filled": lambda x: x + torch.full((1,), 1 / x.shape[1]),
    "a tensor": lambda x: x / torch.tensor(x.shape[1]),
    "a tensor of several": lambda x: x * torch.tensor([x.shape[1] / 2, x.shape[0], 1, 2, 3, 4.0]),
    "a new tensor": lambda x: x + x.new_tensor([x.shape[1]]),
    "a line": lambda x: x + torch.linspace(-1, 1, x.shape[1])[None, :, None],
    "a line to a size": lambda x: x + torch.linspace(0, x.shape[1] - 1, x.shape[1])[:, None],
    "backwards": lambda x: x[:, torch.arange(x.shape[1] - 1, -1, -1)],
    "backwards by a float": lambda x: x * torch.arange(x.shape[1], -x.shape[1], -1.0)[: x.shape[1], None],
    "parts": lambda x: x.split([1, x.shape[1] - 1], 1)[1],
    "windows": lambda x: x.unfold(1, 2, 1),
    "the length before": lambda x: functional.interpolate(
        functional.max_pool1d(x.mT, 2), size=x.shape[1], mode="linear"
    ),
    "half": lambda x: functional.interpolate(x.mT, scale_factor=0.5),
    "one and a half": lambda x: functional.interpolate(x.mT, scale_factor=1.5, mode="linear"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_of_sizes(name: str) -> None:
    imported = held(Calls(NUMBERS[name]), X, {"S": "2 .. 8 .. 32"})
    assert "S" in {each.name for each in imported.dims}


POOLS: dict[str, Function] = {
    "inside": lambda x: functional.max_pool2d(x, 3, 2, ceil_mode=True),
    "twice": lambda x: functional.max_pool2d(
        functional.max_pool2d(x, 3, 2, ceil_mode=True), 2, ceil_mode=True
    ),
    "a last window left out": lambda x: functional.max_pool2d(x, 2, 3, padding=1, ceil_mode=True),
    "unequal": lambda x: torch.max_pool2d(x, (2, 3), (3, 1), (1, 0), 1, True),
    "an average": lambda x: functional.avg_pool2d(x, 3, 2, 1, True, False),
    "of one row": lambda x: functional.avg_pool1d(x.flatten(1, 2), 3, 2, ceil_mode=True),
    "of a volume": lambda x: functional.max_pool3d(x, 2, ceil_mode=True),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("width", [10, 11, 12])
def test_a_pool_that_rounds_up_takes_any_size(name: str, width: int) -> None:
    dims = {"H": "8 .. 16 .. 64", "W": f"{width} .. 17 .. 64"}
    imported = held(Calls(POOLS[name]), {"x": "float32[N, 4, H, W]"}, dims)
    assert [f"{each.name} {each.minimum} {each.step}" for each in imported.dims if each.name != "N"] == [
        "H 8 1",
        f"W {width} 1",
    ]


@pytest.mark.parametrize(
    ("function", "range"),
    [
        (lambda x: x[:, 1:] * 2, "3 .. 8 .. 32"),
        (lambda x: functional.max_pool1d(x.mT, 4), "8 .. 8 .. 32"),
        (lambda x: x[:, : min(x.shape[1], 4)], "5 .. 8 .. 32"),
    ],
)
def test_the_range_is_where_the_module_does_the_same(function: Function, range: str) -> None:
    imported = held(Calls(function), X, {"S": "1 .. 8 .. 32"})
    assert f"dim S = {range}\n" in imported.text
    assert any(note.severity == "note" and "`S`" in note.message for note in imported.notes)


class Truncates(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : int(x.shape[1] * 0.75)]


class TakesRoot(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / math.sqrt(x.shape[1])


@pytest.mark.parametrize(("module", "what"), [(Truncates(), "`int`"), (TakesRoot(), "`math.sqrt`")])
def test_a_size_that_python_makes_a_number_is_refused_with_the_line(module: nn.Module, what: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        import_module(module, X)
    (found,) = error.value.diagnostics
    assert "`S`" in found.message
    assert found.span and found.span.text.startswith("return x")
    assert any(f"{what} makes a number of a size" in each for each in found.help)


@pytest.mark.parametrize("size", ["N - 1", "N + 1", "2 * N", "2 * N - 1"])
def test_an_input_s_size_may_be_calculated(size: str) -> None:
    held(Calls(lambda x: x * 2), {"x": f"float32[{size}, 4]"}, {"N": "2 .. 4 .. 8"})
