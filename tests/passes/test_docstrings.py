"""Every pass does to its docstring's `before` what its `after` says, and nothing to what it has done."""

from __future__ import annotations

import re
import textwrap

import pytest

from tests.closeness import require_close
from tests.ir.bodies import Run, declared
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Builder, Graph, ValueNames, difference, verify, walk
from trtdsl.passes import PIPELINE, Pass
from trtdsl.reference import random_inputs, random_weights, run


def examples(step: Pass) -> tuple[str, str]:
    """The two texts of a pass's docstring."""
    doc = textwrap.dedent("    " + (step.function.__doc__ or ""))
    found = re.search(r"before::\n\n(.*?)\n\s*after::\n\n(.*)", doc, re.DOTALL)
    assert found, f"{step.name} has no before and after"
    return textwrap.dedent(found[1]), textwrap.dedent(found[2])


@pytest.mark.parametrize("step", PIPELINE, ids=lambda step: step.name)
def test_before_becomes_after(step: Pass) -> None:
    before, after = (elaborate_text(text) for text in examples(step))
    result = step(random_weights(before, seed=0))
    assert difference(result, after) is None
    assert verify(result) == ()
    assert difference(before, after) is not None


@pytest.mark.parametrize("step", PIPELINE, ids=lambda step: step.name)
def test_its_own_result_is_left_alone(step: Pass) -> None:
    result = step(random_weights(elaborate_text(examples(step)[0]), seed=0))
    assert step(result) is result


@pytest.mark.parametrize("step", PIPELINE, ids=lambda step: step.name)
def test_the_meaning_stays(step: Pass) -> None:
    graph = random_weights(elaborate_text(examples(step)[0]), seed=0)
    inputs = random_inputs(graph, seed=1)
    before, after = run(graph, inputs), run(step(graph), inputs)
    for name, expected in before.items():
        require_close(after[name], expected, step.tolerance)


@pytest.mark.parametrize("step", PIPELINE, ids=lambda step: step.name)
def test_does_the_same_in_a_body(step: Pass) -> None:
    with declared(Run):
        before, after = (in_a_body(random_weights(elaborate_text(text), seed=0)) for text in examples(step))
        changed = step(before)
        assert verify(changed, "lowerable") == ()
        assert [node.op for node in walk(changed)] == [node.op for node in walk(after)]
        assert [node.op for node in walk(changed)] != [node.op for node in walk(before)]
        inputs = random_inputs(before, seed=1)
        wanted = run(before, inputs)["y"]
        require_close(run(changed, inputs)["y"], wanted, step.tolerance)


def in_a_body(graph: Graph) -> Graph:
    """A graph whose only node runs another, of one input."""
    build = Builder(ValueNames.of(graph), origin="a test")
    (given,) = graph.inputs
    y = build.value(Run(), build.input("outer", given.type), bodies=(graph,))
    return build.graph("m", {"y": y})
