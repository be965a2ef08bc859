"""`verify` where binding rounds the weights to another dtype."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.networks import TEXT, TOLERANCE, Net, graph_of, state, verify_text

HALF = TEXT.replace("float32", "float16")
LAYERS = "model m() {\n  input x: DTYPE[5, 8]\n  output y = x -> 0: Linear(16) -> relu -> 2: Linear(4)\n}\n"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rounded", ["float16", "bfloat16"])
def test_the_module_gets_what_the_network_gets(rounded: str, dtype: Any) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    text = LAYERS.replace("DTYPE", rounded)
    before = state(copy.deepcopy(module))
    found = verify_text(text, module, weights_dtype="model", dtype=dtype)
    assert found.equal
    assert found.notes == ()
    assert trtdsl.verify(graph_of(text), None, module, tolerance=TOLERANCE, dtype=dtype).equal
    # Not the caller's module, which stays what it was.
    assert all(np.array_equal(before[key], value) for key, value in state(module).items())


@pytest.mark.parametrize(("rounded", "tolerance"), [("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_folding_rounds_once_more(net: Net, rounded: str, tolerance: float) -> None:
    text = TEXT.replace("float32", rounded)
    found = verify_text(text, net, weights_dtype="model", tolerance=None)
    assert found.equal
    assert found.tolerance == tolerance
    assert not verify_text(text, net, weights_dtype="model", tolerance=tolerance / 20).equal
    assert verify_text(TEXT, net, tolerance=None).tolerance == 1e-4


def test_what_differs_is_named_whatever_the_weights_are_rounded_to(net: Net) -> None:
    found = verify_text(HALF.replace("x + y", "x - y"), net, weights_dtype="model", tolerance=None)
    assert found.difference is not None
    assert [suspect.operator for suspect in found.difference.suspects] == ["sub"]


def test_weights_beyond_float16_are_infinite_on_both_sides(net: Net) -> None:
    large = {**state(net), "head.bias": np.full(10, 1e6, np.float32)}
    found = trtdsl.verify(graph_of(HALF), large, net, weights_dtype="model")
    assert found.unknown == (
        "nothing in output `scores` can be compared: all of it is NaN or infinite on both sides",
    )
    assert not found.equal
    assert found.notes == (
        "10 values of weight `head.bias` too large for float16 became infinite",
        "layer `head` is the first that holds NaN or infinity: 20 of 20 numbers, on both sides alike",
        "output `scores` holds 20 of 20 numbers that are NaN or infinite, on both sides alike",
    )


# --- What a narrow type cannot hold -----------------------------------------------------------------------


class Far(nn.Module):
    """A detour over large or small numbers that float32 can make."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor * self.factor / self.factor / self.factor


FAR = "model m() {\n  input x: float16[8]\n  output y = x * FACTOR * FACTOR / FACTOR / FACTOR\n}\n"


def test_a_model_that_overflows_in_float16_is_not_equal() -> None:
    found = trtdsl.verify(graph_of(FAR.replace("FACTOR", "1e3")), None, Far(1e3))
    assert found.difference is not None
    assert found.difference.message == (
        "as TensorRT computes it in float16, output `y` overflows: it is NaN or infinite where it is neither"
        " in float32"
    )
    assert trtdsl.verify(graph_of(FAR.replace("FACTOR", "1e3").replace("16", "32")), None, Far(1e3)).equal


def test_what_vanishes_in_float16_is_noted() -> None:
    found = trtdsl.verify(graph_of(FAR.replace("FACTOR", "2e-4")), None, Far(2e-4))
    (note,) = found.notes
    assert note.startswith("as TensorRT computes it in float16, output `y` is ")
    assert trtdsl.verify(graph_of(FAR.replace("FACTOR", "0.5")), None, Far(0.5)).notes == ()


TURNED = """model m() {
  input x: float32[2, 4]
  output y = x -> fc: Linear(4) -> head: Linear(3)
  weights { "fc.weight" = transpose("fc.weight", 0, 1)  "head.weight" = transpose("head.weight", 0, 1) }
}"""


class Turned(nn.Module):
    """Has its matrices the other way around, one of them square."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.head.weight = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x @ self.fc.weight + self.fc.bias
        return x @ self.head.weight + self.head.bias


@pytest.mark.parametrize("given", [{"randomize": True}, {}, {"weights_dtype": "model"}])
def test_a_section_may_turn_a_weight_of_the_same_key(given: dict[str, Any]) -> None:
    module = Turned()
    weights = state(module) if "weights_dtype" in given else None
    assert trtdsl.verify(graph_of(TURNED), weights, module, **given).equal


JOINED = """model m() {
  input x: float32[2, 4]
  output y = x -> fc: Linear(6)
  weights { "fc.weight" = cat(["a.weight", "b.weight"])  "fc.bias" = cat(["a.bias", "b.bias"]) }
}"""


@pytest.mark.parametrize("given", [{"randomize": True}, {}, {"weights_dtype": "model"}])
@pytest.mark.parametrize("from_checkpoint", [True, False])
def test_a_module_may_have_the_keys_of_the_text(from_checkpoint: bool, given: dict[str, Any]) -> None:
    halves = {"a": nn.Linear(4, 2), "b": nn.Linear(4, 4)}
    weights = state(nn.ModuleDict(halves)) if from_checkpoint else None

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x)

    assert trtdsl.verify(graph_of(JOINED), weights, Joined(), **given).equal
