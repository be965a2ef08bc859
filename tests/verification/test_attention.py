"""A module whose inside has other labels, or none, is compared by what it returns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.networks import graph_of, state

ATTENTION = """block Attention(heads, dim)(x) {
  q = x -> q: Linear(dim) -> reshape(2, 5, heads, 4) -> transpose(1, 2)
  k = x -> k: Linear(dim) -> reshape(2, 5, heads, 4) -> transpose(1, 2)
  v = x -> v: Linear(dim) -> reshape(2, 5, heads, 4) -> transpose(1, 2)
  w = softmax((q @ transpose(k, 2, 3)) * 0.5, -1) @ v
  return w -> transpose(1, 2) -> reshape(2, 5, dim) -> out_proj: Linear(dim)
}
"""

TEXT = f"""{ATTENTION}
model m() {{
  input x: float32[2, 5, 8]
  output y = x -> attn: Attention(2, 8) -> fc: Linear(8)
}}
"""

ENCODER = f"""{ATTENTION}
model m() {{
  input src: float32[2, 5, 8]
  x = (src + (src -> self_attn: Attention(2, 8))) -> norm1: LayerNorm(8)
  y = x -> linear1: Linear(16) -> relu -> linear2: Linear(8)
  output z = (x + y) -> norm2: LayerNorm(8)
}}
"""


class Attending(nn.Module):
    """PyTorch's attention, which returns its weights too, and calls no module inside."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.attn(x, x, x)
        return self.fc(y)


@pytest.fixture(scope="module")
def module() -> Attending:
    torch.manual_seed(0)
    return Attending().eval()


def split(module: nn.Module, path: str) -> dict[str, Any]:
    """The state with PyTorch's packed projections and the three that the text reads."""
    found = state(module)
    for index, name in enumerate("qkv"):
        for kind in ("weight", "bias"):
            packed = found[f"{path}.in_proj_{kind}"]
            found[f"{path}.{name}.{kind}"] = packed[8 * index : 8 * index + 8]
    return found


def test_attention_is_compared_by_its_output(module: Attending) -> None:
    found = trtdsl.verify(graph_of(TEXT), split(module, "attn"), module)
    assert found.equal
    assert [(row.kind, row.name) for row in found.rows] == [
        ("block", "attn"),
        ("layer", "fc"),
        ("output", "y"),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("* 0.5", "* 0.25"),
        ("softmax((q @ transpose(k, 2, 3)) * 0.5, -1)", "sigmoid((q @ transpose(k, 2, 3)) * 0.5)"),
        ("v: Linear", "k: Linear"),
        ("k: Linear", "q: Linear"),
    ],
)
def test_the_block_that_differs_is_the_attention(module: Attending, before: str, after: str) -> None:
    text = TEXT.replace(before, after)
    found = trtdsl.verify(graph_of(text), split(module, "attn"), module)
    verdicts = {row.name: row.verdict for row in found.rows}
    assert verdicts == {"attn": "differs", "fc": "follows", "y": "follows"}
    assert found.difference is not None
    assert all(suspect.label.startswith("attn") for suspect in found.difference.suspects)


def test_layers_of_an_encoder_are_compared_though_pytorch_has_a_fast_path(module: Attending) -> None:
    """In eval mode PyTorch runs the layer as one function, and no module inside, unless it is watched."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    weights = split(encoder, "self_attn")
    found = trtdsl.verify(graph_of(ENCODER), weights, encoder)
    assert found.equal
    names = ["self_attn", "norm1", "linear1", "linear2", "norm2", "z"]
    assert [row.name for row in found.rows] == names
    gelu = trtdsl.verify(graph_of(ENCODER.replace("-> relu ->", "-> gelu ->")), weights, encoder).difference
    assert gelu is not None
    assert [suspect.operator for suspect in gelu.suspects] == ["gelu"]
