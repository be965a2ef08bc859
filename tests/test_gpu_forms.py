"""Forms of a lowering: they are built beside each other, and compute the same."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import trtdsl.trt.lower
from tests.benchmark_scripts import BENCHMARKS, load, run
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.compile import optimize_graph
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.options import CompileOptions
from trtdsl.reference import random_inputs, random_weights

FORMS = """
from pathlib import Path
from trtdsl.ops import linear
from trtdsl.ops.linear import Linear

def touched():
    "Sets an input anew."
    def edit(network):
        layer = network.get_layer(1)
        layer.set_input(0, layer.get_input(0))
        print(network.num_layers, "layers")
    return edit

def wrong():
    _fail()

def _fail():
    raise SystemExit("no such form")
"""


def test_forms_of_a_lowering_are_built_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(load("gpu_reference", monkeypatch), monkeypatch, tmp_path, "--models", "cnn", "--device", "cpu")
    script = load("gpu_forms", monkeypatch)
    (tmp_path / "few.py").write_text(FORMS)
    assert [*script.read_forms(tmp_path / "few.py")] == ["touched", "wrong"]
    out = tmp_path / "out"
    options = ("--models", "cnn", "--runtime", "tensorrt_rtx", "--dry-run", "--twice")
    run(script, monkeypatch, tmp_path, out, tmp_path / "few.py", *options)
    names = {path.name for path in (out / "cnn").glob("*.engine")}
    made = ("unchanged", "unchanged.2", "touched", "touched.2")
    assert names == {"float16.onnx.engine", *(f"float16-{form}.engine" for form in made)}
    assert " layers\n" in (out / "logs" / "build.cnn.touched.log").read_text()
    failed = out / "logs" / "build.cnn.wrong.log"
    assert "no such form" in failed.read_text()
    assert f"| cnn | wrong | ended with 1: {failed} |" in (out / "forms.md").read_text()
    capsys.readouterr()
    run(script, monkeypatch, tmp_path, out, tmp_path / "few.py", *options)
    assert "touched" not in capsys.readouterr().out  # is there already
    one = tmp_path / "one"
    run(script, monkeypatch, tmp_path, one, tmp_path / "few.py", *options, "--same-timings")
    assert {path.name for path in (one / "cnn").glob("*.engine")} == names
    (log,) = (one / "logs").iterdir()
    assert log.read_text().count(" layers\n") == 2  # a form ends where the next begins
    found = [script.Timed("cnn", "onnx", 1e-3, [2.0, 1.0, 4.0], ["mha0", "x"]), script.Timed("cnn", "a")]
    found[1].failure = "no engine"
    text = script.table(found, "mha")
    assert "| cnn | onnx | 2.0000 | 1.0000 | 4.0000 | 1.0e-03 | 2 | 1 |" in text and "| no engine |" in text


MASKED = """model m {
  dim N = 1 .. 2 .. 4
  dim S = 2 .. 5 .. 6
  input q: float32[N, 4, S, 8]
  input k: float32[N, 2, S, 8]
  input mask: bool[N, 1, S, S]
  for i in range(2) {
    q = scaled_dot_product_attention(q, k, k, mask, enable_gqa = true)
  }
  output y = q
}"""


@contextmanager
def form_of(script: Any, file: str, form: str) -> Generator[None]:
    with script.changed(form, argparse.Namespace(forms=BENCHMARKS / "forms" / f"{file}.py")):
        yield


def test_forms_of_sizes_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu_forms", monkeypatch)

    def symbols(form: str) -> list[str]:
        with form_of(script, "sizes", form):
            options = CompileOptions(profiles="N=2, S=5")
            graph = optimize_graph(elaborate_text(MASKED), options, RecordingDialect(facts("8.5.3"))).graph
        return [symbol.name for symbol in graph.symbols]

    assert [symbols(form) for form in ("unchanged", "dynamic")] == [["N", "S"]] * 2
    assert [symbols(form) for form in ("fixed", "fixed_but_for_the_batch")] == [[], ["N"]]


def test_forms_of_masks_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu_forms", monkeypatch)
    options = CompileOptions(profiles="N=2, S=5")
    whole = elaborate_text(MASKED)
    allowed = torch.ones(2, 1, 5, 5).tril().bool()
    allowed[1, 0, 2] = False
    inputs = random_inputs(whole, "opt") | {"mask": allowed}

    def network(form: str) -> tuple[dict[str, torch.Tensor], list[str]]:
        dialect = RecordingDialect(facts("8.5.3"))
        with form_of(script, "masks", form):
            graph = optimize_graph(whole, options, dialect).graph
            trtdsl.trt.lower.lower(graph, dialect)
        return evaluate(dialect.network, inputs), sorted(layer.type.name for layer in dialect.network)

    wanted, fixed = network("fixed")
    for form in script.read_forms(BENCHMARKS / "forms" / "masks.py"):
        found, layers = network(form)
        if form == "no_zeros":
            (y,) = found.values()
            assert y.isnan().any(-1).sum() == y.shape[1]
            continue
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        assert (layers == fixed) == (form == "fixed")


NORMS = """model m {
  dim N = 1 .. 2 .. 4
  input x: float32[N, 5, 12]
  y = x -> a: LayerNorm(12) -> relu -> b: LayerNorm(12)
  output z = y -> c: GroupNorm(1)
}"""


def test_forms_of_norms_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu_forms", monkeypatch)
    graph = random_weights(elaborate_text(NORMS))
    inputs = random_inputs(graph, "opt")

    def network(form: str) -> tuple[dict[str, torch.Tensor], int]:
        dialect = RecordingDialect(facts("8.5.3"))
        with form_of(script, "norms", form):
            lowered = trtdsl.trt.lower.lower(graph, dialect)
        found = evaluate(dialect.network, inputs, weights=lowered.weights)
        return found, sum(layer.type.name == "SELECT" for layer in dialect.network)

    wanted, choices = network("unchanged")
    assert choices == 2
    counts = {"no_choices": 0, "choices_of_groups_too": 3, "choices_of_what_is_read": 2, "one_choice": 1}
    assert [*script.read_forms(BENCHMARKS / "forms" / "norms.py")] == [*counts]
    for form, count in counts.items():
        found, choices = network(form)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        assert choices == count


def test_a_form_pins_norms_too(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu_forms", monkeypatch)
    graph = elaborate_text(
        "model m { input x: float32[2, 6, 6]  output y = matmul(x, x) -> n: LayerNorm(6) }"
    )

    def pinned(form: str) -> set[str]:
        dialect = RecordingDialect(facts("8.5.3"))
        with form_of(script, "products", form):
            trtdsl.trt.lower.lower(random_weights(graph), dialect, mixed=True)
        return {use.owner for use in dialect.uses if (use.member, use.kind) == ("precision", "set")}

    assert pinned("unchanged") == {"IMatrixMultiplyLayer"}
    assert pinned("norms_too") >= {"IMatrixMultiplyLayer", "IReduceLayer", "IElementWiseLayer"}
