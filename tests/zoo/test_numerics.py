"""Every example computes what its PyTorch module does: the graph, after each pass, and as TensorRT layers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tests.closeness import Expected, allowance, distance, perturbed, require_close
from tests.zoo.oracles import calibrated, random_inputs
from tests.zoo.test_examples import ZOO, Example, elaborate
from trtdsl import reference
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.passes import PIPELINE
from trtdsl.reference import to_numpy
from trtdsl.trt.lower import lower
from trtdsl.weights import bind

LIMIT = 2e-6
"""Relative L2 error beside PyTorch's own in float32, which the layers add up like a random walk: 3e-7 over
the 20 of ResNet-18, 3e-6 in VGG-19, and on other processors three times that. Folded and lowered networks
come within 1.1 times PyTorch's own error of float64."""

SMALL = ("cnn", "article", "lenet")
"""Models of small images, tried at the minimum, optimum and maximum of their profile. The others are tried
with 1 and 2 images: no layer of the network knows the batch but as a dynamic dimension, which 1 alone could
hide."""

QUICK = (
    *SMALL,
    *("squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5"),
    *("resnet18", "googlenet", "densenet121", "efficientnet_b0", "vit_tiny_patch16_224"),
)
"""What runs without being asked for."""


def examples() -> list[Any]:
    marks = {example.name: [] if example.name in QUICK else [pytest.mark.zoo] for example in ZOO}
    return [pytest.param(example, id=example.name, marks=marks[example.name]) for example in ZOO]


@pytest.mark.parametrize("example", examples())
def test_computes_what_pytorch_does(example: Example) -> None:
    module = calibrated(example)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    written = bind(elaborate(example), state).graph
    optimized = _held_after_each_pass(written, module, random_inputs(example, 2))
    lowered = lower(optimized)
    for batch in _batches(example, written):
        inputs = random_inputs(example, batch, seed=batch)
        (found,) = evaluate(lowered.network, inputs, weights=lowered.weights).values()
        require_close(found, _expected(module, inputs), LIMIT)


def _held_after_each_pass(graph: Graph, module: nn.Module, inputs: dict[str, torch.Tensor]) -> Graph:
    """The optimised graph, the reference held against the module before all passes and after each."""
    expected = _expected(module, inputs)
    _require_alive(expected.own)
    (before,) = reference.run(graph, inputs).values()
    require_close(before, expected, LIMIT)
    for step in PIPELINE:
        changed = step(graph)
        if changed is graph:
            continue
        graph = changed
        (after,) = reference.run(graph, inputs).values()
        if not step.tolerance:
            assert torch.equal(after, before), step.name
        require_close(after, expected, LIMIT)
        before = after
    return graph


def _require_alive(outputs: torch.Tensor) -> None:
    """Two images have two answers, or nothing was tested."""
    first, second = outputs[0], outputs[1]
    assert (first - second).norm() >= 1e-2 * first.norm()


def _batches(example: Example, graph: Graph) -> tuple[int, ...]:
    return graph.profiles[0].ranges["N"] if example.name in SMALL else (1, 2)


def _expected(module: nn.Module, inputs: dict[str, torch.Tensor]) -> Expected:
    def in_float64() -> torch.Tensor:
        with torch.inference_mode():
            return copy.deepcopy(module).double()(*(value.double() for value in inputs.values()))

    with torch.inference_mode():
        return Expected(module(*inputs.values()), in_float64)


def test_a_wrong_epsilon_is_seen() -> None:
    """1e-3 for 1e-5 in every normalisation of ResNet-18: the smallest of likely mistakes."""
    example = next(example for example in ZOO if example.name == "resnet18")
    module = calibrated(example)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.eps = 1e-3
    inputs = random_inputs(example, 2)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    (found,) = reference.run(elaborate(example), inputs, state).values()
    expected = _expected(module, inputs)
    assert distance(found, expected.exact) > 10 * allowance(expected, LIMIT)


def test_a_slightly_wrong_weight_is_seen() -> None:
    """A hundredth of an eighth of one kernel of ResNet-18, whichever block it is in."""
    example = next(example for example in ZOO if example.name == "resnet18")
    module, inputs = calibrated(example), random_inputs(example, 2)
    expected = _expected(module, inputs)
    graph = bind(
        elaborate(example), {key: to_numpy(value) for key, value in module.state_dict().items()}
    ).graph
    for key, weights in perturbed(graph, 1.01):
        if key.endswith("conv2.weight"):
            (found,) = reference.run(graph, inputs, weights).values()
            assert distance(found, expected.exact) > 10 * allowance(expected, LIMIT), key
