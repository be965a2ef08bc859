"""What each layer adds to the error, and which layers an error allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.passes import optimize
from trtdsl.precision.batches import Batches
from trtdsl.precision.calibrate import calibrate
from trtdsl.precision.error import OutputError, output_error
from trtdsl.precision.placement import Policy
from trtdsl.precision.quantize import quantize
from trtdsl.precision.ranges import Ranges, ranges_of
from trtdsl.precision.replay import Replay
from trtdsl.precision.sensitivity import Sensitivities, sensitivities, within
from trtdsl.reference import random_weights, run
from trtdsl.types import DType

MODEL = """
model m() {
  dim N = 1 .. 4 .. 8
  input x: float32[N, 16, 8, 8]
  h = x -> c1: Conv2d(16, 3, padding = 1) -> relu -> c2: Conv2d(16, 3, padding = 1) -> relu
  s = h -> side: Conv2d(16, 1)
  output aside = mean(s, (2, 3))
  h = h -> twice: Conv2d(16, 1) -> relu -> twice: Conv2d(16, 1)
  output y = mean(h, (2, 3)) -> fc: Linear(16)
}
"""
POLICY = Policy(DType.INT8)
LABELS = ["c1", "c2", "side", "twice", "fc"]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return optimize(random_weights(elaborate_text(MODEL), 1))


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray[Any, Any]]:
    return {"x": np.random.default_rng(0).normal(0, 1, (20, 16, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def ranges(graph: Graph, data: dict[str, np.ndarray[Any, Any]]) -> Ranges:
    return ranges_of(calibrate(graph, data), "m", "max", 20)


@pytest.fixture(scope="module")
def known(graph: Graph, data: dict[str, np.ndarray[Any, Any]], ranges: Ranges) -> Sensitivities:
    def quantised(policy: Policy) -> Graph:
        return quantize(graph, ranges, policy).graph

    return sensitivities(graph, POLICY, quantised, Batches(graph, data))


def measured(graph: Graph, ranges: Ranges, data: Any, policy: Policy) -> OutputError:
    return output_error(graph, quantize(graph, ranges, policy).graph, Batches(graph, data))


def test_a_layer_alone(graph: Graph, data: Any, ranges: Ranges, known: Sensitivities) -> None:
    assert [*known.layers] == LABELS
    for label in LABELS:
        wanted = measured(graph, ranges, data, POLICY.only([label])).outputs
        assert known.layers[label] == pytest.approx(wanted, rel=1e-3)
    # What lies beside an output adds nothing to it.
    assert known.layers["side"]["y"] == known.layers["fc"]["aside"] == 0
    assert known.layers["fc"]["y"] > 0 < known.layers["side"]["aside"]


def test_all_layers_together(graph: Graph, data: Any, ranges: Ranges, known: Sensitivities) -> None:
    whole = measured(graph, ranges, data, POLICY)
    assert 0.6 < known.expected() / whole.largest < 1.3
    assert known.expected(["c1", "c2"]) < known.expected()
    assert sum(share for _, share in known.shares) == pytest.approx(1)
    assert {label for label, _ in known.shares[:5]} == {*LABELS}


def test_only_what_differs_is_computed(graph: Graph, data: Any, ranges: Ranges) -> None:
    replay = Replay(graph, {"x": data["x"][:4]})
    again = replay.outputs(graph)
    assert all(again[name] is tensor for name, tensor in replay.exact.items())
    changed = quantize(graph, ranges, POLICY.only(["fc"])).graph
    found = replay.outputs(changed)
    assert found["aside"] is replay.exact["aside"]
    np.testing.assert_array_equal(found["y"], run(changed, {"x": data["x"][:4]})["y"])


def test_batches_together_change_nothing(graph: Graph, data: Any, ranges: Ranges) -> None:
    changed = quantize(graph, ranges, POLICY).graph
    batches = Batches(graph, data)
    # No more than the model takes at once, which is 8.
    assert [len(each["x"]) for each in batches.together(changed)] == [8, 8, 4]
    assert [len(each["x"]) for each in batches.together(changed, memory=1)] == [1] * 20
    assert [each["x"][0, 0, 0, 0] for each in batches.spread(5)] == [*data["x"][::4, 0, 0, 0]]
    assert len(batches.spread(20)) == len(batches.spread(99)) == 20
    found = output_error(graph, changed, batches)
    alone = [output_error(graph, changed, Batches(graph, {"x": row[None]})) for row in data["x"]]
    assert len(found.runs) == 20
    # An activation that is rounded the other way makes a step of the narrow type.
    assert found.runs == pytest.approx([each.largest for each in alone], rel=0.1)


def test_outputs_that_are_not_by_sample_are_run_alone() -> None:
    text = (
        "model m {\n  dim N = 1 .. 4 .. 8\n  input x: float32[N, 8]\n  output y = mean(fc: Linear(4)(x))\n}"
    )
    graph = random_weights(elaborate_text(text))
    batches = Batches(graph, {"x": np.ones((5, 8), np.float32)})
    assert len(batches.together(graph)) == 5
    assert output_error(graph, graph, batches).runs == (0.0,) * 5


@pytest.mark.parametrize("limit", [0.02, 0.01, 0.006])
def test_the_fewest_layers_stay(
    graph: Graph, data: Any, ranges: Ranges, known: Sensitivities, limit: float
) -> None:
    tried: list[Policy] = []

    def measure(policy: Policy) -> OutputError:
        tried.append(policy)
        return measured(graph, ranges, data, policy)

    policy = within(limit, known, POLICY, measure)
    assert measured(graph, ranges, data, policy).largest <= limit
    assert len(tried) <= 4
    if policy.measured:
        kept = dict([*policy.measured.items()][:-1])
        assert measured(graph, ranges, data, POLICY.without(kept)).largest > 0.9 * limit
        assert all("it alone makes an error of 0.0" in why for why in policy.measured.values())
    assert not POLICY.measured


def test_an_error_that_no_layer_is_within(
    graph: Graph, data: Any, ranges: Ranges, known: Sensitivities
) -> None:
    with pytest.raises(
        UsageError, match="no layer can be quantised within an error of 1e-09: the least alone"
    ):
        within(1e-9, known, POLICY, lambda policy: measured(graph, ranges, data, policy))
    free = within(1.0, known, POLICY, lambda policy: measured(graph, ranges, data, policy))
    assert free.measured == {}


def test_layers_of_several_outputs_are_left_where_each_is_furthest_off() -> None:
    known = Sensitivities({"a": {"p": 0.3, "q": 0.0}, "b": {"p": 0.2, "q": 0.1}, "c": {"p": 0.0, "q": 0.25}})

    def measure(policy: Policy) -> OutputError:
        left = [label for label in known.layers if label not in policy.measured]
        return OutputError(known.outputs(left), (0.0,))

    assert [*within(0.3, known, POLICY, measure).measured] == ["a"]
    assert [*within(0.24, known, POLICY, measure).measured] == ["a", "c"]
