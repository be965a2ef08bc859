"""A module that computes in float64 is refused with one complaint, which says what makes it float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.importers.comparing import Calls, held
from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError
from trtdsl.importers.module import import_exported, import_module

X = {"x": "float32[N, 6]"}


def complaint(module: nn.Module) -> Diagnostic:
    with pytest.raises(DiagnosticError) as error:
        import_module(module, X)
    (found,) = error.value.diagnostics
    assert found.message == "the module computes in float64, which TensorRT lacks"
    return found


class Feed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, 6)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.fc2(self.fc1(x).relu()))


class Keeps(nn.Module):
    """A tensor of float64, kept in one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.table: torch.Tensor
        table = torch.linspace(0, 1, 6, dtype=torch.float64)
        if way == "beside":
            self.table = table
        else:
            self.register_buffer("table", table, persistent=way == "in the state dict")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.table).float()


def test_a_module_of_doubles_is_told_to_be_made_float32() -> None:
    found = complaint(Feed().double())
    assert found.help == (
        "`module.float()` makes the module's parameters and buffers float32: `fc1.weight`, `fc1.bias`,"
        " `fc2.weight` and 3 more",
    )
    assert found.span and found.span.text == "return self.norm(self.fc2(self.fc1(x).relu()))"


@pytest.mark.parametrize(
    ("way", "help"),
    [
        ("in the state dict", "`module.float()` makes the module's parameters and buffers float32: `table`"),
        ("not in the state dict", "`module.float()` makes the module's parameters and buffers float32"),
        ("beside", "make the tensors that the module keeps beside its buffers float32, with `.float()`"),
    ],
)
def test_a_tensor_of_doubles_is_told_to_be_made_float32(way: str, help: str) -> None:
    assert complaint(Keeps(way)).help == (help,)
    if way != "beside":
        held(Keeps(way).float(), X)


CASTS: dict[str, Callable[[torch.Tensor], Any]] = {
    "double": lambda x: x.double().cumsum(1).float(),
    "to": lambda x: x.to(torch.float64).exp().to(x.dtype),
    "made": lambda x: (x + torch.arange(x.shape[0], dtype=torch.float64)[:, None]).float(),
}


@pytest.mark.parametrize("name", CASTS)
def test_a_cast_to_double_is_told_with_its_line(name: str) -> None:
    found = complaint(Calls(CASTS[name]))
    assert found.help == ("write `.float()` for `.double()`, and `torch.float32` for `torch.float64`",)
    assert found.span and found.span.text.startswith(f'"{name}": ')


def test_each_line_that_begins_with_doubles_is_shown() -> None:
    def twice(x: torch.Tensor) -> torch.Tensor:
        y = x.double().sum()
        z = x.double().mean()
        return (y + z).float()

    found = complaint(Calls(twice))
    assert found.span and found.span.text == "y = x.double().sum()"
    assert [each.span.text for each in found.origins if each.span] == ["z = x.double().mean()"]


def test_doubles_that_no_output_depends_on_are_no_matter() -> None:
    held(Calls(lambda x: (x.double() * 2, x * 3)[1]), X)


def test_an_example_and_a_program_of_doubles_are_told_what_to_give() -> None:
    module, x = Feed().double(), torch.zeros(2, 6, dtype=torch.float64)
    with pytest.raises(UsageError) as usage:
        import_module(module, {"x": x})
    assert usage.value.diagnostics[0].help == ("give `example.float()`, and the module as `module.float()`",)
    with pytest.raises(DiagnosticError) as error:
        import_exported(torch.export.export(module, (x,)))
    (help,) = error.value.diagnostics[0].help
    assert help.startswith("`module.float()` makes ")
