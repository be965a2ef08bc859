"""What is written to slices is imported without another trace of the program, as torch computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from tests.importers.comparing import Calls, held

Function = Callable[[torch.Tensor], torch.Tensor]


def added_inside(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    y[:, 1:, 2:] += x[:, 1:, :3]
    return y.softmax(-1)


def written_twice(x: torch.Tensor) -> torch.Tensor:
    y = x + 1
    y[:, 0] = x[:, 1]
    y[:, 1:3].mul_(y[:, ::3])
    return y


def read_between(x: torch.Tensor) -> torch.Tensor:
    y = x.exp()
    part = y[:, :, 1:3]
    before = part.sum(-1, keepdim=True)
    part.sub_(1)
    y[:, 2].zero_()
    return torch.cat([part, before, y], -1)


def filled(x: torch.Tensor) -> torch.Tensor:
    y = x + 0
    y[:, -1, 1:] = 7
    y[..., 0].masked_fill_(x[..., 0] > 0, -1)
    return y + y[:, -1:]


def activated(x: torch.Tensor) -> torch.Tensor:
    y = (x * 2).relu_()
    y[:, 1:].sigmoid_().clamp_(max=0.7)
    return y


def a_slice_of_a_view(x: torch.Tensor) -> torch.Tensor:
    y = x + 1
    y.transpose(1, 2)[:, 1:].add_(3)
    return y


def a_flat_view_behind(x: torch.Tensor) -> torch.Tensor:
    y = x + 1
    flat = y.flatten(1)
    y[:, 1:].mul_(2)
    return flat


class OfAnInput(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        y[:, 1:].mul_(2)
        x[:, :1].add_(y[:, 1:2])
        return x + y


@pytest.fixture
def decomposed(monkeypatch: pytest.MonkeyPatch) -> list[ExportedProgram]:
    """The programs that torch traced again."""
    found: list[ExportedProgram] = []
    real = ExportedProgram.run_decompositions

    def run(program: ExportedProgram, *given: Any, **named: Any) -> ExportedProgram:
        found.append(program)
        return real(program, *given, **named)

    monkeypatch.setattr(ExportedProgram, "run_decompositions", run)
    return found


@pytest.mark.parametrize("function", [added_inside, written_twice, read_between, filled, activated])
def test_slices(function: Function, decomposed: list[ExportedProgram]) -> None:
    imported = held(Calls(function), {"x": "float32[N, 4, 5]"})
    assert not decomposed
    assert "_scatter(" in imported.text or "where(" in imported.text or "cat(" in imported.text


@pytest.mark.parametrize("module", [Calls(a_slice_of_a_view), Calls(a_flat_view_behind), OfAnInput()])
def test_others_are_traced_again(module: nn.Module, decomposed: list[ExportedProgram]) -> None:
    held(module, {"x": "float32[N, 4, 5]"})
    assert decomposed


def test_sizes_that_the_text_has_stay(decomposed: list[ExportedProgram]) -> None:
    def padded(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y[:, 1:] += x[:, :-1]
        return y.flatten(1).reshape(x.shape[0], -1, 2)

    text = held(Calls(padded), {"x": "float32[N, S, 4]"}, {"S": "2 .. 6 .. 12"}).text
    assert not decomposed
    assert "-1" in text
