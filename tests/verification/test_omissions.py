"""An operator that is left out, or one too many: what reads too early is not said to be wrong itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.verification.networks import TEXT, Net, verify_text

LEFT_OUT = {
    # What is changed, into what, who reads something else, and what PyTorch does first.
    "relu before a layer": ("gelu -> fc2", "fc2", "fc2", "gelu"),
    "norm": ("norm: LayerNorm(16) -> ", "", "fc1", "layer_norm"),
    "shortcut": ("  x = x + y\n", "  x = y\n", "head", "add"),
    "shortcut's other side": ("  x = x + y\n", "", "head", "add"),
    "relu before a function": ("cat([relu(a), b], 1)", "cat([a, b], 1)", "cat", "relu"),
    "BatchNorm before a function": ("-> bn1: BatchNorm2d ->", "->", "relu", "batch_norm"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_named_and_the_reader_acquitted(net: Net, name: str) -> None:
    before, after, reader, missing = LEFT_OUT[name]
    assert TEXT.count(before) == 1
    difference = verify_text(TEXT.replace(before, after), net).difference
    assert difference is not None
    (suspect,) = difference.suspects
    assert reader in (suspect.label, suspect.operator)
    assert "from operands that agree" not in difference.message
    assert "reads something else than in PyTorch, which is right in itself" in difference.message
    assert f"PyTorch computes `{missing}` of that first, which is missing here" in difference.message


def test_operands_in_another_order_are_not_an_omission(net: Net) -> None:
    difference = verify_text(TEXT.replace("cat([relu(a), b], 1)", "cat([b, relu(a)], 1)"), net).difference
    assert difference is not None
    assert difference.message.startswith("`cat` at net.trtnet:")
    assert difference.message.endswith("its operands stand in another order or place")


def test_an_operator_too_many(net: Net) -> None:
    text = TEXT.replace("-> fc1: Linear(16) -> gelu", "-> sigmoid -> fc1: Linear(16) -> gelu")
    difference = verify_text(text, net).difference
    assert difference is not None
    assert [suspect.operator for suspect in difference.suspects] == ["sigmoid"]


def test_another_operator_is_still_wrong_itself(net: Net) -> None:
    difference = verify_text(TEXT.replace("-> gelu ->", "-> sigmoid ->"), net).difference
    assert difference is not None
    assert difference.message.startswith("`sigmoid` at net.trtnet:")
    assert difference.message.endswith("computes something else, from operands that agree")


class Twice(nn.Module):
    """A layer that is called twice, with an activation in between that works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(F.relu(self.fc(x), inplace=True))


@pytest.mark.parametrize(("text", "equal"), [("-> relu -> ", True), ("-> ", False)])
def test_the_call_that_reads_too_early_is_found(text: str, equal: bool) -> None:
    torch.manual_seed(0)
    text = (
        f"model m() {{\n  input x: float32[4, 8]\n  output y = x -> fc: Linear(8) {text}fc: Linear(8)\n}}\n"
    )
    found = verify_text(text, Twice())
    assert found.equal == equal
    if not equal:
        assert found.difference is not None
        assert "PyTorch computes `relu` of that first" in found.difference.message
