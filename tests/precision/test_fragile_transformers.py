"""Transformers that float16 ruins where every operator computes in it, and that are right by the policy.

Each is computed as TensorRT rounds, on other inputs than the ranges were checked with, and held against
float64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate, elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, rebuild
from trtdsl.passes import convert_precision, optimize
from trtdsl.precision.lower_floats import LoweredFloats, lower_by_recipe
from trtdsl.recipe import Recipe
from trtdsl.reference import random_weights, run
from trtdsl.trt.lower import lower
from trtdsl.types import DType

T5 = Path(__file__).parents[2] / "examples" / "t5" / "t5.trtnet"

WRITTEN_OUT = ("recognise_attention", "fold_scales")
"""The passes without which a model stays as it is written: attention as products, masks that are added, and a
softmax; layer scales as factors of their own, whose folding takes the large numbers before them away."""

BLOCKS = """
block Attention()(x: [N, S, D], mask) {
  q, k, v = [
    x -> "{name}": Linear(D) -> reshape(N, S, 4, D // 4) -> transpose(1, 2) for name in ["q", "k", "v"]
  ]
  scores = q @ transpose(k, -1, -2) / (D // 4) ** 0.5 + mask
  return softmax(scores, -1) @ v -> transpose(1, 2) -> flatten(2) -> o: Linear(D)
}

block Perceptron()(x: [N, S, D]) {
  return x -> up: Linear(4 * D) -> gelu -> down: Linear(D)
}

block Layer()(x: [N, S, D], mask) {
  x = x + ((x -> norm1: LayerNorm(D), mask) -> attention: Attention)
  return x + (x -> norm2: LayerNorm(D) -> perceptron: Perceptron)
}

block ScaledLayer()(x: [N, S, D], mask) {
  scale1 = scale1: Parameter(D)
  scale2 = scale2: Parameter(D)
  x = x + scale1 * ((x -> norm1: LayerNorm(D), mask) -> attention: Attention)
  return x + scale2 * (x -> norm2: LayerNorm(D) -> perceptron: Perceptron)
}
"""

MODEL = """
model m {
  dim N = 1 .. 2 .. 8
  input tokens: int64[N, 12] in 0 .. 99
  input kept: int64[N, 12] in 0 .. 1
  MASK
  x = tokens -> embed: Embedding(100, 64)
  for i in range(3) {
    x = (x, mask) -> "layers.{i}": LAYER
  }
  output y = x -> norm: LayerNorm(64) -> head: Linear(16)
}
"""

MASK = "mask = (1.0 - to(kept, float32))[:, none, none] * -1e9"
NO_MASK = "mask = to(kept, float32)[:, none, none]"


def text(layer: str, mask: str) -> str:
    return BLOCKS + MODEL.replace("LAYER", layer).replace("MASK", mask)


@dataclass(frozen=True)
class Fragile:
    """A model and what its weights are multiplied by, by the ends of their keys.

    ``names`` are labels, or operators where there are none, that must stay float32.
    """

    text: str
    factors: Mapping[str, float]
    names: frozenset[str]
    filled: Mapping[str, float] = field(default_factory=dict[str, float])
    data: bool = True

    def graph(self, skip: Collection[str] = WRITTEN_OUT) -> Graph:
        if self.text == "t5":
            defines: dict[str, Any] = {"width": 64, "depth": 3, "heads": 2, "hidden": 128, "head_width": 32}
            source = T5.read_text(encoding="utf-8")
            found = elaborate(source, str(T5), "t5", {**defines, "vocabulary": 100}).graph
        else:
            found = elaborate_text(self.text)
        found = random_weights(found, seed=3)
        new: dict[Any, Any] = {}
        for weight in found.weights:
            factor = next((f for end, f in self.factors.items() if weight.key.endswith(end)), 1.0)
            fill = next((f for end, f in self.filled.items() if weight.key.endswith(end)), None)
            assert weight.data is not None
            data = weight.data * np.float32(factor) if fill is None else np.full_like(weight.data, fill)
            new[weight] = weight.replace(data=data)
        return optimize(rebuild(found, found.nodes, new), skip=skip)

    def inputs(self, seed: int, count: int) -> dict[str, np.ndarray[Any, Any]]:
        random = np.random.default_rng(seed)
        length = 64 if self.text == "t5" else 12
        tokens = random.integers(0, 100, (count, length))
        kept = (np.arange(length) < random.integers(length // 2, length, (count, 1))).astype(np.int64)
        if self.text == "t5":
            return {"input_ids": tokens, "attention_mask": kept}
        kept[0] = 0  # A sample of nothing but padding, as batches are filled up with.
        return {"tokens": tokens, "kept": kept}


FRAGILE = {
    "T5's feed-forward": Fragile("t5", {"wo.weight": 3e4}, frozenset({"DenseReluDense.wo", "add"})),
    "masks of -1e9": Fragile(text("Layer", MASK), {}, frozenset({"mul", "add"}), data=False),
    "layer scales": Fragile(
        text("ScaledLayer", NO_MASK),
        {"down.weight": 1e5, "o.weight": 1e5},
        frozenset({"perceptron.down", "mul"}),
        {"scale1": 1e-6, "scale2": 1e-6},
    ),
    "a large residual stream": Fragile(
        text("Layer", NO_MASK),
        {"embed.weight": 1e5, "down.weight": 1e5},
        frozenset({"add", "norm1", "norm2"}),
    ),
}


def computed(graph: Graph, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The output as TensorRT computes it."""
    network = lower(graph)
    (found,) = evaluate(network.network, inputs, weights=network.weights).values()
    return found


def by_policy(fragile: Fragile, dtype: DType, folder: Path, skip: Collection[str]) -> LoweredFloats:
    recipe = Recipe(precision=dtype)
    if fragile.data:
        np.savez(folder / "data.npz", **fragile.inputs(seed=1, count=4))  # pyright: ignore[reportArgumentType]
        recipe = Recipe(precision=dtype, calibrate=folder / "data.npz")
    return lower_by_recipe(fragile.graph(skip), dtype, recipe)


@pytest.mark.parametrize("name", FRAGILE)
def test_float16_throughout_ruins_it(name: str) -> None:
    fragile = FRAGILE[name]
    inputs = fragile.inputs(seed=2, count=3)
    try:
        found = computed(convert_precision(DType.FLOAT16)(fragile.graph()), inputs)
    except DiagnosticError as error:
        # The number cannot even be written down. Where the mask is an input, it becomes infinite.
        assert name == "masks of -1e9" and "`-1000000000.0` does not fit float16" in str(error)
        given = text("Layer", "input mask: float32[N, 1, 1, 12]")
        graph = Fragile(given, {}, frozenset()).graph()
        mask = np.where(inputs["kept"][:, None, None] == 1, 0, -1e9).astype("f4")
        found = computed(convert_precision(DType.FLOAT16)(graph), {**inputs, "mask": mask})
    assert bool(found.isnan().any())


@pytest.mark.parametrize("name", FRAGILE)
@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16], ids=str)
@pytest.mark.parametrize("skip", [WRITTEN_OUT, ()], ids=["written out", "fused"])
def test_the_policy_keeps_it_right(name: str, dtype: DType, skip: Collection[str], tmp_path: Path) -> None:
    fragile = FRAGILE[name]
    inputs = fragile.inputs(seed=2, count=3)
    found = by_policy(fragile, dtype, tmp_path, skip)
    result = computed(found.graph, inputs)
    (wanted,) = run(fragile.graph(), inputs, in_float64=True).values()
    assert bool(result.isfinite().all())
    if fragile.text != "t5":
        # Of padding alone -1e9 leaves no digit of the scores in float32, and all of them in float64.
        result, wanted = result[1:], wanted[1:]
    error = float((result - wanted).norm() / wanted.norm())
    assert error < convert_precision(dtype).tolerance
    if dtype is DType.FLOAT16 and skip:
        stayed = [*(each.label for each in found.stayed), *(each.node.op.name for each in found.stayed)]
        assert [part for part in fragile.names if not any(each.endswith(part) for each in stayed)] == []
    # What is most of the work is narrow all the same; a layer's work grows with its weights.
    work: Counter[DType] = Counter()
    for node in found.graph.nodes:
        if node.op.name == "Linear":
            weight = node.operand("weight")
            size = weight.type.size if weight else 0
            assert isinstance(size, int)
            work[node.result.type.dtype] += size
    assert 2 * work[dtype] > work.total()
