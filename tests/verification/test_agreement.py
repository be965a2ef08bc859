"""`verify` on networks that are right: layer by layer, call by call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.networks import TEXT, Net, graph_of, make_net, verify_text


def test_a_right_network_is_equal_layer_by_layer(net: Net) -> None:
    found = verify_text(TEXT, net)
    assert found.equal
    assert found.sizes == {"N": 2}
    labels = ["conv1+bn1", "conv2", "conv3", "conv4", "norm", "fc1", "fc2", "head", "scores"]
    assert [row.name for row in found.rows] == labels
    assert {row.verdict for row in found.rows} == {"equal"}
    assert found.rows[0].source == "net.trtnet:4:16"
    assert found.rows[-1].shape == (2, 10)


@pytest.mark.parametrize(("at", "size"), [("min", 1), ("opt", 2), ("max", 4)])
def test_dynamic_dimensions_are_where_they_are_asked_for(net: Net, at: Any, size: int) -> None:
    found = verify_text(TEXT, net, at=at, dtype="float64", tolerance=None)
    assert found.equal
    assert found.rows[-1].shape == (size, 10)


def test_what_only_training_reads_makes_no_difference(net: Net) -> None:
    other = Net(momentum=0.9)
    other.load_state_dict(net.state_dict())
    assert verify_text(TEXT, other).equal


def test_the_callers_module_keeps_mode_and_dtype(net: Net) -> None:
    own = make_net().train()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    assert verify_text(TEXT, own, dtype="float64", tolerance=None).equal
    assert own.training
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())


class Shared(nn.Module):
    """One layer called three times, in a block whose activation works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
        self.gate = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = self.block(x) + self.gate(x)
        return x


SHARED = """block Layer()(x) {
  return x -> 0: Linear(4) -> relu
}
model shared() {
  input x: float32[5, 4]
  for i in range(3) {
    x = (x -> block: Layer) + (x -> gate: Linear(4))
  }
  output y = x
}
"""


def test_calls_are_compared_one_by_one() -> None:
    torch.manual_seed(0)
    found = verify_text(SHARED, Shared())
    assert found.equal
    names = ["block.0 (call 1)", "block (call 1)", "gate (call 1)", "block.0 (call 2)"]
    assert [row.name for row in found.rows[:4]] == names
    broken = verify_text(SHARED.replace("+ (x -> gate", "- (x -> gate"), Shared()).difference
    assert broken is not None
    assert broken.suspects[0].operator == "sub"


def test_where_a_blocks_braces_stand_is_no_difference() -> None:
    """PyTorch's block ends before the activation, ours behind it: all layers and the output agree."""

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.block(x).relu()

    text = SHARED.replace("range(3)", "range(1)").replace(" + (x -> gate: Linear(4))", "")
    found = verify_text(text, Wrapped())
    assert found.equal
    assert [row.name for row in found.rows] == ["block.0", "y"]


def test_float64_is_looked_at_before_an_activation_works_in_place() -> None:
    """The sum of large numbers is no more exact in the module than here, and only float64 shows that."""

    class Cancelling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc, self.bn, self.act = nn.Linear(128, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(True)
            with torch.no_grad():
                large, small = self.fc.weight[:, :64].mul_(1e4), self.fc.weight[:, 64:]
                small.sub_(large)
                self.bn.weight.uniform_(0.5, 1.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.bn(self.fc(torch.cat([x, x], 1))))

    text = """model m() {
      input x: float32[8, 64]
      output y = cat([x, x], 1) -> fc: Linear(32, bias = false) -> bn: BatchNorm1d -> relu
    }"""
    found = trtdsl.verify(graph_of(text), None, Cancelling())
    layer = found.rows[0]
    assert (layer.label, layer.verdict) == ("fc+bn", "equal")
    assert layer.measure is not None and layer.measure.relative > found.tolerance
