"""int8 by a recipe on TensorRT 8.5: what it is told, what it lacks, and what it would compute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.compile import Optimized, optimize_graph
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.options import CompileOptions
from trtdsl.precision.pipeline import narrow, policy_of
from trtdsl.precision.possible import require_possible
from trtdsl.recipe import Recipe
from trtdsl.reference import random_weights, run
from trtdsl.trt.dialect import Dialect, load_runtime
from trtdsl.trt.lower import LoweredNetwork, lower
from trtdsl.types import DType

MODEL = """
model m() {
  dim N = 1 .. 4 .. 8
  input x: float32[N, 16, 8, 8]
  h = x -> conv1: Conv2d(32, 3) -> relu -> conv2: Conv2d(32, 3) -> relu
  output y = mean(h, (2, 3)) -> fc: Linear(16)
}
"""
ONE = "model m { input x: float32[4, 64]  output y = fc: Linear(64)(x) }"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).normal(0, 1, (6, 16, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=array)
    return tmp_path / "d.npz"


def narrowed(data: Path, dialect: Any, **words: Any) -> Optimized:
    given: dict[str, Any] = {"precision": "int8", "calibrate": data, **words}
    options = CompileOptions(recipe=Recipe(**given))
    return optimize_graph(random_weights(elaborate_text(MODEL), 1), options, dialect)


def lowered(optimized: Optimized, dialect: RecordingDialect) -> LoweredNetwork:
    return lower(optimized.graph, dialect, mixed=optimized.mixed)


def products(graph: Graph) -> int:
    return sum(weight.key.endswith("pre_quant_scale") for weight in graph.weights)


@pytest.mark.parametrize("around", ["float16", "float32"])
def test_8_5_computes_what_the_quantised_graph_does(data: Path, around: str) -> None:
    dialect = RecordingDialect(facts("8.5.3"))
    found = narrowed(data, dialect, around=around)
    network = lowered(found, dialect)
    inputs = {"x": np.load(data)["x"][:4]}
    computed = evaluate(dialect.network, inputs, weights=network.weights)["y"]
    torch.testing.assert_close(computed, run(found.graph, inputs)["y"], rtol=1e-4, atol=1e-4)
    assert found.mixed == (around == "float16")


@pytest.mark.parametrize("around", ["float16", "float32"])
def test_8_5_may_choose_the_types_around_quantised_tensors(data: Path, around: str) -> None:
    dialect = RecordingDialect(facts("8.5.3"))
    lowered(narrowed(data, dialect, around=around), dialect)
    assert not [use for use in dialect.uses if use.member == "precision"]
    # The same text without them is pinned.
    lower(random_weights(elaborate_text(MODEL)), dialect)
    assert [use for use in dialect.uses if use.member == "precision"]


def test_nothing_is_multiplied_for_equalisation_on_8_5(data: Path) -> None:
    newer = narrowed(data, load_runtime("tensorrt_rtx"))
    older = narrowed(data, RecordingDialect(facts("8.5.3")))
    assert (products(newer.graph), products(older.graph)) == (2, 0)
    assert newer.narrowed and older.narrowed
    assert older.narrowed.alphas.keys() == {"conv2"}
    assert newer.narrowed.alphas.keys() == {"conv1", "conv2", "fc"}


@pytest.mark.parametrize(
    ("words", "lacking"),
    [({"precision": "float8"}, "no float8_e4m3fn"), ({"around": "bfloat16"}, "no bfloat16")],
)
def test_what_8_5_lacks_is_said_before_anything_is_run(
    data: Path, words: dict[str, Any], lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtdsl.precision.pipeline.calibrate", lambda *given, **options: 1 / 0)
    with pytest.raises(UsageError, match=f"{lacking}: TensorRT 10 and TensorRT-RTX have[^`]*`--for 10.0`"):
        narrowed(data, RecordingDialect(facts("8.5.3")), **words)


def ways_out(text: str, targets: Sequence[str] = (), **words: Any) -> Sequence[str]:
    """What is said of a model by whose recipe nothing becomes narrow, behind the reasons."""
    graph = random_weights(elaborate_text(text))
    recipe = Recipe(precision="int8", scales="none.json", **words)
    policy = policy_of(recipe, targets)
    with pytest.raises(UsageError, match="no layer of `m` would be computed in int8") as error:
        require_possible(graph, recipe, policy, DType.FLOAT16, None)
    return [line for line in error.value.diagnostics[0].help if not line[0].isdigit()]


def test_what_would_let_a_layer_become_narrow() -> None:
    conv = "model m {{ input x: float32[4, 16, 8, 8]  output y = x -> c: Conv2d({}, 3) }}"
    sm80 = "sm80 is the first that computes convolutions in int8"
    allow = "`--allow int8='*'` lets rules of size not count"
    assert ways_out(conv.format(8)) == [allow]
    assert ways_out(conv.format(16), keep={"float16": "c"}) == []
    assert ways_out(conv.format(16), targets=("sm75",)) == [sm80]


def test_float8_without_a_target_is_warned_of(data: Path) -> None:
    rtx = load_runtime("tensorrt_rtx")
    (note,) = narrowed(data, rtx, precision="float8", allow={"float8": "*"}).notes
    assert (
        "the default targets begin with sm80, and an engine in float8_e4m3fn runs from sm89" in note.message
    )
    assert narrowed(data, rtx).notes == ()


@pytest.mark.parametrize("precision", ["nvfp4", "mxfp8"])
def test_blocks_without_a_target_are_warned_of(tmp_path: Path, precision: str) -> None:
    graph = random_weights(elaborate_text(ONE))
    np.savez(tmp_path / "d.npz", x=np.ones((4, 64), np.float32))
    recipe = Recipe(precision=precision, calibrate=tmp_path / "d.npz")
    rtx = load_runtime("tensorrt_rtx")
    (note,) = narrow(graph, recipe, dialect=rtx).notes
    assert note.severity == "warning"
    assert (
        f"the default targets begin with sm80, and an engine in {precision} runs from sm100" in note.message
    )
    assert narrow(graph, recipe, ["sm120"], rtx).notes == ()


@pytest.mark.parametrize(
    ("precision", "here", "least"),
    [("float8", "sm86", 89), ("nvfp4", "sm90", 100), ("mxfp8", "sm90", 100), ("int8", "sm70", None)],
)
def test_what_the_gpu_at_hand_lacks_is_refused_where_there_is_no_other(
    precision: str, here: str, least: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = random_weights(elaborate_text(ONE))
    monkeypatch.setattr("trtdsl.trt.dialect.compute_capability", lambda: here)
    rtx = load_runtime("tensorrt_rtx")
    dialect = Dialect("tensorrt", SimpleNamespace(DataType=rtx.trt.DataType), rtx.facts, rtx.log)
    words: dict[str, Any] = {} if precision == "mxfp8" else {"scales": "none.json"}
    recipe = Recipe(precision=precision, **words)

    def tried(targets: Sequence[str]) -> None:
        policy = policy_of(recipe, targets)
        require_possible(graph, recipe, policy, DType.FLOAT16, dialect)

    tried(["sm120"])
    if least is None:
        tried([])
        return
    with pytest.raises(UsageError, match=f"this machine is {here}, and sm{least} is the first that has"):
        tried([])
