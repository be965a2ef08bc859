"""An engine's protocol served by the CPU, and a network for it.

What the engine computes is the network of a text, weights and precision that each test chooses, so that it
may be right, coarse or another one. That engines run is checked on a GPU by `benchmarks/gpu.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import trtdsl
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, optimize
from trtdsl.reference import to_numpy
from trtdsl.trt.lower import lower
from trtdsl.trt.manifest import Manifest, make_manifest
from trtdsl.types import DType

TEXT = """model net() {
  dim N = 1 .. 2 .. 4
  input image: float32[N, 3, 8, 8]
  x = image -> conv: Conv2d(8, 3) -> bn: BatchNorm2d -> relu -> mean((2, 3))
  y = x -> fc1: Linear(8) -> relu
  x = x + y
  output scores = x -> head: Linear(4)
}
"""

Arrays = Mapping[str, np.ndarray]
Change = Callable[[Arrays], Arrays]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(image)).relu().mean((2, 3))
        return self.head(x + self.fc1(x).relu())


@dataclass(frozen=True)
class CpuEngine:
    """Outputs by a function; ``asked`` is what it was given, call by call."""

    manifest: Manifest
    compute: Change
    asked: list[Arrays] = dataclasses.field(default_factory=list)

    def __call__(self, **arrays: Any) -> Arrays:
        self.asked.append(arrays)
        return self.compute(arrays)


def engine_of(
    graph: Graph, change: Change = dict, computes_in: DType | None = None, **recorded: Any
) -> CpuEngine:
    """What an engine of the graph would compute, layer by layer rounded as its types say, then changed.

    ``recorded`` replaces fields of the manifest.
    """
    optimized = optimize(graph)
    lowered = lower(convert_precision(computes_in)(optimized) if computes_in else optimized)

    def compute(arrays: Arrays) -> Arrays:
        found = evaluate(lowered.network, arrays, weights=lowered.weights)
        return change({name: to_numpy(tensor) for name, tensor in found.items()})

    manifest = make_manifest(lowered, b"", CompileOptions(tf32=False))
    return CpuEngine(dataclasses.replace(manifest, **recorded), compute)


def never(arrays: Arrays) -> Arrays:
    raise AssertionError("the engine is run")


def scaled(error: float) -> Change:
    """Outputs with this relative error."""
    return lambda outputs: {name: array * np.float32(1 + error) for name, array in outputs.items()}


def state(net: nn.Module) -> dict[str, Any]:
    return {key: to_numpy(value) for key, value in net.state_dict().items()}


def graph_of(text: str, weights: Mapping[str, Any] | None = None) -> Graph:
    graph = trtdsl.elaborate_text(text, "net.trtnet")
    return graph if weights is None else trtdsl.bind(graph, weights).graph
