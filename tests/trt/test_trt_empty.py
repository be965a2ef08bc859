"""Tensors without elements: TensorRT's 0 in a reshape means another length unless it is told."""

from __future__ import annotations

import numpy as np
import pytest

from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.reference import run, to_numpy
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower

WITHOUT = [
    "reshape(x[:, 3:], [N, 4, 0])",
    "reshape(x[:, 3:], [0, N])",
    "x[:, 3:] -> flatten(1) -> unsqueeze(1)",
    "x[:, 3:] -> flatten",
    "x[:, 3:] -> unsqueeze(0)",
    "x[:, 3:] -> flatten(0, 1) -> sum(0)",
    "cat([x, x[:, 3:]], 1)",
    "pad(x[:, 3:], (0, 0, 1, 0), value = 3)",
    "any(x[:, 3:], 1)",
    "all(x[:, 3:], (1, 2))",
]
"""No elements along the second dimension, whatever the batch."""

PERHAPS_WITHOUT = ["flatten(x)", "flatten(x, 1)", "unsqueeze(x, 0)", "reshape(x, [3 * N, 4])", "x + 1.0"]
"""No elements in an empty batch."""


@pytest.mark.parametrize("expression", WITHOUT)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_empty_tensors(expression: str, dtype: str) -> None:
    require_right(expression, dtype, smallest=1)


@pytest.mark.parametrize("expression", PERHAPS_WITHOUT)
def test_empty_batches(expression: str) -> None:
    require_right(expression, "float32", smallest=0)


def test_int8_is_padded_with_a_number() -> None:
    """TensorRT takes constants of int8 for quantised ones."""
    require_right("pad(x, (1, 2), value = 3)", "int8", smallest=1)


def require_right(expression: str, dtype: str, smallest: int) -> None:
    """Build it, and compute it at three sizes as PyTorch does."""
    text = f"model m() {{ dim N = {smallest} .. 2 .. 4  input x: {dtype}[N, 3, 4]  output y = {expression} }}"
    graph = elaborate_text(text)
    lowered = lower(graph)
    assert build(lowered)
    for count in (smallest, 2, 4):
        inputs = {"x": np.arange(12 * count).reshape(count, 3, 4).astype(dtype)}
        (expected,) = run(graph, inputs).values()
        (found,) = evaluate(lowered.network, inputs, weights=lowered.weights).values()
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.numpy(), to_numpy(expected))
