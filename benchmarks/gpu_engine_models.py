"""Models that :mod:`gpu_engine_machine` builds on a GPU, with inputs and what numpy makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """``limit`` is the largest relative L2 of an output: the rounding of its sums in float32."""

    text: str
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any]
    weights: Mapping[str, Any] = field(default_factory=dict[str, Any])
    limit: float = 1e-5

    def error_of(self, found: Mapping[str, Any]) -> float:
        """The largest relative L2 of the outputs, which must be within the limit."""
        assert {*found} == {*self.expected}
        error = 0.0
        for name, right in self.expected.items():
            assert found[name].shape == right.shape, name
            norm = float(np.linalg.norm(right))
            error = max(error, float(np.linalg.norm(found[name] - right)) / max(norm, 1e-30))
        assert error <= self.limit, f"relative L2 {error:.1e}"
        return error


ENCODER = """\
model encoder() {
  dim N = 1 .. 2 .. 8
  input x: float32[N, 64, 128]
  q = x -> query: Linear(128) -> reshape(N, 64, 4, 32) -> transpose(1, 2)
  k = x -> key: Linear(128) -> reshape(N, 64, 4, 32) -> transpose(1, 2)
  v = x -> value: Linear(128) -> reshape(N, 64, 4, 32) -> transpose(1, 2)
  scores = softmax(matmul(q, transpose(k, 2, 3)) * 0.17677669, -1)
  mixed = matmul(scores, v) -> transpose(1, 2) -> reshape(N, 64, 128) -> out: Linear(128)
  h = x + mixed -> norm: LayerNorm(128)
  output y = h + (h -> up: Linear(512) -> gelu -> down: Linear(128))
}
"""
_SHAPES = {
    **{f"{name}.weight": (128, 128) for name in ("query", "key", "value", "out")},
    **{f"{name}.bias": (128,) for name in ("query", "key", "value", "out", "norm", "down")},
    "norm.weight": (128,),
    "up.weight": (512, 128),
    "up.bias": (512,),
    "down.weight": (128, 512),
}
_ERF = np.vectorize(math.erf)


def _encoder() -> Case:
    random = np.random.default_rng(3)
    weights = {key: (random.standard_normal(shape) * 0.05).astype("f4") for key, shape in _SHAPES.items()}
    x = random.standard_normal((2, 64, 128)).astype("f4")
    return Case(ENCODER, {"x": x}, {"y": _encoded(x.astype("f8"), weights)}, weights)


def _encoded(x: Any, weights: Mapping[str, Any]) -> Any:
    """What :data:`ENCODER` computes."""

    def linear(name: str, given: Any) -> Any:
        return given @ weights[f"{name}.weight"].T.astype("f8") + weights[f"{name}.bias"]

    def heads(name: str) -> Any:
        return linear(name, x).reshape(-1, 64, 4, 32).transpose(0, 2, 1, 3)

    scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) * np.float32(0.17677669)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    mixed = (scores @ heads("value")).transpose(0, 2, 1, 3).reshape(-1, 64, 128)
    summed = x + linear("out", mixed)
    centred = summed - summed.mean(-1, keepdims=True)
    h = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    h = h * weights["norm.weight"] + weights["norm.bias"]
    up = linear("up", h)
    return h + linear("down", up * 0.5 * (1 + _ERF(up * math.sqrt(0.5))))


MASKED = """\
model masked() {
  dim N = 1 .. 4 .. 512
  input x: float32[N, 16]
  input keep: bool[N]
  output y = where(unsqueeze(keep, 1), matmul(x, transpose(x, 0, 1)), 0.0)
}
"""


def _masked() -> Case:
    random = np.random.default_rng(0)
    x, keep = random.standard_normal((64, 16)).astype("f4"), random.random(64) < 0.7
    y = np.where(keep[:, None], x.astype("f8") @ x.T.astype("f8"), 0)
    return Case(MASKED, {"x": x, "keep": keep}, {"y": y})


POOLS = """\
model pools() {
  input z: float32[1, 2, 320, 330]
  output mean = avg_pool2d(z, 320, 5)
  output largest = max_pool2d(z, 320, 5)
}
"""


def _pools() -> Case:
    z = np.random.default_rng(0).random((1, 2, 320, 330), dtype=np.float32)
    places = [z[..., start : start + 320].astype("f8") for start in (0, 5, 10)]
    found = {
        "mean": np.stack([place.mean((2, 3)) for place in places], -1),
        "largest": np.stack([place.max((2, 3)) for place in places], -1),
    }
    return Case(POOLS, {"z": z}, {name: array[:, :, None] for name, array in found.items()})


NONE = """\
model none_at_all() {
  input x: float32[2, 3]
  output y = cat([x, zeros(0, 3)], 0)
  output e = zeros(0, 3)
}
"""


def _none() -> Case:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Case(NONE, {"x": x}, {"y": x, "e": np.zeros((0, 3))}, limit=0)


CASES: Mapping[str, Case] = {
    "encoder": _encoder(),
    "masked": _masked(),
    "pools": _pools(),
    "none": _none(),
}
