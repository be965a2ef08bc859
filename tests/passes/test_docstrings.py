"""Every pass does to its docstring's `before` what its `after` says, and nothing to what it has done."""

from __future__ import annotations

import re
import textwrap

import numpy as np
import pytest

from tests.closeness import require_close
from tests.ir.bodies import Run, declared
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Builder, Graph, Value, ValueNames, Weight, difference, rebuild, verify, walk
from trtdsl.ops.base import Op
from trtdsl.passes import PIPELINE, Pass
from trtdsl.reference import random_inputs, random_weights, run


def examples(step: Pass) -> tuple[str, str]:
    """The two texts of a pass's docstring."""
    doc = textwrap.dedent("    " + (step.function.__doc__ or ""))
    found = re.search(r"before::\n\n(.*?)\n\s*after::\n\n(.*)", doc, re.DOTALL)
    assert found, f"{step.name} has no before and after"
    return textwrap.dedent(found[1]), textwrap.dedent(found[2])


def bound(text: str) -> Graph:
    """A text with random weights; one whose key ends in `_copy` has the numbers of the other."""
    graph = random_weights(elaborate_text(text), seed=0)
    by_key = {weight.key: weight for weight in graph.weights}
    copies: dict[Value, Value] = {
        weight: weight.replace(data=np.array(by_key[key.removesuffix("_copy")].data))
        for key, weight in by_key.items()
        if key.endswith("_copy")
    }
    return rebuild(graph, graph.nodes, copies)


@pytest.mark.parametrize("step", PIPELINE, ids=lambda step: step.name)
def test_before_becomes_after(step: Pass) -> None:
    before, after = (elaborate_text(text) for text in examples(step))
    result = step(bound(examples(step)[0]))
    assert difference(result, after) is None
    assert verify(result) == ()
    assert difference(before, after) is not None


@pytest.mark.parametrize("step", PIPELINE, ids=lambda step: step.name)
def test_its_own_result_is_left_alone(step: Pass) -> None:
    result = step(bound(examples(step)[0]))
    assert step(result) is result


@pytest.mark.parametrize("step", PIPELINE, ids=lambda step: step.name)
def test_the_meaning_stays(step: Pass) -> None:
    graph = bound(examples(step)[0])
    inputs = random_inputs(graph, seed=1)
    before, after = run(graph, inputs), run(step(graph), inputs)
    for name, expected in before.items():
        require_close(after[name], expected, step.tolerance)


@pytest.mark.parametrize("step", PIPELINE, ids=lambda step: step.name)
def test_does_the_same_in_a_body(step: Pass) -> None:
    with declared(Run):
        before, after = (in_a_body(bound(text)) for text in examples(step))
        changed = step(before)
        assert verify(changed, "lowerable") == ()
        assert _steps(changed) == _steps(after)
        assert _steps(changed) != _steps(before)
        inputs = random_inputs(before, seed=1)
        wanted = run(before, inputs)["y"]
        require_close(run(changed, inputs)["y"], wanted, step.tolerance)


def _steps(graph: Graph) -> list[tuple[Op, list[str | int]]]:
    """Each node's operator, and what it reads: keys of weights, numbers of nodes, however they are called."""
    found: list[tuple[Op, list[str | int]]] = []
    numbers: dict[Value, int] = {}
    for number, node in enumerate(walk(graph)):
        numbers |= dict.fromkeys(node.results, number)
        read = [each.key if isinstance(each, Weight) else numbers.get(each, -1) for each in node.operands]
        found.append((node.op, read))
    return found


def in_a_body(graph: Graph) -> Graph:
    """A graph whose only node runs another, of one input."""
    build = Builder(ValueNames.of(graph), origin="a test")
    (given,) = graph.inputs
    y = build.value(Run(), build.input("outer", given.type), bodies=(graph,))
    return build.graph("m", {"y": y})
