"""Bounds that nothing reaches, an epsilon below the tolerance: the check says which numbers it cannot see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trtdsl
from tests.verification.networks import graph_of
from trtdsl.ir import Node
from trtdsl.reference import compute_node
from trtdsl.verification import idle, show_verification

TEXT = "model m() {\n  input x: float32[6, 8]\n  output y = EXPRESSION\n}\n"


class Computing(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


CASES: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor], list[str]]] = {
    "bounds never reached": ("clamp(x, -100, 100)", lambda x: x, ["min", "max"]),
    "bounds that are reached": ("clamp(x, -1.0, 1.0)", lambda x: x.clamp(-1, 1), []),
    "one bound": ("relu6(x)", lambda x: x.clamp(0, 6), ["max_val"]),
    "the other bound": ("relu6(exp(x) * 4.0)", lambda x: (x.exp() * 4).clamp(max=6), ["min_val"]),
    "a large input": ("hardtanh(x * 10.0)", lambda x: (x * 10).clamp(-1, 1), []),
    "nothing negative": ("relu(exp(x))", torch.exp, [""]),
    "something negative": ("relu(x)", torch.relu, []),
    "a slope": ("leaky_relu(exp(x), 0.2)", torch.exp, ["negative_slope"]),
    "a threshold": ("threshold(x, -20.0, 5.0)", lambda x: x, ["threshold", "value"]),
    "a small number": ("x + 1e-12", lambda x: x, ["1e-12"]),
    "a number": ("x * 2.0 + 0.5", lambda x: 2 * x + 0.5, []),
    "a small epsilon": ("layer_norm(x, [8])", lambda x: F.layer_norm(x, [8]), ["eps"]),
    "a large epsilon": ("layer_norm(x, [8], eps = 0.1)", lambda x: F.layer_norm(x, [8], eps=0.1), []),
    "nothing to see": ("dropout(x)", lambda x: x, []),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_that_could_be_others_are_named(name: str) -> None:
    expression, function, numbers = CASES[name]
    found = trtdsl.verify(graph_of(TEXT.replace("EXPRESSION", expression)), None, Computing(function))
    assert found.equal
    assert [each.number for each in found.idle] == numbers
    assert show_verification(found).count("note: the check cannot see") == len(numbers)


def test_what_is_said_to_be_unseen_is() -> None:
    """Another bound is not found, and one that is reached is."""
    for expression, equal in (("clamp(x, -50, 90)", True), ("clamp(x, -1, 100)", False)):
        graph = graph_of(TEXT.replace("EXPRESSION", expression))
        assert trtdsl.verify(graph, None, Computing(lambda x: x.clamp(-100, 100))).equal == equal


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x)[0]


def test_what_only_training_reads_is_not_a_number_of_the_check() -> None:
    layer = "(x, x, x) -> attention: MultiheadAttention(2, dropout = 0.1)"
    found = trtdsl.verify(graph_of(TEXT.replace("EXPRESSION", layer)), None, Attending().eval())
    assert found.equal
    assert not found.idle


def test_layers_with_one_number_are_one_note() -> None:
    norms = nn.Sequential(*(nn.LayerNorm(8) for _ in range(7)))
    layers = " -> ".join(f"{place}: LayerNorm(8)" for place in range(7))
    found = trtdsl.verify(graph_of(TEXT.replace("EXPRESSION", f"x -> {layers}")), None, norms)
    (note,) = (line for line in show_verification(found).splitlines() if "cannot see" in line)
    assert note.startswith("note: the check cannot see `eps` of `0` (LayerNorm) at net.trtnet:3:")
    assert "and 5 more: with these inputs" in note


def test_what_was_computed_to_see_the_layers_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[str] = []

    def counting(node: Node, *rest: Any) -> tuple[torch.Tensor, ...]:
        again.append(node.op.name)
        return compute_node(node, *rest)

    monkeypatch.setattr(idle, "compute_node", counting)
    graph = graph_of(TEXT.replace("EXPRESSION", "clamp(exp(x), max = 100) + sin(x)"))
    found = trtdsl.verify(graph, None, Computing(lambda x: x.exp() + x.sin()))
    assert [each.number for each in found.idle] == ["max"]
    # With other bounds only, until one makes no difference.
    assert {*again} == {"clamp"}
