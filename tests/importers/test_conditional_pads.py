"""A pad that runs only where there is something to pad keeps a part of the sizes; it is told with advice."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.importers.comparing import Calls, held
from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.module import import_module

X = {"x": "float32[N, 3, H, W]"}
DIMS = {"H": "64 .. 224 .. 512", "W": "64 .. 96 .. 512"}
ADVICE = "pad without the `if`"


def by_amount(x: torch.Tensor) -> torch.Tensor:
    pad = (32 - x.shape[2] % 32) % 32
    if pad > 0:
        x = functional.pad(x, (0, 0, 0, pad))
    return x * 2


def by_remainder(x: torch.Tensor) -> torch.Tensor:
    if x.shape[2] % 32 != 0:
        amount = 32 - x.shape[2] % 32
        x = nn.ZeroPad2d((0, 0, 0, amount))(x)
    return x * 2


def in_an_expression(x: torch.Tensor) -> torch.Tensor:
    pad = -x.shape[2] % 32
    x = functional.pad(x, (0, 0, 0, pad)) if pad else x
    return x * 2


def by_return(x: torch.Tensor) -> torch.Tensor:
    pad = -x.shape[2] % 32
    if pad:
        return functional.pad(x, (0, 0, 0, pad))
    return x * 2


def up_to_a_size(x: torch.Tensor) -> torch.Tensor:
    if x.shape[2] < 100:
        x = functional.pad(x, (0, 0, 0, 100 - x.shape[2]))
    return x * 2


def by_sevens(x: torch.Tensor) -> torch.Tensor:
    if x.shape[3] % 7 != 0:
        x = functional.pad(x, (0, 7 - x.shape[3] % 7))
    return x * 2


def with_more_than_a_pad(x: torch.Tensor) -> torch.Tensor:
    if x.shape[2] < 100:
        x = functional.pad(x, (0, 0, 0, 100 - x.shape[2])) + 1
    return x * 2


def always(x: torch.Tensor) -> torch.Tensor:
    return functional.pad(x, (0, -x.shape[3] % 32, 0, max(100 - x.shape[2], 0))) * 2


def about(notes: tuple[Diagnostic, ...]) -> Diagnostic:
    (found,) = [note for note in notes if "`H`" in note.message]
    return found


@pytest.mark.parametrize("function", [by_amount, by_remainder, in_an_expression, by_return, up_to_a_size])
def test_a_narrowed_size_is_told_with_what_keeps_it(function: object) -> None:
    note = about(held(Calls(function), X, DIMS).notes)  # pyright: ignore[reportArgumentType]
    assert note.span and "if " in note.span.text
    (help,) = note.help
    assert ADVICE in help and "`-H % 32`" in help


def test_a_size_that_is_refused_is_told_the_same() -> None:
    with pytest.raises(DiagnosticError) as error:
        import_module(Calls(by_sevens), X)
    (found,) = error.value.diagnostics
    assert found.span and found.span.text == "if x.shape[3] % 7 != 0:"
    assert any(ADVICE in each and "`-W % 32`" in each for each in found.help)


def test_what_is_advised_keeps_the_sizes() -> None:
    text = held(Calls(always), X, DIMS).text
    assert all(f"dim {name} = {range}\n" in text for name, range in DIMS.items())


def test_a_condition_of_more_than_a_pad_is_told_without_it() -> None:
    assert about(held(Calls(with_more_than_a_pad), X, DIMS).notes).help == ()
