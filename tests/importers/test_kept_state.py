"""What a module keeps between calls, and an engine does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import trtdsl
from trtdsl import DiagnosticError


class Counter(nn.Module):
    """Adds what it has counted, and counts on."""

    seen: torch.Tensor

    def __init__(self, persistent: bool, counts: bool) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(4), persistent=persistent)
        self.fc = nn.Linear(4, 4)
        self.counts = counts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x) + self.seen
        if self.counts:
            self.seen[1:].add_(1.0)
        return y


def warnings(module: nn.Module) -> list[str]:
    imported = trtdsl.import_module(module, {"x": "float32[N, 4]"}, {"N": "1 .. 2 .. 8"})
    return [each.message for each in imported.notes if each.severity == "warning"]


def test_a_buffer_that_is_written_is_told() -> None:
    (message,) = warnings(Counter(persistent=True, counts=True))
    assert message.startswith("the module writes to its buffer `seen` when it is called")


def test_a_buffer_without_a_key_too() -> None:
    assert len(warnings(Counter(persistent=False, counts=True))) == 1


def test_a_buffer_that_is_only_read_is_not() -> None:
    assert warnings(Counter(persistent=True, counts=False)) == []


class Anchored(nn.Module):
    """Keeps a grid for the last size that it was called with, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.shape: object = None
        self.grid: torch.Tensor | None = None
        self.sizes: list[object] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.shape != x.shape[2]:
            self.grid = torch.arange(x.shape[2], dtype=x.dtype)[:, None]
            self.shape = x.shape[2]
            self.sizes.append(x.shape[2])
        assert self.grid is not None
        return self.norm(self.conv(x)) + self.grid


def twice(module: nn.Module, given: Any, made: torch.Tensor) -> torch.Tensor:
    return made * 2


def test_a_module_is_left_as_it_was_found() -> None:
    module = Anchored()
    module.norm.eval()
    handle = module.conv.register_forward_hook(twice)
    parts = list(module.modules())
    before = [dict(vars(each)) for each in parts]
    modes = [each.training for each in parts]
    inputs, dims = {"x": "float32[N, 3, H, W]"}, {"H": "8 .. 16 .. 32", "W": "8 .. 16 .. 32"}
    first = trtdsl.import_module(module, inputs, dims)
    assert [dict(vars(each)) for each in parts] == before
    assert [each.training for each in parts] == modes == [True, True, False]
    assert module.sizes == []
    assert handle.id in module.conv._forward_hooks  # pyright: ignore[reportPrivateUsage]
    assert trtdsl.import_module(module, inputs, dims).text == first.text


def test_a_module_that_fails_is_left_as_it_was_found() -> None:
    class Fails(Anchored):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            super().forward(x)
            raise ValueError("never")

    module = Fails()
    statistics = module.norm.running_mean
    assert statistics is not None
    before = statistics.clone()
    with pytest.raises(DiagnosticError, match="never"):
        trtdsl.import_module(module, {"x": "float32[N, 3, 8, 8]"})
    assert (module.shape, module.grid, module.sizes) == (None, None, [])
    assert torch.equal(statistics, before)
    assert module.training
