"""Masks whose numbers a narrow type does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.command import trtdsl
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl import reference
from trtdsl.compile import optimize_graph
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, show
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, optimize
from trtdsl.passes.masks import within_range
from trtdsl.precision.in_precision import in_precision
from trtdsl.trt.lower import lower
from trtdsl.types import DType
from trtdsl.weights import bind

LOWEST = "-3.4028234663852886e38"


def graph_of(body: str) -> Graph:
    return elaborate_text(
        f"model m {{\n  dim N = 1 .. 2 .. 4\n  input x: float32[N, 4]\n  input m: bool[N, 4]\n  {body}\n}}\n",
        "m.trtnet",
    )


FILLED = f"output y = masked_fill(x, m, {LOWEST}) -> softmax(-1)"


@pytest.mark.parametrize(
    "body",
    [
        FILLED,
        f"output y = where(m, {LOWEST}, x) -> softmax(-1)",
        f"output y = x + to(m, float32) * {LOWEST} -> softmax(-1)",
        f"output y = where(m, full_like(x, {LOWEST}), x) -> softmax(-1)",
        "output y = masked_fill(x, m, -1e9) -> softmax(-1)",
    ],
)
@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
def test_hides_what_it_hid(body: str, dtype: DType) -> None:
    graph = graph_of(body)
    x = np.random.default_rng(1).standard_normal((3, 4)).astype("f4")
    m = np.array([[0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
    lowered = lower(convert_precision(dtype)(optimize(graph)))
    found = evaluate(lowered.network, {"x": x, "m": m}, weights=lowered.weights)["y"]
    wanted = reference.run(graph, {"x": x, "m": m})["y"]
    torch.testing.assert_close(found, wanted, rtol=2e-2, atol=2e-3)
    assert not bool(found.isnan().any())


def test_changes_the_number_and_says_so() -> None:
    graph = optimize(graph_of(FILLED))
    found = within_range(graph, DType.FLOAT16)
    assert "full((), -65504.0, dtype = float32)" in show(found.graph)
    (note,) = found.notes
    assert note.message == "-3.40282e+38 stands for infinity, and becomes -65504 in float16"
    assert note.severity == "note"
    assert note.span is not None and note.span.text == LOWEST
    assert within_range(found.graph, DType.FLOAT16) == (found.graph, ())
    assert within_range(graph, DType.FLOAT32) == (graph, ())


def test_what_is_folded_has_a_note_of_its_own() -> None:
    graph = graph_of(f"output y = unsqueeze(x, 1) + triu(full((4, 4), {LOWEST}), 1)")
    optimized = optimize_graph(graph, CompileOptions(precision="float16"))
    (weight,) = optimized.graph.weights
    assert weight.data is not None and weight.data.min() == -65504
    (note,) = optimized.notes
    assert note.message == f"numbers of `{weight.key}` stand for infinity, and become 65504 in float16"


def test_a_weight_may_be_a_mask() -> None:
    graph = graph_of("output y = x + (mask: Parameter(4))")
    held = bind(graph, {"mask": np.array([0, -3.4e38, -np.inf, 1], "f4")}).graph
    found = within_range(held, DType.FLOAT16)
    assert found.graph.weights[0].data is not None
    assert found.graph.weights[0].data.tolist() == [0, -65504, -np.inf, 1]
    large = bind(graph, {"mask": np.array([0, -3.4e38, 7e4, 1], "f4")}).graph
    assert within_range(large, DType.FLOAT16).graph is large
    with pytest.raises(DiagnosticError, match="cannot hold the weight `mask`"):
        convert_precision(DType.FLOAT16)(large)


@pytest.mark.parametrize("body", ["output y = x * 1e6", "output y = where(m, 1e6, x) + full_like(x, 1e6)"])
def test_a_factor_is_no_mask(body: str) -> None:
    with pytest.raises(DiagnosticError, match=r"in float16: `1000000\.0` does not fit"):
        convert_precision(DType.FLOAT16)(graph_of(body))


def test_a_body_has_masks_too() -> None:
    body = f"scan r in x with s = zeros(4) {{ s = masked_fill(s + r, s > 3, {LOWEST}) }} output y = s"
    (node,) = (
        n for n in convert_precision(DType.FLOAT16)(optimize(graph_of(body))).nodes if n.op.name == "scan"
    )
    numbers: list[Any] = [getattr(each.op, "fill_value", None) for each in node.bodies[0].nodes]
    assert -65504.0 in numbers and float(LOWEST) not in numbers


def test_what_tensorrt_may_compute_in_float16_is_bounded_too() -> None:
    graph = graph_of(FILLED)
    found, mixed, *_ = in_precision(graph, DType.FLOAT16, RecordingDialect(facts("8.5.3")))
    assert mixed and "-65504.0" in show(found)


def test_the_command_notes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.trtnet"
    path.write_text(f"model m {{\n  input x: float32[4]\n  output y = masked_fill(x, x > 1, {LOWEST})\n}}\n")
    arguments = ("compile", path, "--precision", "float16", "--target", "sm89", "-o", tmp_path / "m.engine")
    assert trtdsl(*arguments) == 0
    assert "note: -3.40282e+38 stands for infinity, and becomes -65504 in float16" in capsys.readouterr().err
    assert trtdsl(*arguments, "-q") == 0
    assert "note" not in capsys.readouterr().err
