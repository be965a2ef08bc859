"""The comparison that the numeric tests share: it takes what rounding makes, and finds a wrong network."""

from __future__ import annotations

import pytest
import torch

from tests.closeness import (
    LIMIT,
    Expected,
    allowance,
    distance,
    expected,
    perturbed,
    require_close,
    require_outputs,
)
from trtdsl import reference
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.passes import optimize

NET = """
model m() {
  input x: float32[2, 8, 12, 12]
  a = x -> c1: Conv2d(16, 3, bias = false) -> b1: BatchNorm2d -> relu
  b = a -> c2: Conv2d(16, 3, padding = 1) -> b2: BatchNorm2d -> relu
  output y = a + b -> mean((2, 3)) -> fc: Linear(5)
}
"""


def net() -> tuple[Graph, dict[str, torch.Tensor]]:
    graph = reference.random_weights(elaborate_text(NET), seed=0)
    return graph, {name: torch.from_numpy(x) for name, x in reference.random_inputs(graph, seed=1).items()}


def test_rounding_is_taken() -> None:
    """The same network in float32 and folded, each of which rounds in its own places."""
    graph, inputs = net()
    wanted = expected(graph, inputs)
    for same in (graph, optimize(graph)):
        require_outputs(reference.run(same, inputs), wanted, 0.0)


@pytest.mark.parametrize("factor", [1.001, 0.999, 0.0])
def test_a_slightly_wrong_network_is_found(factor: float) -> None:
    """An eighth of one weight off by a thousandth, whichever weight."""
    graph, inputs = net()
    wanted = expected(graph, inputs)
    broken = dict(perturbed(graph, factor))
    assert len(broken) == 13
    for key, weights in broken.items():
        found = reference.run(graph, inputs, weights)
        with pytest.raises(AssertionError, match="from float64"):
            require_outputs(found, wanted, LIMIT)
            pytest.fail(f"{key} was missed", pytrace=False)


def sums(order: torch.Tensor) -> torch.Tensor:
    """Sums of numbers that nearly cancel, in float32 and one after the other in this order."""
    x = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))[:, order]
    total = torch.zeros(64)
    for column in x.unbind(1):
        total = total + column
    return total


def test_another_order_of_summation_is_taken_where_pytorchs_own_is_as_far_off() -> None:
    """What another processor does to both sides: the limit alone would not do."""
    forward, backward = sums(torch.arange(4096)), sums(torch.arange(4095, -1, -1))
    exact = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0)).double().sum(1)
    wanted = Expected(forward, lambda: exact)
    tight = distance(forward, exact) / 4
    require_close(backward, wanted, tight)
    with pytest.raises(AssertionError):
        require_close(backward, forward, tight)
    with pytest.raises(AssertionError):
        require_close(backward * (1 + 6 * distance(forward, exact)), wanted, tight)


def test_an_ill_conditioned_case_says_so() -> None:
    wanted = Expected(torch.tensor([1.0]), lambda: torch.tensor([1.01], dtype=torch.float64))
    with pytest.raises(AssertionError, match="says nothing"):
        allowance(wanted, LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        "to(x, float16) -> exp -> to(float32)",
        "x / 3",
        "arange(3, dtype = float32) + x",
        "sum(x, dtype = float32)",
        "clamp(to(x * 9, int32), 0.25, 3) / 7",
        "full((3,), 0.1) * x",
    ],
)
def test_the_exact_values_are_of_64_bits(body: str) -> None:
    """Whatever makes the floats of a graph: a cast, a division of integers, a dtype that is named."""
    graph = elaborate_text(f"model m() {{ input x: float32[3]  output y = {body} }}")
    x = torch.tensor([0.1, 0.7, -0.3])
    exact = reference.run(graph, {"x": x}, in_float64=True)["y"]
    own = reference.run(graph, {"x": x})["y"]
    assert exact.dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32
    assert 0 < distance(own, exact) < 1e-3
