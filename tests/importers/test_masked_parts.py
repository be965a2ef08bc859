"""What is written by a mask is a choice between two tensors; what is read by one alone is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.importers.comparing import Calls, held
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.module import import_module

Function = Callable[[torch.Tensor], torch.Tensor]
X = {"x": "float32[N, S, 6]"}


def copied(x: torch.Tensor) -> torch.Tensor:
    x, y = x.clone(), x * 2
    mask = x > 0
    x[mask] = y[mask]
    return x


def added(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[x > 0] += 1
    return x


def of_rows(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    mask = x[..., 0] > 0
    x[mask] = x[mask] * torch.arange(6.0) + 1
    return x


def both_ways(x: torch.Tensor) -> torch.Tensor:
    y, mask = torch.zeros_like(x), x[0] > 0
    y[:, mask] = x[:, mask].sigmoid()
    y[:, ~mask] = -x[:, ~mask]
    return y


def read_before(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    mask = x > 0
    part = x[mask]
    x.mul_(3)
    x[mask] = part.neg_()
    return x


def of_another_rank(x: torch.Tensor) -> torch.Tensor:
    mask = x[..., 0] > 0
    return x[..., 1].masked_scatter(mask, x[mask])


def written_between(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    part = x[x > 0]
    x.neg_()
    x[x < 0] = part + 1
    return x


WRITES: dict[str, Function] = {
    "copied": copied,
    "added": added,
    "of rows": of_rows,
    "both ways": both_ways,
    "read before": read_before,
    "scattered": lambda x: x.masked_scatter(x > 0, x.flip(1) * 2),
    "scattered by rows": lambda x: x.masked_scatter(x[..., :1] > 0, torch.cat([x, x])),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_a_mask_writes(name: str) -> None:
    text = held(Calls(WRITES[name]), X, {"S": "2 .. 8 .. 64"}).text
    assert "where(" in text


@pytest.mark.parametrize(
    "function", [lambda x: x[x > 0], lambda x: x[x > 0].mean(), written_between, of_another_rank]
)
def test_what_a_mask_reads_alone(function: Function) -> None:
    with pytest.raises(DiagnosticError, match="how many elements a mask picks") as error:
        import_module(Calls(function), X)
    assert "torch.where(mask, x, 0)" in error.value.diagnostics[0].help[0]
