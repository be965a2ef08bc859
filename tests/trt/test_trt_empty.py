"""Tensors without elements: TensorRT's 0 in a reshape means another length unless it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.reference import random_weights, run, to_numpy
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


CONSTANTS = [
    "zeros(0, 3)",
    "zeros(0, 3) + 1",
    "cat([x, zeros(0, 3)], 0)",
    "matmul(x, zeros(3, 0))",
    "sum(zeros(0, 3), 0) + x",
    "reshape(zeros(0, 3), 3, 0)",
    "arange(0)",
    "tensor([])",
    "zeros(0, 3) == 1.0",
    "to(zeros(0, 3), float16)",
    "to(zeros(0, 3), uint8)",
    "to(zeros(0, 3), int8)",
    "cat([x, extra: Parameter(0, 3)], 0)",
    "extra: Parameter(0, 3)",
    "fc: Linear(4)(x[:, 3:])",
    "norm: LayerNorm(0)(x[:, 3:])",
    "act: PReLU(0)(x[:, 3:])",
]
"""Constants and weights without elements."""


@pytest.mark.parametrize("expression", CONSTANTS)
def test_constants_and_weights_without_elements(expression: str) -> None:
    graph, inputs, expected = on_two_rows(expression)
    lowered = lower(graph)
    assert build(lowered)
    (found,) = evaluate(lowered.network, inputs, weights=lowered.weights).values()
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), to_numpy(expected))


@pytest.mark.parametrize("expression", [each for each in CONSTANTS if "int8" not in each])
def test_the_oldest_release_has_them_too(expression: str) -> None:
    """Its integers are of 32 bits, and int8 is for quantised values only."""
    graph, inputs, expected = on_two_rows(expression)
    dialect = RecordingDialect(facts("8.5.3"))
    lowered = lower(graph, dialect)
    (found,) = evaluate(dialect.network, inputs, weights=lowered.weights).values()
    np.testing.assert_array_equal(found.numpy(), to_numpy(expected))


def on_two_rows(expression: str) -> tuple[Graph, dict[str, Any], Any]:
    """A model of ``x: float32[2, 3]``, its input, and what PyTorch computes."""
    text = f"model m() {{ input x: float32[2, 3]  output y = {expression} }}"
    graph = random_weights(elaborate_text(text), seed=0)
    inputs = {"x": np.arange(6, dtype="f4").reshape(2, 3)}
    (expected,) = run(graph, inputs).values()
    return graph, inputs, expected


@pytest.mark.parametrize(
    ("place", "input"),
    [
        ("c: Conv1d(3, 1)", "2, 0, 4"),
        ("c: Conv2d(3, 1)", "0, 4, 4"),
        ("c: ConvTranspose1d(3, 1)", "2, 0, 4"),
        ("max_pool1d(2)", "2, 0, 4"),
        ("adaptive_avg_pool2d(2)", "2, 0, 4, 4"),
        ("c: BatchNorm1d()", "2, 0, 4"),
        ("c: InstanceNorm1d(affine = true)", "2, 0, 4"),
    ],
)
def test_what_needs_channels_is_refused_at_its_place(place: str, input: str) -> None:
    """As PyTorch refuses most of them; of a convolution without a kernel it makes no numbers."""
    with pytest.raises(DiagnosticError, match="needs elements along dimension") as error:
        elaborate_text(f"model m() {{ input x: float32[{input}]  output y = x -> {place} }}")
    assert error.value.diagnostics[0].span is not None


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
