"""What cats that begin alike become: in TensorRT 8.5 a later one reads what an earlier one has joined."""

from __future__ import annotations

import pytest

from tests.closeness import expected, require_outputs
from tests.trt.recording import RecordingDialect
from tests.trt.releases import RELEASES, facts
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.reference import random_inputs
from trtdsl.trt.lower import lower

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
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    counts = [layer.num_inputs for layer in layers if layer.type.name == "CONCATENATION"]
    behind = [2, 2, 3, 3, 3, 2, 3]
    apart = [2, 3, 5, 3, 3, 2, 3]
    assert counts == (behind if release == "8.5.3" else apart)
    inputs = random_inputs(graph, seed=1)
    found = evaluate(network, inputs, weights=lowered.weights)
    require_outputs(found, expected(graph, inputs), 0)
