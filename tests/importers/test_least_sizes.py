"""Ranges begin where the elements exist that a module takes by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.importers.comparing import SIZES, Calls, held
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.module import import_exported, import_module

Function = Callable[[torch.Tensor], Any]
X = {"x": "float32[N, S, 8]"}


def with_zeros(x: torch.Tensor, index: Any) -> torch.Tensor:
    x = x.clone()
    x[:, index] = 0
    return x


TAKEN: dict[str, tuple[Function, str]] = {
    "an element": (lambda x: x[:, 3] * 2, "4"),
    "the second": (lambda x: x[:, 1] * 2, "2"),
    "the last but one": (lambda x: x[:, -2] * 2, "2"),
    "the last": (lambda x: x[:, -1] * 2, "1"),
    "one from either end": (lambda x: x[:, 3] + x[:, -5], "5"),
    "the last but one of each row": (lambda x: x[torch.arange(x.shape[0]), -2], "2"),
    "several": (lambda x: x[:, [0, 4]], "5"),
    "several from the end": (lambda x: x[:, [0, -6]], "6"),
    "several of the second of two": (lambda x: x[:, None][:, :, [2, 1]], "3"),
    "gathered": (lambda x: x.gather(1, torch.tensor([[[3]]]).expand(x.shape[0], 1, 8)), "4"),
    "a part": (lambda x: x.narrow(1, 0, 2), "2"),
    "the largest": (lambda x: x.topk(2, 1)[0], "2"),
    "reflected": (lambda x: functional.pad(x.mT, (1, 1), mode="reflect"), "2"),
    "of a half": (lambda x: functional.avg_pool1d(x.mT, 2)[:, :, [5]], "12"),
    "of quarters": (lambda x: x.unflatten(1, (-1, 4)).sum(2)[:, [2]], "12"),
    "written": (lambda x: with_zeros(x, -2), "2"),
    "several written": (lambda x: with_zeros(x, [1, 4]), "5"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_range_begins_where_what_is_taken_exists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, least = TAKEN[name]
    monkeypatch.setitem(SIZES, "S", int(least))
    imported = held(Calls(function), X, {"S": "1 .. 16 .. 64"})
    step = ", step = 4" if name == "of quarters" else ""
    assert f"dim S = {least} .. 16 .. 64{step}\n" in imported.text
    notes = [note for note in imported.notes if "`S`" in note.message]
    assert len(notes) == (least != "1")
    assert all(note.span and note.span.source.name.endswith("test_least_sizes.py") for note in notes)


class Picks(nn.Module):
    """Rows by the numbers in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: torch.Tensor
        self.register_buffer("numbers", torch.tensor([1, 5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.index_select(1, self.numbers)


def test_the_numbers_may_stand_in_a_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "S", 6)
    assert "dim S = 6 .. 128 .. 512\n" in held(Picks(), X).text


def test_the_range_of_an_exported_program_begins_there_too() -> None:
    shapes = ({0: torch.export.Dim("N_"), 1: torch.export.Dim("S_")},)
    program = torch.export.export(Picks(), (torch.zeros(2, 9, 8),), dynamic_shapes=shapes)
    assert "dim S = 6 .. 128 .. 512\n" in import_exported(program).text


def test_what_no_size_in_range_has_is_refused_with_the_line() -> None:
    with pytest.raises(
        DiagnosticError, match=r"a dimension of at least 601, but `S` is at most 512"
    ) as error:
        import_module(Calls(lambda x: x[:, [0, 600]]), X)
    (found,) = error.value.diagnostics
    assert found.span and "600" in found.span.text
