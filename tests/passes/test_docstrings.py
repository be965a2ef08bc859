"""Every pass does to its docstring's `before` what its `after` says, and nothing to what it has done."""

from __future__ import annotations

import re
import textwrap

import pytest

from trtdsl.elaborate import elaborate_text
from trtdsl.ir import difference, verify
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
        assert (after[name] - expected).norm() <= step.tolerance * expected.norm()
