"""Integers that nobody gave are random, which a network may not bear: then the message says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.networks import graph_of, verify_text
from trtdsl.diagnostics import DiagnosticError
from trtdsl.verification.inputs import choose_inputs

TEXT = """model m() {
  input x: float32[2, 5, 8]
  input mask: int64[2, 5]
  q = x -> q: Linear(8)
  w = q @ transpose(q, 1, 2)
  w = (w + (1.0 - to(mask, float32))[:, none, :] * -1e38) * 8.0
  output y = softmax(w, -1) @ q -> o: Linear(8)
}
"""

ADVICE = (
    "input `mask` is int64[2, 5] and made up, random integers from 0 to 3: if it is a mask, a length or an"
    " index, that may be what differs; `--input mask=FILE.npy` gives it"
)


class Masked(nn.Module):
    """Attention with a mask of ones and zeros; a two makes infinity of it."""

    def __init__(self, factor: float = 8.0) -> None:
        super().__init__()
        self.q = nn.Linear(8, 8)
        self.o = nn.Linear(8, 8)
        self.factor = factor

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q = self.q(x)
        w = q @ q.transpose(1, 2)
        w = (w + (1 - mask.float())[:, None] * -1e38) * self.factor
        return self.o(w.softmax(-1) @ q)


def masked(**options: Any) -> Masked:
    torch.manual_seed(0)
    return Masked(**options)


MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])


def test_a_made_up_mask_that_leaves_nothing_to_compare_is_named() -> None:
    found = verify_text(TEXT, masked(), tolerance=None)
    assert found.unknown == (
        "nothing in output `y` can be compared: all of it is NaN or infinite on both sides",
    )
    assert ADVICE in found.notes


def test_a_made_up_mask_may_be_at_fault_where_infinity_is_on_one_side() -> None:
    found = verify_text(TEXT, masked(factor=1.0), tolerance=None)
    assert found.difference is not None
    assert "or the made-up input is at fault" in found.difference.message
    assert ADVICE in found.notes


def test_a_given_mask_is_not_at_fault() -> None:
    assert verify_text(TEXT, masked(), tolerance=None, inputs={"mask": MASK}).equal
    wrong = verify_text(TEXT.replace("* 8.0", "* 4.0"), masked(), tolerance=None, inputs={"mask": MASK})
    assert wrong.difference is not None
    assert wrong.notes == ()
    assert "made-up" not in wrong.difference.message


def test_what_agrees_needs_no_advice() -> None:
    graph = graph_of("model m() {\n  input ids: int64[3]\n  output y = ids + ids\n}\n")

    class Twice(nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return ids + ids

    assert trtdsl.verify(graph, None, Twice()).notes == ()


def test_a_module_that_cannot_take_them_is_told_how_to_be_given_others() -> None:
    class Picking(nn.Module):
        def forward(self, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
            return x[place * 100]

    graph = graph_of("model m() {\n  input x: float32[9]\n  input place: int64[3]\n  output y = x[:3]\n}\n")
    with pytest.raises(DiagnosticError, match="cannot be run on") as caught:
        trtdsl.verify(graph, None, Picking())
    (diagnostic,) = caught.value.diagnostics
    assert any("`--input place=FILE.npy` gives it" in line for line in diagnostic.help)


def test_made_up_pixels_are_those_of_images() -> None:
    graph = graph_of("model m() {\n  input image: uint8[2, 64]\n  output y = image / 255\n}\n")
    image = choose_inputs(graph, {}, "opt", seed=0)["image"]
    assert image.dtype == np.uint8
    assert image.max() > 200
