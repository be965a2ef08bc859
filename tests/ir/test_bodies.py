"""Graphs within graphs: everything that looks at a graph looks into the bodies of its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.closeness import require_close
from tests.ir.bodies import Either, Repeat, declared
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, Node, Value, difference, graphs, map_graphs, show, verify, walk
from trtdsl.ir.verify import Stage
from trtdsl.passes import (
    PIPELINE,
    Pass,
    convert_precision,
    fold_batch_norm,
    fold_constants,
    merge_common_subexpressions,
    operator_counts,
    optimize,
    remove_dead_nodes,
    remove_identities,
)
from trtdsl.reference import ProfilePoint, random_inputs, random_weights, run
from trtdsl.trt.lower import lower
from trtdsl.types import DType

TEXT = """
block Inner()(x) {
  dead = exp(x)
  scale = full((), 0.25) * 2
  return x * scale
}

block Step(N)(state, other) {
  h = dropout(state)
  h = h -> fc: Linear(4) -> norm: BatchNorm1d -> tanh
  one = reshape(sin(other), N, 4)
  two = reshape(sin(other), N, 4)
  chosen = either(one + two, first = Inner, second = tanh)
  return h + chosen * 0.5
}

model m() {
  dim N = 1 .. 2 .. 4
  input x: float32[N, 4]
  input y: float32[N, 4]
  shifted = y + 1
  output z = repeat_times(x, shifted, times = 3, body = Step(N)) -> relu
}
"""


@pytest.fixture(autouse=True)
def operators() -> Iterator[None]:
    with declared(Repeat, Either):
        yield


@pytest.fixture
def graph(operators: None) -> Graph:
    return random_weights(elaborate_text(TEXT), seed=0)


def expected(graph: Graph, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """What the text says, written down once more."""
    weights = {
        weight.key: torch.from_numpy(weight.data) for weight in graph.weights if weight.data is not None
    }
    other = torch.sin(y + 1) * 2
    for _ in range(3):
        x = torch.nn.functional.linear(x, weights["fc.weight"], weights["fc.bias"])
        statistics = weights["norm.running_mean"], weights["norm.running_var"]
        x = torch.nn.functional.batch_norm(x, *statistics, weights["norm.weight"], weights["norm.bias"])
        x = torch.tanh(x) + other * 0.5 * 0.5
    return torch.relu(x)


def test_means_what_it_says(graph: Graph) -> None:
    inputs = {name: torch.from_numpy(array) for name, array in random_inputs(graph, seed=1).items()}
    found = run(graph, inputs)["z"]
    torch.testing.assert_close(found, expected(graph, **inputs), rtol=1e-6, atol=1e-6)


def test_weights_of_bodies_are_the_models() -> None:
    graph = elaborate_text(TEXT)
    keys = [weight.key for weight in graph.weights]
    assert keys[:2] == ["fc.weight", "fc.bias"]
    assert len(keys) == 6
    assert verify(graph) == ()
    assert "the weight `fc.weight` has no values" in [str(found) for found in verify(graph, "bound")]


@pytest.mark.parametrize("step", [*PIPELINE, convert_precision(DType.FLOAT32)], ids=lambda step: step.name)
def test_passes_keep_the_meaning(graph: Graph, step: Pass) -> None:
    changed = step(graph)
    assert verify(changed, "lowerable") == ()
    assert difference(changed, elaborate_text(show(changed))) is None
    inputs = random_inputs(graph, seed=2)
    before, after = run(graph, inputs)["z"], run(changed, inputs)["z"]
    require_close(after, before, step.tolerance)
    assert step(changed) is changed


def test_passes_work_inside(graph: Graph) -> None:
    before = operator_counts(graph)
    assert before["dropout"] == before["exp"] == before["BatchNorm1d"] == 1
    assert before["sin"] == 2
    assert operator_counts(remove_identities(graph))["dropout"] == 0
    assert operator_counts(remove_dead_nodes(graph))["exp"] == 0
    assert operator_counts(fold_batch_norm(graph))["BatchNorm1d"] == 0
    assert operator_counts(merge_common_subexpressions(graph))["sin"] == 1
    assert operator_counts(fold_constants(graph))["mul"] < before["mul"]


@pytest.mark.parametrize("at", ["min", "opt", "max"])
def test_lowers_to_what_it_means(graph: Graph, at: ProfilePoint) -> None:
    for each in (graph, optimize(graph)):
        inputs = random_inputs(each, at, seed=3)
        lowered = lower(each)
        found = evaluate(lowered.network, inputs, weights=lowered.weights)["z"]
        require_close(found, run(graph, inputs)["z"])


def test_layers_of_bodies_have_names_and_places(graph: Graph) -> None:
    lowered = lower(graph)
    names = [lowered.network.get_layer(index).name for index in range(lowered.network.num_layers)]
    assert len(set(names)) == len(names)
    assert [name for name in names if name.startswith("fc") and not {*"/."} & {*name}] == [
        "fc",
        "fc_1",
        "fc_2",
    ]
    assert lowered.nodes["fc"].op.name == "Linear"


def test_computes_in_another_precision(graph: Graph) -> None:
    half = convert_precision(DType.FLOAT16)(graph)
    assert verify(half, "lowerable") == ()
    assert difference(half, elaborate_text(show(half))) is None
    bodies = [body for body in graphs(half) if body is not half]
    assert len(bodies) == 3
    inside = [v for body in bodies for v in (*body.inputs, *(r for n in body.nodes for r in n.results))]
    assert {value.type.dtype for value in inside} == {DType.FLOAT16}
    inputs = random_inputs(graph, seed=4)
    lowered = lower(half)
    found = evaluate(lowered.network, inputs, weights=lowered.weights)["z"]
    error = (found - run(graph, inputs)["z"]).norm() / run(graph, inputs)["z"].norm()
    assert 1e-6 < error < convert_precision(DType.FLOAT16).tolerance


def test_prints_blocks_that_parse_back() -> None:
    graph = elaborate_text(TEXT)
    text = show(graph)
    assert "block Step_2(N)(state, other) {" in text or "block Step(N)(state, other) {" in text
    assert "body = Step" in text
    again = elaborate_text(text)
    assert difference(graph, again) is None
    assert show(again) == text


def changed_inside(graph: Graph, wanted: str, change: Any) -> Graph:
    """The graph with a change made to every body that holds an operator."""

    def inside(body: Graph) -> Graph:
        found = body is not graph and any(node.op.name == wanted for node in body.nodes)
        return change(body) if found and body.name != graph.name else body

    return map_graphs(inside, graph)


def test_difference_sees_bodies(graph: Graph) -> None:
    fewer = changed_inside(graph, "exp", lambda body: body.replace(nodes=body.nodes[1:]))
    found = difference(graph, fewer)
    assert found is not None
    assert found.startswith("nodes: ")


def captured(graph: Graph) -> Graph:
    """The body of the loop reads a value from around it."""
    (loop,) = (node for node in graph.nodes if node.op.name == "repeat_times")
    outer = loop.operands[1]

    def capture(body: Graph) -> Graph:
        first, *rest = body.nodes
        return body.replace(nodes=(first.replace(operands=(outer,)), *rest))

    return changed_inside(graph, "dropout", capture)


def unmade(graph: Graph) -> Graph:
    """A body's output is made by none of its nodes."""
    return changed_inside(graph, "exp", lambda body: body.replace(nodes=body.nodes[:-1]))


def wrong_input(graph: Graph) -> Graph:
    """A body takes another type than its node gives it."""

    def widen(body: Graph) -> Graph:
        old, *rest = body.inputs
        new = Value(old.name, old.type.with_dtype(DType.FLOAT16))
        return body.replace(inputs=(new, *rest))

    return changed_inside(graph, "exp", widen)


def twice(graph: Graph) -> Graph:
    """A body's value has the name of one outside."""

    def rename(body: Graph) -> Graph:
        first, *rest = body.nodes
        result = first.result.replace(name="shifted")
        return body.replace(nodes=(first.replace(results=(result,)), *rest))

    return changed_inside(graph, "exp", rename)


def one_body_less(graph: Graph) -> Graph:
    def drop(node: Node) -> Node:
        return node.replace(bodies=node.bodies[1:]) if node.op.name == "either" else node

    return changed_inside(graph, "either", lambda body: body.replace(nodes=tuple(map(drop, body.nodes))))


@pytest.mark.parametrize(
    ("broken", "stage", "says"),
    [
        (captured, "elaborated", "it reads `shifted` before that is made"),
        (unmade, "elaborated", "which nothing makes"),
        (wrong_input, "elaborated", "its body `first` takes float16[N, 4], not float32[N, 4]"),
        (twice, "elaborated", "2 values are called `shifted`"),
        (one_body_less, "elaborated", "it holds 1 of its 2 bodies"),
    ],
)
def test_the_verifier_looks_into_bodies(graph: Graph, broken: Any, stage: Stage, says: str) -> None:
    assert verify(graph, stage) == ()
    found = [str(violation) for violation in verify(broken(graph), stage)]
    assert any(says in text for text in found), found


def test_what_a_body_is_given_stays_alive(graph: Graph) -> None:
    kept = remove_dead_nodes(graph)
    assert "shifted" in [result.name for node in kept.nodes for result in node.results]
    assert len([*walk(kept)]) < len([*walk(graph)])


def test_equal_bodies_make_equal_nodes() -> None:
    text = """
    block Double()(a) {{ return {first} }}
    block Twice()(b) {{ return {second} }}
    model m() {{
      input x: float32[4]
      p = either(x, first = Double, second = relu)
      q = either(x, first = Twice, second = relu)
      output y = p + q
    }}"""
    same = elaborate_text(text.format(first="a + a", second="b + b"))
    assert operator_counts(merge_common_subexpressions(same))["either"] == 1
    other = elaborate_text(text.format(first="a + a", second="b * b"))
    assert operator_counts(merge_common_subexpressions(other))["either"] == 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("repeat_times(x, y)", "`repeat_times` needs `body`, a block or a function"),
        ("repeat_times(x, y, body = 3)", "`body` of `repeat_times` must be a block or a function, not `3`"),
        ("repeat_times(x, y, body = B)", "the body must give the type that it takes"),
        ("repeat_times(x, y, body = C)", "`C` takes at most 1 tensor, 2 were given"),
        ("repeat_times(x, y, body = D)", "`body` of `repeat_times` must give tensors, not `3`"),
        ("repeat_times(x, y, body = W)", "`Linear` has weights, so it needs a label"),
        ("either(x, first = Linear(4), second = relu)", "`Linear` has weights, so it needs a label"),
    ],
)
def test_mistakes_in_bodies_are_told(call: str, says: str) -> None:
    blocks = """
    block B()(a, b) { return cat([a, b]) }
    block C()(a) { return a }
    block D()(a, b) { return 3 }
    block W()(a, b) { return a -> Linear(4) }
    """
    text = f"{blocks} model m() {{ input x: float32[2, 4] input y: float32[2, 4] output z = {call} }}"
    with pytest.raises(DiagnosticError) as info:
        elaborate_text(text)
    assert says in info.value.diagnostics[0].message


def test_bodies_of_a_labelled_block_have_their_keys_below_it() -> None:
    text = """
    block Step()(a, b) { return a + (b -> fc: Linear(4)) }
    block Around()(x, y) { return repeat_times(x, y, body = Step) }
    model m() { input x: float32[2, 4] input y: float32[2, 4] output z = outer.0: Around()(x, y) }
    """
    graph = elaborate_text(text)
    assert [weight.key for weight in graph.weights] == ["outer.0.fc.weight", "outer.0.fc.bias"]
    assert difference(graph, elaborate_text(show(graph))) is None
    assert torch.isfinite(run(random_weights(graph), random_inputs(graph))["z"]).all()
