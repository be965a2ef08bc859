"""Places of equal elements may come in any order: the elements decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.networks import graph_of


class Of(nn.Module):
    """A function of the rectified input, half of whose elements are 0."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x.relu())


def last_of_equal(x: torch.Tensor, dim: int = 1) -> torch.Tensor:
    """The places of the largest elements, of equal ones the last."""
    return x.shape[dim] - 1 - x.flip(dim).argmax(dim)


def sorted_from_the_end(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sorted, with equal elements from the end."""
    values, places = x.flip(1).sort(dim=1, stable=True)
    return values, x.shape[1] - 1 - places


TIES: dict[str, tuple[str, Callable[[torch.Tensor], Any]]] = {
    "topk": ("topk(x, 48, dim = 1)", lambda x: x.topk(48, dim=1)),
    "sort": ("sort(x, dim = 1)", sorted_from_the_end),
    "argmax": ("argmax(to(x > 0.0, float32), 1)", lambda x: last_of_equal((x > 0).float())),
    "argmin": ("argmin(x, 1, keepdim = true)", lambda x: last_of_equal(-x).unsqueeze(1)),
    "argmax of all": (
        "argmax(to(x > 0.0, float32))",
        lambda x: last_of_equal((x > 0).float().reshape(1, -1))[0],
    ),
    "max": (
        "max(to(x > 0.0, float32), 1)",
        lambda x: ((x > 0).float().amax(1), last_of_equal((x > 0).float())),
    ),
    "cast": ("to(argmax(to(x > 0.0, float32), 1), int32)", lambda x: last_of_equal((x > 0).float()).int()),
}


def text_of(expression: str, results: int) -> str:
    names = ", ".join("ab"[:results])
    body = f"  x = relu(x)\n  {names} = {expression}\n  output {names}\n"
    return f"model t() {{\n  input x: float32[4, 64]\n{body}}}\n"


@pytest.mark.parametrize("name", TIES)
def test_equal_elements_may_come_in_any_order(name: str) -> None:
    expression, function = TIES[name]
    results = 2 if name in ("topk", "sort", "max") else 1
    found = trtdsl.verify(graph_of(text_of(expression, results)), None, Of(function))
    assert found.equal
    assert (
        f"output `{'ab'[results - 1]}` holds other places than the reference's, of equal elements"
        in found.notes
    )


WRONG: dict[str, tuple[str, int, Callable[[torch.Tensor], Any]]] = {
    "other elements": ("topk(x, 4, dim = 1)", 2, lambda x: (x.topk(4, 1)[0], x.topk(4, 1)[1].flip(1))),
    "smallest for largest": ("argmax(x, 1)", 1, lambda x: x.argmin(1)),
    "another axis": ("argmax(x, 1, keepdim = true)", 1, lambda x: x.argmax(1, keepdim=True) * 0),
    "outside": ("argmax(x, 1)", 1, lambda x: x.argmax(1) + 64),
    "places of something else": ("argmax(x * x - x, 1)", 1, lambda x: x.argmin(1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_places_of_other_elements_differ(name: str) -> None:
    expression, results, function = WRONG[name]
    assert not trtdsl.verify(graph_of(text_of(expression, results)), None, Of(function)).equal
