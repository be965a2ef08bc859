"""Modules with computed weights, by the keys that torch.nn.utils.parametrizations gives them."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tests.closeness import Expected, require_close
from trtdsl import reference
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.passes import optimize
from trtdsl.reference import to_numpy
from trtdsl.trt.lower import lower
from trtdsl.weights import bind

MODULES = {
    "Linear(5)": (nn.Linear(4, 5), (5, 4), (3, 4)),
    "Conv2d(6, (3, 2))": (nn.Conv2d(4, 6, (3, 2)), (6, 4, 3, 2), (3, 4, 7, 8)),
}


@pytest.mark.parametrize("call", MODULES)
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_computes_what_pytorch_does(name: str, call: str) -> None:
    layer, weight, shape = MODULES[call]
    module: Any = nn.ModuleDict({"m": type(layer)(*_sizes(layer))})
    getattr(parametrizations, name)(module["m"])
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.3, 1.0)
    module.eval()
    x = torch.randn(shape)
    with torch.no_grad():
        wanted = Expected(module["m"](x), lambda: copy.deepcopy(module).double()["m"](x.double()).detach())
    text = f"""import "std/parametrized.trtnet"
    model m {{
      input x: float32[{", ".join(map(str, shape))}]
      output y = m: {call}(x, weight = {name}("m", {list(weight)}))
    }}"""
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    graph = bind(elaborate_text(text), state).graph
    assert {each.key for each in graph.weights} == set(state)
    require_close(reference.run(graph, {"x": x})["y"], wanted, 1e-6)
    lowered = lower(optimize(graph))
    require_close(evaluate(lowered.network, {"x": x}, weights=lowered.weights)["y"], wanted, 1e-6)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_takes_the_keys_of_older_checkpoints(name: str) -> None:
    old: Any = nn.ModuleDict({"m": nn.Conv2d(4, 6, 3)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        getattr(nn.utils, name)(old["m"])
    old.eval()
    text = f"""import "std/parametrized.trtnet"
    model m {{
      input x: float32[2, 4, 7, 7]
      output y = m: Conv2d(6, 3)(x, weight = {name}("m", [6, 4, 3, 3]))
    }}"""
    state = {key: to_numpy(value) for key, value in old.state_dict().items()}
    assert not any("parametrizations" in key for key in state)
    bound = bind(elaborate_text(text), state)
    assert not bound.warnings
    x = torch.randn(2, 4, 7, 7)
    require_close(reference.run(bound.graph, {"x": x})["y"], old["m"](x).detach(), 1e-5)


def _sizes(layer: Any) -> tuple[Any, ...]:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels, layer.kernel_size
