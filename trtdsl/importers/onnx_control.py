"""Branches and loops of an ONNX file, written out.

In: an ``If``, ``Loop`` or ``Scan`` that the file decides, and a function that reads a body's nodes.  Out: the
values that it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from trtdsl.importers.onnx_node import Known, Node, Results, Value, known
from trtdsl.importers.program import Ref
from trtdsl.ops.refused import Refused

LONGEST_LOOP = 64
"""Runs of a loop that are written out."""

Run: TypeAlias = Callable[[Any, Mapping[str, Value], Sequence[Any]], list[Value]]
"""The results of a body, given the values of its inputs, and the calls around it."""


def controlled(node: Node, run: Run) -> Results:
    """What a branch or loop gives."""
    if node.op == "If":
        return _branch(node, run)
    return _loop(node, run) if node.op == "Loop" else _scan(node, run)


def _branch(node: Node, run: Run) -> Results:
    condition = node[0]
    if isinstance(condition, Known):
        chosen = "then_branch" if condition.array.reshape(-1)[0] else "else_branch"
        return tuple(run(node.attribute(chosen), {}, node.calls))
    # Neither branch has effects: both are computed, and one is taken.
    first = run(node.attribute("then_branch"), {}, node.calls)
    second = run(node.attribute("else_branch"), {}, node.calls)
    pairs = [(node.tensor(one), node.tensor(other)) for one, other in zip(first, second, strict=True)]
    if any(each.value not in node.store.types for pair in pairs for each in pair):
        raise Refused("its branches give sequences, and an input of the model decides between them")
    if any(node.type(one) != node.type(other) for one, other in pairs):
        raise Refused("its branches give different shapes, and an input of the model decides between them")
    return tuple(
        node.one("where", condition=node.reshape(condition, ()), self=one, other=other)
        for one, other in pairs
    )


def _loop(node: Node, run: Run) -> Results:
    body = node.attribute("body")
    count = node.scalar(0, "how often it runs") if node.has(0) else None
    if not isinstance(count, int) or count > LONGEST_LOOP:
        raise Refused(f"the importer writes out only loops of a known number of at most {LONGEST_LOOP} runs")
    going: Value = node[1] if node.has(1) else known(np.array(True))
    carried: list[Value] = [each for each in node.inputs[2:] if each is not None]
    collected: list[list[Value]] = []
    for number in range(count):
        if isinstance(going, Ref):
            raise Refused("the values of a tensor decide how often it runs")
        if not going.array.reshape(-1)[0]:
            break
        names = [each.name for each in body.input]
        step = known(np.array(number, np.int64))
        going, *results = run(body, dict(zip(names, (step, going, *carried), strict=True)), node.calls)
        carried = results[: len(carried)]
        collected.append(results[len(carried) :])
    return (*carried, *(_stacked(node, each, 0) for each in zip(*collected, strict=True)))


def _scan(node: Node, run: Run) -> Results:
    body, count = node.attribute("body"), node.attribute("num_scan_inputs")
    if node.opset < 9:
        raise Refused("before version 9 it runs along a batch")
    values = [each for each in node.inputs if each is not None]
    carried, sequences = values[: len(values) - count], values[len(values) - count :]
    axes = node.attribute("scan_input_axes") or [0] * count
    reverse = node.attribute("scan_input_directions") or [0] * count
    length = node.type(sequences[0]).shape[axes[0]]
    if not isinstance(length, int) or length > LONGEST_LOOP:
        raise Refused(f"the importer writes out only loops of a known number of at most {LONGEST_LOOP} runs")
    collected: list[list[Value]] = []
    for number in range(length):
        places = [length - 1 - number if back else number for back in reverse]
        items = [
            node.one("select", self=node.tensor(each), dim=node.axis(axis, each), index=place)
            for each, axis, place in zip(sequences, axes, places, strict=True)
        ]
        names = [each.name for each in body.input]
        results = run(body, dict(zip(names, (*carried, *items), strict=True)), node.calls)
        carried = results[: len(carried)]
        collected.append(results[len(carried) :])
    outputs = list(zip(*collected, strict=True))
    back = node.attribute("scan_output_directions") or [0] * len(outputs)
    to = node.attribute("scan_output_axes") or [0] * len(outputs)
    made = zip(outputs, back, to, strict=True)
    return (
        *carried,
        *(_stacked(node, each[::-1] if over else each, dim) for each, over, dim in made),
    )


def _stacked(node: Node, values: Sequence[Value], dim: int) -> Ref:
    tensors = tuple(node.tensor(each) for each in values)
    return node.one("stack", tensors=tensors, dim=node.axis(dim, tensors[0]) if dim else 0)
