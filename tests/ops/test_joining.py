"""What cats that begin alike become: in TensorRT 8.5 a later one reads what an earlier one has joined."""

from __future__ import annotations

from typing import Any

import pytest

from tests.closeness import expected, require_outputs
from tests.trt.recording import RecordingDialect
from tests.trt.releases import RELEASES, facts
from trtdsl.compile import optimize_graph
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.options import CompileOptions, Recipe
from trtdsl.reference import random_inputs
from trtdsl.trt.lower import lower

KEPT = """
block Stem()(x) {
  return exp(x) * 3, exp(x + 1) * 5
}

block Body()(a, b) {
  return cat([a, b], 1)
}

block Head()(a, b, c) {
  return cat([a, b, c], 1) * 2
}

model m {
  input x: float32[2, 4, 6, 6]
  a, b = x -> stem: Stem()
  c = (a, b) -> body: Body() -> tanh
  output z = (a, b, c) -> head: Head()
}"""
DENSE = """model m {
  input a: float32[1, 2, 3]
  input b: float32[1, 2, 3]
  input c: float32[1, 2, 3]
  input h: float16[1, 2, 3]
  x = cat([a, b], 1)
  y = cat([a, b, c], 1)
  output x, y
  output longer = cat([a, b, c, a, b], 1)
  output other_way = cat([b, a, c], 1)
  output other_dimension = cat([a, b, c], 2)
  output half = cat([h, h], 1)
  output cast = cat([h, h, a], 1)
}"""


@pytest.mark.parametrize("release", RELEASES)
def test_of_dense_blocks(release: str) -> None:
    graph = elaborate_text(DENSE)
    dialect = RecordingDialect(facts(release))
    lowered = lower(graph, dialect)
    network = dialect.network
    behind = [2, 2, 3, 3, 3, 2, 3]
    apart = [2, 3, 5, 3, 3, 2, 3]
    assert joins(network) == (behind if release == "8.5.3" else apart)
    inputs = random_inputs(graph, seed=1)
    found = evaluate(network, inputs, weights=lowered.weights)
    require_outputs(found, expected(graph, inputs), 0)


def joins(network: Any) -> list[int]:
    """How many tensors each layer joins."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return [layer.num_inputs for layer in layers if layer.type.name == "CONCATENATION"]


@pytest.mark.parametrize(("keep", "joined"), [([], [2, 2]), (["stem.*", "head.*"], [2, 3])])
def test_what_is_kept_in_float32_reads_nothing_that_is_not(keep: list[str], joined: list[int]) -> None:
    dialect = RecordingDialect(facts("8.5.3"))
    recipe = Recipe(precision="float16", keep={"float32": keep} if keep else {})
    found = optimize_graph(elaborate_text(KEPT), CompileOptions(recipe=recipe), dialect)
    lower(found.graph, dialect, mixed=found.mixed, wide=found.wide)
    assert joins(dialect.network) == joined


@pytest.mark.parametrize("release", RELEASES)
def test_equal_cats_leave_no_layer_that_nothing_reads(release: str) -> None:
    first, second = "y = cat([a, a], 1)  output w = relu(y)", "output z = hstack([a, a])"
    text = f"model m {{ input a: float32[2, 4]  {first}  {second} }}"
    dialect = RecordingDialect(facts(release))
    lower(elaborate_text(text), dialect)
    assert joins(dialect.network) == ([2] if release == "8.5.3" else [2, 2])
