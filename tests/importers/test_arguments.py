"""Inputs that ``forward`` takes by no name of its own: their sizes are as dynamic as those of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.importers.module import import_module
from trtdsl.reference import run, to_numpy


class Joins(nn.Module):
    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return torch.cat(tensors, 1)


class JoinsToOne(nn.Module):
    def forward(self, x: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, *more], 1)


class TakesNames(nn.Module):
    def forward(self, **tensors: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensors["x"], 2 * tensors["y"]], 1)


class TakesMoreNames(nn.Module):
    def forward(self, x: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, 2 * tensors["y"]], 1)


def passed_on(method: Callable[..., Any]) -> Callable[..., Any]:
    def called(*positional: Any, **named: Any) -> Any:
        return method(*positional, **named)

    return called


class Decorated(nn.Module):
    @passed_on
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, 2 * y], 1)


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = torch.jit.script(nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x)


INPUTS = {"x": "float32[N, S, 4]", "y": "float32[N, S, 4]"}


@pytest.mark.parametrize("kind", [Joins, JoinsToOne, TakesNames, TakesMoreNames, Decorated])
def test_sizes_of_arguments_without_a_name_stay_dynamic(kind: type[nn.Module]) -> None:
    module = kind()
    imported = import_module(module, INPUTS, {"N": "1 .. 3 .. 8", "S": "1 .. 6 .. 16"})
    assert "dim N = 1 .. 3 .. 8\n  dim S = 1 .. 6 .. 16\n" in imported.text
    assert "forward" not in vars(module) and imported.graph
    x, y = torch.randn(2, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    given = {"x": x, "y": y}
    by_name = kind in (TakesNames, TakesMoreNames)
    (found,) = run(imported.graph, {name: to_numpy(each) for name, each in given.items()}).values()
    torch.testing.assert_close(torch.as_tensor(found), module(**given) if by_name else module(x, y))


@pytest.mark.parametrize("kind", [JoinsToOne, Decorated])
def test_arguments_without_a_name_may_have_any(kind: type[nn.Module]) -> None:
    text = import_module(kind(), {"a": INPUTS["x"], "b": INPUTS["y"]}, {"N": "1 .. 3 .. 8"}).text
    assert "dim N = 1 .. 3 .. 8\n" in text
    assert "input a: float32[N, S, 4]\n  input b: float32[N, S, 4]" in text


def test_names_that_stand_in_another_place_are_refused() -> None:
    with pytest.raises(UsageError, match="takes `x`, and no `y`"):
        import_module(JoinsToOne(), {"y": INPUTS["y"], "x": INPUTS["x"]})


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_refused() -> None:
    inputs = {"x": "float32[N, 4]"}
    made: list[Any] = [torch.jit.script(nn.ReLU()), torch.jit.trace(nn.ReLU(), torch.ones(2, 4))]
    for module in made:
        with pytest.raises(DiagnosticError, match="this is TorchScript"):
            import_module(module, inputs)
    with pytest.raises(DiagnosticError, match="`act` is TorchScript"):
        import_module(Scripted(), inputs)


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_sizes_stay_dynamic_in_wrapped_modules(wrap: Callable[[nn.Module], nn.Module]) -> None:
    text = import_module(wrap(nn.Sequential(nn.Linear(4, 5))), {"x": "float32[N, 4]"}).text
    assert "input x: float32[N, 4]" in text
