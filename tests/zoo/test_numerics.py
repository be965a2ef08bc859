"""Every example computes what its PyTorch module does: the graph, after each pass, and as TensorRT layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import nn

from benchmarks.zoo_entries import BATCH, Entry
from tests.closeness import Expected, allowance, distance, perturbed, require_close
from tests.zoo.entries import BY_NAME, ZOO, elaborate, parameters, parts, points, random_inputs
from tests.zoo.oracles import calibrated, expected
from trtdsl import reference
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, Value
from trtdsl.passes import PIPELINE
from trtdsl.reference import to_numpy
from trtdsl.trt.lower import lower
from trtdsl.types import symbols
from trtdsl.weights import bind

LIMIT = 2e-6
"""Relative L2 error beside PyTorch's own in float32, which the layers add up like a random walk: 3e-7 over
the 20 of ResNet-18, 3e-6 in VGG-19, and on other processors three times that. Folded and lowered networks
come within 1.1 times PyTorch's own error of float64."""


@pytest.mark.parametrize("entry", parameters(ZOO))
def test_computes_what_pytorch_does(entry: Entry) -> None:
    written = elaborate(entry)
    module = calibrated(entry, written)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    written = bind(written, state).graph
    sizes = points(entry, written)
    optimized = _held_after_each_pass(entry, written, module, {**sizes[:2][-1], BATCH: 2})
    lowered = lower(optimized)
    for seed, each in enumerate(sizes, 1):
        inputs = random_inputs(entry, written, each, seed)
        found = evaluate(lowered.network, inputs, weights=lowered.weights)
        _require_all_close(entry, found, expected(module, inputs))


def _held_after_each_pass(entry: Entry, graph: Graph, module: nn.Module, sizes: dict[str, int]) -> Graph:
    """The optimised graph, the reference held against the module before all passes and after each."""
    inputs = random_inputs(entry, graph, sizes)
    wanted = expected(module, inputs)
    _require_alive(entry, graph, wanted, lambda: expected(module, random_inputs(entry, graph, sizes, 1)))
    before = reference.run(graph, inputs)
    _require_all_close(entry, before, wanted)
    for step in PIPELINE:
        changed = step(graph)
        if changed is graph:
            continue
        graph = changed
        after = reference.run(graph, inputs)
        if not step.tolerance:
            assert all(torch.equal(value, before[name]) for name, value in after.items()), step.name
        _require_all_close(entry, after, wanted)
        before = after
    return graph


def _require_all_close(entry: Entry, found: Mapping[str, torch.Tensor], wanted: Sequence[Expected]) -> None:
    """Every output near enough, in the text's order, and every part of one."""
    assert len(found) == len(wanted)
    for (name, one), other in zip(found.items(), wanted, strict=True):
        for part in parts(entry, name):
            exact = Expected(part(other.own), lambda part=part, other=other: part(other.exact))
            require_close(part(one), exact, LIMIT)


def _require_alive(
    entry: Entry, graph: Graph, outputs: Sequence[Expected], others: Callable[[], Sequence[Expected]]
) -> None:
    """Two samples have two answers in each output and each part of one, or nothing was tested: those of the
    batch, or where an output has none, those of other inputs."""
    for i, (output, each) in enumerate(zip(graph.outputs, outputs, strict=True)):
        for part in parts(entry, output.name) if each.own.is_floating_point() else ():
            axis = _batch_axis(output.value)
            found = (each.own, others()[i].own) if axis is None else each.own.chunk(2, axis)
            first, second = map(part, found)
            assert (first - second).norm() >= 1e-2 * first.norm(), output.name


def _batch_axis(value: Value) -> int | None:
    """The axis of a tensor along which the samples of a batch stand."""
    batched = (i for i, dim in enumerate(value.type.shape) if BATCH in {s.name for s in symbols(dim)})
    return next(batched, None)


def test_a_wrong_epsilon_is_seen() -> None:
    """1e-3 for 1e-5 in every normalisation of ResNet-18: the smallest of likely mistakes."""
    entry = BY_NAME["resnet18"]
    graph, module = elaborate(entry), calibrated(entry)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.eps = 1e-3
    inputs = random_inputs(entry, graph, {BATCH: 2})
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    (found,) = reference.run(graph, inputs, state).values()
    (wanted,) = expected(module, inputs)
    assert distance(found, wanted.exact) > 10 * allowance(wanted, LIMIT)


def test_a_slightly_wrong_weight_is_seen() -> None:
    """A hundredth of an eighth of one kernel of ResNet-18, whichever block it is in."""
    entry = BY_NAME["resnet18"]
    graph, module = elaborate(entry), calibrated(entry)
    inputs = random_inputs(entry, graph, {BATCH: 2})
    (wanted,) = expected(module, inputs)
    graph = bind(graph, {key: to_numpy(value) for key, value in module.state_dict().items()}).graph
    for key, weights in perturbed(graph, 1.01):
        if key.endswith("conv2.weight"):
            (found,) = reference.run(graph, inputs, weights).values()
            assert distance(found, wanted.exact) > 10 * allowance(wanted, LIMIT), key
