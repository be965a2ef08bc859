"""Outputs are called after the keys and fields under which `forward` returns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import trtdsl
from trtdsl.importers.module import import_module
from trtdsl.importers.output_names import output_names


@pytest.mark.parametrize(
    ("returned", "names"),
    [
        (0, ["output"]),
        ((0, 0), ["output_0", "output_1"]),
        ({"logits": 0, "aux": {"scores": 0}}, ["logits", "scores"]),
        ({"aux": {"masks": [0, 0]}}, ["masks_0", "masks_1"]),
        ({"past": [[0, 0], [0]], "y": 0}, ["past_0_0", "past_0_1", "past_1_0", "y"]),
        ({"a": {"x": 0}, "b": {"x": 0}}, ["a_x", "b_x"]),
        ({"a": {"x": [0, 0]}, "b": {"x": [0]}}, ["a_x_0", "a_x_1", "b_x_0"]),
        ((0, {"a b": 0}, {3: 0}), ["output_0", "a_b", "output_2_3"]),
    ],
)
def test_names(returned: Any, names: list[str]) -> None:
    leaves, spec = pytree.tree_flatten(returned)
    assert output_names(spec, len(leaves)) == names


@dataclass(frozen=True)
class Boxes:
    boxes: torch.Tensor
    scores: torch.Tensor | None = None


@dataclass
class Found:
    logits: torch.Tensor
    best: Boxes
    layers: tuple[torch.Tensor, list[Boxes]]
    loss: torch.Tensor | None = None


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> Found:
        y = self.head(x)
        return Found(y, Boxes(y.exp(), y.sum(-1)), (y.tanh(), [Boxes(y.sin())]))


def test_dataclasses_are_taken_apart() -> None:
    module = Detector()
    imported = import_module(module, {"x": "float32[N, 4]"})
    assert imported.graph
    names = [output.name for output in imported.graph.outputs]
    assert names == ["logits", "best_boxes", "scores", "layers", "layers_1_0_boxes"]
    assert not module._forward_hooks
    with torch.no_grad():
        assert isinstance(module(torch.zeros(1, 4)), Found)
    assert trtdsl.verify(imported.graph, against=module, at={"N": 3}).equal
