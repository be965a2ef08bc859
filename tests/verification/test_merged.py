"""Layers that passes made of several have rows, which say what they stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

import trtdsl
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.reference import random_weights
from trtdsl.verification import Row, comparison, show_verification

TEXT = """model net {
  input x: float32[2, 4, 8, 8]
  h = x -> conv: Conv2d(8, 3) -> bn: BatchNorm2d -> relu
  h = (h -> wide: Conv2d(8, 3, padding = 1)) + (h -> narrow: Conv2d(8, 1))
  h = relu(h) -> flatten(2)
  q = h -> query: Linear(36)
  k = h -> key: Linear(36)
  output y = scaled_dot_product_attention(q, k, k)
}
"""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)
        self.wide, self.narrow = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.query, self.key = nn.Linear(36, 36), nn.Linear(36, 36)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.bn(self.conv(x)).relu()
        h = (self.wide(h) + self.narrow(h)).relu().flatten(2)
        k = self.key(h)
        return nn.functional.scaled_dot_product_attention(self.query(h), k, k)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


def rows(found: trtdsl.Verification) -> Mapping[str, Row]:
    assert found.equal, show_verification(found)
    return {row.label: row for row in found.rows if row.kind != "output"}


SCALED = "query+y"
LABELS = {
    "conv+bn": ("conv", "bn"),
    "wide+narrow": ("wide", "narrow"),
    SCALED: ("query",),
    "key": ("key",),
}


@pytest.mark.parametrize("precision", [None, "float16"])
def test_every_layer_has_a_row_that_says_what_it_stands_for(net: nn.Module, precision: str | None) -> None:
    found = trtdsl.verify(elaborate_text(TEXT), None, net, precision=precision)
    assert {label: row.labels for label, row in rows(found).items()} == LABELS
    assert (
        "note: a label with `+` stands for what passes made one layer: `conv+bn` for `conv` and `bn`,"
        f" `{SCALED}` for `query` and what makes `y`\n" in show_verification(found)
    )
    (itself,) = (note for note in found.notes if note.startswith("compared with the model itself"))
    assert itself.endswith(f"what they do: `wide+narrow`, `{SCALED}`")


def test_a_model_beside_itself_has_the_same_rows(net: nn.Module) -> None:
    weights: dict[str, Any] = {key: value.numpy() for key, value in net.state_dict().items()}
    found = trtdsl.verify(elaborate_text(TEXT), weights, precision="float16")
    assert rows(found).keys() == LABELS.keys()
    assert not any(note.startswith("compared with the model itself") for note in found.notes)


def test_a_merged_layer_that_is_lowered_wrongly_is_told(
    net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = comparison.compute

    def wrong(graph: Graph, *rest: Any) -> Any:
        computed = compute(graph, *rest)
        values = {
            value: tensor * 1.01 if graph.producers[value].scope == "wide+narrow" else tensor
            for value, tensor in computed.values.items()
            if value in graph.producers
        }
        return dataclasses.replace(computed, values=values)

    monkeypatch.setattr(comparison, "compute", wrong)
    found = trtdsl.verify(elaborate_text(TEXT), None, net)
    assert found.difference is not None
    assert found.difference.message.startswith("layer `wide+narrow` differs by 1.0e-02")


SHIFT = """model net {
  input x: float32[4, 8, 6, 6]
  h = x -> stem: Conv2d(8, 3)
  moved = roll(h[:, :2], 1, 0) * 1e-4
  output y = cat([moved, h[:, 2:]], 1) -> conv: Conv2d(4, 1) -> bn: BatchNorm2d -> relu
}
"""


class Shift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.bn = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        h = torch.cat([h[:, :2].roll(1, 0) * 1e-4, h[:, 2:]], 1)
        return self.bn(self.conv(h)).relu()


@pytest.mark.parametrize("precision", [None, "float16"])
@pytest.mark.parametrize("text", [SHIFT, SHIFT.replace(" -> bn: BatchNorm2d", "")])
def test_a_layer_in_two_parts_has_one_row(text: str, precision: str | None) -> None:
    """The smaller part is less than what rounding the layer's operand costs."""
    torch.manual_seed(0)
    net, label = Shift().eval(), "conv+bn" if "bn" in text else "conv"
    if label == "conv":
        net.bn = nn.Identity()
    graph = elaborate_text(text)
    assert rows(trtdsl.verify(graph, None, net, precision=precision)).keys() == {"stem", label}
    if precision:
        own = trtdsl.verify(random_weights(graph, 0), precision=precision)
        assert rows(own).keys() == {"stem", label}
