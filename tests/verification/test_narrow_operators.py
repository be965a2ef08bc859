"""float16 inputs: what operators round in their own layers is allowed for, a wrong network is still found."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

import trtdsl
from tests.ops.examples import EXAMPLES, Example
from tests.verification.networks import graph_of
from trtdsl.ir import Graph
from trtdsl.ops.base import Module
from trtdsl.reference import compute_node

PER_OPERATOR = 2
"""How many examples of each operator are verified."""


def _in_float16() -> list[Example]:
    """The first examples of every function with float32 in them, made float16.

    What is verified computes in float32; an operator's bodies say themselves that they are float16.
    """
    functions = [each for each in EXAMPLES if not isinstance(each.op, Module) and not each.op.bodies]
    wide = [each for each in functions if "float32" in each.text]
    grouped = itertools.groupby(wide, key=lambda each: type(each.op))
    first = [each for _, group in grouped for each in itertools.islice(group, PER_OPERATOR)]
    return [Example(each.text.replace("float32", "float16")) for each in first]


NARROW = _in_float16()


class Calling(nn.Module):
    """A function of torch, its result multiplied by a factor where that is not 1."""

    def __init__(self, function: Callable[..., Any], factor: float = 1.0) -> None:
        super().__init__()
        self.function = function
        self.factor = factor

    def forward(self, *tensors: torch.Tensor) -> Any:
        found = self.function(*tensors)
        found = [found] if isinstance(found, torch.Tensor) else found
        if self.factor == 1:
            return found
        return [each * self.factor if each.is_floating_point() else each for each in found]


def _function_of(example: Example, graph: Graph) -> Callable[..., Any]:
    """What torch makes of an example's operands."""
    (node,) = graph.nodes

    def call(*tensors: torch.Tensor) -> Sequence[torch.Tensor]:
        return compute_node(node, tensors[: len(node.operands)], example.sizes("opt"))

    return call


def _against_torch(example: Example, factor: float = 1.0) -> trtdsl.Verification:
    graph = graph_of(example.model())
    module = Calling(_function_of(example, graph), factor)
    return trtdsl.verify(graph, None, module, inputs=example.arrays("opt"))


def test_there_are_many() -> None:
    assert len({type(each.op) for each in NARROW}) > 100


@pytest.mark.parametrize("example", NARROW, ids=str)
def test_float16_is_equal_to_torch(example: Example) -> None:
    found = _against_torch(example)
    assert [row.verdict for row in found.rows] == ["equal"] * len(found.rows)
    assert found.difference is None
    assert not any("in the reference" in note for note in found.notes)


ROUNDING = ["std", "var", "logsumexp", "fmod", "remainder", "mul", "cumsum", "log_softmax", "exp", "add"]


@pytest.mark.parametrize("name", ROUNDING)
def test_one_percent_more_is_found(name: str) -> None:
    example = next(each for each in NARROW if each.name == name)
    assert not _against_torch(example, factor=1.01).equal


CALLS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    # What the call is in torch, and what it is not.
    "std(h, 1)": (lambda h: h.std(1), lambda h: h.std(1, correction=0)),
    "var(h, 1)": (lambda h: h.var(1), lambda h: h.std(1)),
    "logsumexp(h, 1)": (lambda h: h.logsumexp(1), lambda h: h.exp().mean(1).log()),
    "h % 0.7": (lambda h: h % 0.7, lambda h: h.fmod(0.7)),
    "fmod(h, 0.7)": (lambda h: h.fmod(0.7), lambda h: h % 0.7),
    "h * 0.7": (lambda h: h * 0.7, lambda h: h * 0.71),
    "to(exp(h), float16)": (lambda h: h.exp().half(), lambda h: h.expm1().half()),
    "to(to(exp(h), float16), float32)": (lambda h: h.exp().half().float(), lambda h: h.exp2().half().float()),
    "exp(std(h, 1))": (lambda h: h.std(1).exp(), lambda h: h.std(1).expm1()),
}


def _text(call: str) -> str:
    return f"model m() {{\n  dim N = 1 .. 8 .. 64\n  input h: float16[N, 4]\n  output y = {call}\n}}\n"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("call", CALLS)
def test_calls_of_a_float16_input(call: str, dtype: Any) -> None:
    right, wrong = CALLS[call]
    found = trtdsl.verify(graph_of(_text(call)), None, Calling(right), dtype=dtype)
    assert found.equal, found.difference
    assert [row.tolerance for row in found.rows] == [2e-3]
    assert not trtdsl.verify(graph_of(_text(call)), None, Calling(wrong), dtype=dtype).equal


def test_what_rounds_nothing_keeps_its_tolerance() -> None:
    found = trtdsl.verify(graph_of(_text("exp(h)")), None, Calling(torch.exp))
    assert [row.tolerance for row in found.rows] == [1e-4]
    assert found.equal
    assert not trtdsl.verify(graph_of(_text("exp(h)")), None, Calling(torch.exp, 1.0005)).equal


def test_overflow_is_found_behind_a_narrow_constant() -> None:
    found = trtdsl.verify(graph_of(_text("h * 60000.0")), None, Calling(lambda h: h * 60000.0))
    assert found.difference is not None
    assert "overflows" in found.difference.message


def test_operands_that_agree_are_not_said_to_stand_in_another_order() -> None:
    module = Calling(lambda h: h.std(1))
    difference = trtdsl.verify(graph_of(_text("std(h, 1)")), None, module, tolerance=1e-6).difference
    assert difference is not None
    assert difference.message.startswith("`std` at net.trtnet:4:")
    assert difference.message.endswith(
        "is the same in PyTorch, and so is what it reads: its TensorRT layers compute something else"
    )
