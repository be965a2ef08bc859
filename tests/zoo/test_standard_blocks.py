"""The blocks of the standard library that are modules of PyTorch have their keys and compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from tests.closeness import distance
from trtdsl import reference
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.passes import optimize
from trtdsl.reference import to_numpy
from trtdsl.trt.lower import lower
from trtdsl.types import DType
from trtdsl.weights import bind


def check(text: str, module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> None:
    """A text with the module's weights under the label `m`, as written and as lowered after all passes."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.1, 0.3)
    with torch.no_grad():
        # Eval mode has a shortcut that differs between releases; without dropout nothing else differs.
        wanted = module.train()(*inputs.values())
    state = {f"m.{key}": to_numpy(value) for key, value in module.state_dict().items()}
    graph = bind(elaborate_text(text), state).graph
    assert {weight.key for weight in graph.weights} == set(state)
    lowered = lower(optimize(graph))
    (found,) = evaluate(lowered.network, dict(inputs), weights=lowered.weights).values()
    (meant,) = reference.run(graph, inputs).values()
    assert distance(meant, wanted) < 2e-6
    assert distance(found, wanted) < 5e-6


def declared(inputs: Mapping[str, torch.Tensor]) -> str:
    """The inputs' declarations, their batch and lengths dynamic."""
    names = {2: "N", 5: "L", 6: "S"}
    lines = [f"dim {name} = 1 .. {size} .. 9" for size, name in names.items()]
    for name, value in inputs.items():
        dtype = DType(str(value.dtype).removeprefix("torch."))
        lines.append(f"input {name}: {dtype}[{', '.join(str(names.get(d, d)) for d in value.shape)}]")
    return "\n".join(lines)


def model(inputs: Mapping[str, torch.Tensor], call: str) -> str:
    body = f"{declared(inputs)}\noutput y = m: {call}({', '.join(inputs)})"
    return f'import "std/transformer.trtnet"\nmodel m {{ {body} }}'


CAUSAL = torch.ones(5, 5, dtype=torch.bool).triu(1)
PADDED = torch.tensor([[False] * 5, [False, False, False, True, True]])
NARROW: dict[str, Any] = {"dropout": 0.0, "dim_feedforward": 16}
CONFIGURATIONS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"norm_first": True}, "norm_first = true"),
    ({"activation": nn.functional.gelu, "bias": False}, "activation = gelu, bias = false"),
    ({"layer_norm_eps": 0.1}, "layer_norm_eps = 0.1"),
]


def written(*parts: str) -> str:
    return ", ".join(part for part in ("dim_feedforward = 16", *parts) if part)


@pytest.mark.parametrize(("given", "text"), CONFIGURATIONS)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_encoder_layers(given: dict[str, Any], text: str, batch_first: bool, masked: bool) -> None:
    x = torch.randn((2, 5, 8) if batch_first else (5, 2, 8))
    inputs = {"x": x} | ({"mask": CAUSAL, "padding": PADDED} if masked else {})
    module = nn.TransformerEncoderLayer(8, 4, batch_first=batch_first, **NARROW, **given)
    first = f"batch_first = {str(batch_first).lower()}"
    check(model(inputs, f"TransformerEncoderLayer(4, {written(text, first)})"), module, inputs)


@pytest.mark.parametrize(("given", "text"), CONFIGURATIONS)
@pytest.mark.parametrize("masked", [True, False])
def test_decoder_layers(given: dict[str, Any], text: str, masked: bool) -> None:
    inputs = {"x": torch.randn(2, 5, 8), "memory": torch.randn(2, 6, 8)}
    if masked:
        far = torch.zeros(5, 6, dtype=torch.bool).fill_diagonal_(True)
        late = torch.tensor([[False] * 6, [False, False, False, False, False, True]])
        inputs |= {"a": CAUSAL, "b": far, "c": PADDED, "d": late}
    module = nn.TransformerDecoderLayer(8, 2, batch_first=True, **NARROW, **given)
    call = f"TransformerDecoderLayer(2, {written(text, 'batch_first = true')})"
    check(model(inputs, call), module, inputs)


@pytest.mark.parametrize("norm", [True, False])
def test_encoders(norm: bool) -> None:
    inputs = {"x": torch.randn(5, 2, 8), "mask": CAUSAL, "padding": PADDED}
    layer = nn.TransformerEncoderLayer(8, 2, **NARROW)
    module = nn.TransformerEncoder(layer, 3, nn.LayerNorm(8) if norm else None, enable_nested_tensor=False)
    last = ", norm = LayerNorm(8)" if norm else ""
    call = f"TransformerEncoder(TransformerEncoderLayer(2, {written()}), 3{last})"
    check(model(inputs, call), module, inputs)


@pytest.mark.parametrize("norm", [True, False])
def test_decoders(norm: bool) -> None:
    inputs = {"x": torch.randn(5, 2, 8), "memory": torch.randn(6, 2, 8), "mask": CAUSAL}
    layer = nn.TransformerDecoderLayer(8, 2, norm_first=True, **NARROW)
    module = nn.TransformerDecoder(layer, 2, nn.LayerNorm(8) if norm else None)
    last = ", norm = LayerNorm(8)" if norm else ""
    call = f"TransformerDecoder(TransformerDecoderLayer(2, {written('norm_first = true')}), 2{last})"
    check(model(inputs, call), module, inputs)
