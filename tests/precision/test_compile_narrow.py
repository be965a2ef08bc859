"""`compile --precision int8`: the whole way from a model and data to an engine, and what is said of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.command import trtdsl
from trtdsl.array_files import read_named
from trtdsl.calibrate import calibrate_graph
from trtdsl.compile import optimize_graph
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import show
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, optimize
from trtdsl.precision.pipeline import narrow
from trtdsl.precision.report import report_of, show_layers, show_report, to_dict
from trtdsl.recipe import Recipe
from trtdsl.reference import random_weights, run
from trtdsl.trt.build import build_with_facts
from trtdsl.trt.lower import lower
from trtdsl.trt.manifest import load_manifest
from trtdsl.types import DType
from trtdsl.verification.tolerances import engine_tolerance
from trtdsl.weights import bind

MODEL = """model m() {
  dim N = 1 .. 4 .. 8
  input x: float32[N, 16, 12, 12]
  h = x -> conv1: Conv2d(32, 3) -> bn1: BatchNorm2d -> relu
  h = relu((h -> left: Conv2d(32, 1) -> relu) + (h -> right: Conv2d(32, 3, padding = 1))) -> max_pool2d(2)
  y = permute(h, (0, 2, 3, 1)) -> fc1: Linear(64) -> relu -> fc1b: Linear(64)
  output y = y -> tied: Linear(64) -> tied: Linear(64) -> head: Linear(10)
}
"""
FILES = ("m.trtnet", "m.safetensors")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, its checkpoint and data for it; the current folder."""
    monkeypatch.chdir(tmp_path)
    graph = random_weights(elaborate_text(MODEL), 1)
    Path("m.trtnet").write_text(MODEL)
    save_file({weight.key: np.asarray(weight.data) for weight in graph.weights}, "m.safetensors")
    data = np.random.default_rng(0).normal(0, 1, (12, 16, 12, 12)).astype(np.float32)
    np.savez("d.npz", x=data)
    return tmp_path


def closing(capsys: pytest.CaptureFixture[str]) -> str:
    """What `compile` says behind the line of what it wrote."""
    return capsys.readouterr().out.partition("default targets\n\n")[2]


def test_the_closing_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("compile", *FILES, "--precision", "int8", "--calibrate", "d.npz") == 0
    told = closing(capsys)
    # The last digits of an error may differ with the machine.
    pattern = r"(.*error    )([\d.]+)( of y.* is sample )(\d+), ([\d.]+)\nexpected ([\d.]+)([^\n]*)\n(.*)"
    found = re.fullmatch(pattern, told, re.DOTALL)
    assert found, told
    assert found[1] + found[3] + found[8] == (
        "layers   int8 6, float16 1\n"
        "weights  int8 25.1 kB, float16 2.7 kB\n"
        "pairs    6 tensors are quantised and read back\n"
        "error     of y, in relative L2 on 12 samples; the worst is sample "
        "kernels  TensorRT computes 6 of 6 planned layers in int8\n"
        "1 of 7 layers stays in floating point\n"
        "  head: float16, because 10 outputs: fewer than 16\n"
    )
    assert 0.01 < float(found[2]) <= float(found[5]) < 0.1
    assert 0.7 < float(found[6]) / float(found[2]) < 1.4
    shares = re.findall(r"[\w+]+ (\d+)%", found[7])
    assert len(shares) == 5 and sorted(shares, key=lambda share: -int(share)) == shares
    assert 80 < sum(map(int, shares)) <= 100


def test_layers_that_an_error_does_not_allow(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "int8", "--calibrate", "d.npz", "--max-error", "0.01")
    assert trtdsl("compile", *FILES, *told) == 0
    told = closing(capsys)
    found = re.search(r"error    ([\d.]+) of y", told)
    kept = re.findall(r"  (\S+): float16, because it alone makes an error of 0\.0\d+\n", told)
    assert found and float(found[1]) <= 0.01
    assert 1 <= len(kept) < 6 and f"computes {6 - len(kept)} of {6 - len(kept)} planned layer" in told
    assert (
        trtdsl("compile", *FILES, "--precision", "int8", "--calibrate", "d.npz", "--max-error", "1e-6") == 2
    )
    assert "no layer can be quantised within an error of 1e-06" in capsys.readouterr().err


def test_inputs_and_outputs_keep_their_types(folder: Path) -> None:
    assert trtdsl("compile", *FILES, "--precision", "int8", "--calibrate", "d.npz", "-q") == 0
    manifest = load_manifest("m.engine")
    assert [each.dtype for each in (*manifest.inputs, *manifest.outputs)] == ["float32", "float32"]
    assert manifest.passes[-2:] == ("quantize", "convert_precision")


def test_ranges_are_written_and_read_back(folder: Path) -> None:
    told = ("--precision", "int8", "--calibrate", "d.npz", "--save-scales", "s.json")
    assert trtdsl("compile", *FILES, *told, "-o", "a.engine", "-q") == 0
    assert trtdsl("compile", *FILES, "--precision", "int8", "--scales", "s.json", "-q") == 0
    first, second = (load_manifest(name).recipe for name in ("a.engine", "m.engine"))
    assert first and second
    assert first["ranges"] == second["ranges"]
    assert {name: first[name] for name in ("precision", "around", "method", "samples")} == {
        "precision": "int8",
        "around": "float16",
        "method": "max",
        "samples": 12,
    }
    # What is changed by hand counts, and shows in the hash.
    ranges = json.loads(Path("s.json").read_text())
    ranges["layers"]["fc1"]["input"] *= 2
    Path("s.json").write_text(json.dumps(ranges))
    assert trtdsl("compile", *FILES, "--precision", "int8", "--scales", "s.json", "-q") == 0
    changed = load_manifest("m.engine").recipe
    assert changed and changed["ranges"] != first["ranges"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--precision", "int8"], "give data with `--calibrate samples.npz`, or ranges"),
        (["--precision", "int8", "--scales", "none.json"], "cannot read `none.json`"),
        (["--precision", "int8", "--calibrate", "none.npz"], "cannot read `none.npz`"),
        (["--keep", "float16=fc1"], "`--keep` says nothing without a precision"),
        (["--edges", "float16"], "add `--precision float16`"),
        (["--precision", "int8", "--calibrate", "d.npz", "--keep", "fc1"], "`--keep fc1` names no layers"),
        (
            ["--precision", "int8", "--calibrate", "d.npz", "--keep", "float16=righ"],
            "it matches no label of `m`, did you mean `right`?",
        ),
        (
            ["--precision", "int8", "--calibrate", "d.npz", "--keep", "float16=*"],
            "7 of 7: it matches `*` in `--keep`",
        ),
        (
            ["--precision", "fp8", "--calibrate", "d.npz", "--target", "sm86"],
            "sm86 does not compute in float8_e4m3fn: sm89 is the first that does",
        ),
        (["--precision", "int8", "--calibrate", "d.npz", "--target", "sm99"], "cannot build for `sm99`"),
        (
            ["--precision", "int8", "--calibrate", "d.npz", "--save-scales", "m.engine.json"],
            "`--save-scales m.engine.json` would overwrite",
        ),
    ],
)
def test_what_is_refused_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    before = sorted(folder.iterdir())
    assert trtdsl("compile", *FILES, *arguments) == 2
    assert says in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


INT8 = ("--precision", "int8", "--calibrate", "d.npz")


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        (
            "export",
            ("--to", "tensorrt", *INT8, "-o", "d.py"),
            "cannot write `d.npz`: the script is made from it",
        ),
        ("export", ("--to", "tensorrt", "--pass", "p.py:own", "-o", "p.py"), "the script is made from it"),
        ("calibrate", (*INT8[2:], "-o", "d.npz"), "cannot write `d.npz`: the ranges are found with it"),
        ("calibrate", (*INT8[2:], "-o", "m.trtnet"), "cannot write `m.trtnet`: the ranges are found with it"),
        (
            "calibrate",
            (*INT8[2:], "-o", "link.json"),
            "cannot write `link.json`: the ranges are found with it",
        ),
        ("compile", (*INT8, "--save-scales", "d.npz"), "`--save-scales d.npz` would overwrite `d.npz`"),
        ("compile", (*INT8, "--pass", "p.py:own", "--save-scales", "p.py"), "would overwrite `p.py`"),
    ],
)
def test_nothing_that_was_read_is_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, arguments: tuple[str, ...], says: str
) -> None:
    (folder / "p.py").write_text("def own(graph):\n    return graph\n")
    (folder / "link.json").symlink_to("m.safetensors")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert trtdsl(command, *FILES, *arguments) == 2
    assert says in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folded_layer_is_kept_by_either_label(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("conv1", "bn1", "conv1+bn1", "bn*"):
        told: list[Any] = ["--precision", "int8", "--calibrate", "d.npz", "--samples", "1"]
        assert trtdsl("compile", *FILES, *told, "--keep", f"float16={label}") == 0
        assert f"conv1+bn1: float16, because it matches `{label}` in `--keep`" in closing(capsys)


def test_around_float32_is_warned_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "int8", "--calibrate", "d.npz", "--samples", "1", "--around", "float32")
    assert trtdsl("compile", *FILES, *told) == 0
    assert "int8 around float32 is slower than float16 as a rule" in capsys.readouterr().err
    recipe = load_manifest("m.engine").recipe
    assert recipe and recipe["around"] == "float32"


def test_a_type_that_nothing_is_computed_in_keeps_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ("--precision", "int8", "--calibrate", "d.npz", "--samples", "1", "--keep")
    assert trtdsl("compile", *FILES, *told, "bfloat16=fc1") == 2
    assert "what is not in int8 is computed in float16 or float32" in capsys.readouterr().err
    assert trtdsl("compile", *FILES, *told, "float32=fc1") == 0
    assert "fc1: float32, because it matches `fc1` in `--keep`" in closing(capsys)


def test_inspect_shows_the_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "int8", "--calibrate", "d.npz", "--samples", "3", "--keep", "float16=fc1,left")
    assert trtdsl("compile", *FILES, *told, "-q") == 0
    assert trtdsl("inspect", "m.engine") == 0
    (line,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith("recipe ")]
    assert line.startswith(
        "recipe     precision = int8, keep = {float16: fc1 left}, calibrate = d.npz, samples = 3"
    )
    assert re.search(
        r"around = float16, method = max, data = sha256:\w{16}, ranges = sha256:\w{16}, worst_error = 0", line
    ), line


def test_what_an_engine_in_int8_is_held_to(folder: Path) -> None:
    told = ("--precision", "int8", "--calibrate", "d.npz", "--save-scales", "s.json")
    assert trtdsl("compile", *FILES, *told, "-q") == 0
    manifest = load_manifest("m.engine")
    assert manifest.arithmetic == "int8, around it float16" and manifest.recipe
    error = manifest.recipe["worst_error"]
    assert 0.01 < error < 0.1 and engine_tolerance(manifest) == 1e-2 + 2 * error
    assert trtdsl("compile", *FILES, "--precision", "int8", "--scales", "s.json", "-q") == 0
    with pytest.raises(UsageError, match="the engine is in int8, and its manifest does not say how far off"):
        engine_tolerance(load_manifest("m.engine"))


def test_the_quantised_graph_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "int8", "--calibrate", "d.npz", "--samples", "1")
    assert trtdsl("show", *FILES, *told) == 0
    shown = capsys.readouterr().out
    assert show(elaborate_text(shown)) == shown
    assert "fc1_w = fc1.weight: Parameter((64, 32), dtype = int8)" in shown
    assert trtdsl("compile", *FILES, *told, "--print-after", "quantize") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# after quantize\nmodel m() {") and "quantize(" in printed
    assert trtdsl("compile", *FILES, "--precision", "float16", "--print-after", "quantize") == 2
    assert "`quantize` runs where int8 or float8 is asked for, and only there" in capsys.readouterr().err


# --- explain -----------------------------------------------------------------------------------------------


def test_explain_has_a_line_for_each_layer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.iterdir())
    told = ("--precision", "int8", "--calibrate", "d.npz", "--target", "sm89", "--keep", "float16=left")
    assert trtdsl("explain", *FILES, *told) == 0
    rows = [re.split(r" {2,}", line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["layer", "type", "range", "clipped", "alpha", "error", "kernel reads", "why", "kernel"]
    assert [[*row[:2], *row[3:5], *row[6:8]] for row in rows[1:]] == [
        ["conv1+bn1", "int8", "0", "0.7", "int8", "-"],
        ["left", "float16", "0", "-", "float16", "it matches `left` in `--keep`"],
        ["right", "int8", "0", "0.7", "int8", "-"],
        ["fc1", "int8", "0", "0.7", "int8", "-"],
        ["fc1b", "int8", "0", "0.7", "int8", "-"],
        ["tied", "int8", "0", "0.7", "int8", "-"],
        ["head", "float16", "0", "-", "float16", "10 outputs: fewer than 16"],
    ]
    errors = {row[0]: row[5] for row in rows[1:]}
    assert errors["left"] == errors["head"] == "-"
    assert all(0.001 < float(errors[label]) < 0.1 for label in ("conv1+bn1", "right", "fc1", "fc1b", "tied"))
    assert sorted(folder.iterdir()) == before


def test_explain_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "int8", "--calibrate", "d.npz", "--method", "percentile", "--percentile", "99")
    assert trtdsl("explain", *FILES, *told, "--equalise", "0", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["error"]["samples"] == 12 and 0 <= found["error"]["worst"]["first_sample"] < 12
    head = found["layers"][-1]
    assert (head["layer"], head["dtype"], head["why"]) == ("head", "float16", "10 outputs: fewer than 16")
    assert all(0.005 < layer["clipped"] < 0.02 and "alpha" not in layer for layer in found["layers"])


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_samples_that_the_data_do_not_have(
    folder: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    line = ("explain", *FILES, "--precision", precision, "--calibrate", "d.npz", "--samples")
    assert trtdsl(*line, "100") == 0
    said = "note: `d.npz` has 12 samples, not the 100 that `--samples` asks for\n"
    assert said in capsys.readouterr().err
    assert trtdsl(*line, "12") == 0
    assert "samples, not the" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "why"),
    [([], "none is given"), (["--precision", "float32"], "in float32 every layer is computed in that")],
)
def test_there_is_nothing_to_explain(
    folder: Path, capsys: pytest.CaptureFixture[str], told: list[str], why: str
) -> None:
    assert trtdsl("explain", *FILES, *told) == 2
    said = capsys.readouterr().err
    assert f"error: `explain` says what a precision makes of each layer, and {why}\n" in said
    assert (
        "give `--precision` one of float16, bfloat16, int8, float8, int4, int8-weights, nvfp4, mxfp8" in said
    )


def test_warnings_are_said_by_who_is_quiet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "float8", "--calibrate", "d.npz", "--allow", "float8=*", "-o", "m.engine", "-q")
    assert trtdsl("compile", *FILES, *told) == 0
    said = capsys.readouterr()
    assert said.out == "" and "warning: the default targets begin with sm80" in said.err
    assert "note: " not in said.err


def test_what_is_never_narrow_is_counted(tmp_path: Path) -> None:
    text = """model m() {
  dim N = 1 .. 2 .. 8
  input x: float32[N, 3, 16]
  scan xt in x, dim = 1 with h = zeros(N, 16) {
    h = tanh((xt -> inner: Linear(16)) + (h -> state: Linear(16, bias = false)))
    emit hs = h
  }
  up = transpose(hs, 1, 2) -> up: ConvTranspose1d(16, 3, padding = 1) -> transpose(1, 2)
  output y = (up, up, up) -> attention: MultiheadAttention(4, batch_first = true) -> fc: Linear(32)
}
"""
    graph = optimize(random_weights(elaborate_text(text), 1))
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(0, 1, (1, 3, 16)).astype(np.float32))
    narrowed = narrow(graph, Recipe(precision="int8", calibrate=tmp_path / "d.npz"))
    report = report_of(narrowed, narrowed.graph, [])
    told = show_report(report)
    last = "1 ConvTranspose1d, 2 Linear in a body, 1 MultiheadAttention"
    assert told.endswith(f"\nbeside these, always in floating point: {last}")
    assert " in relative L2 on 1 sample; " in told
    lines = {line.split()[0]: line.split(maxsplit=2)[2] for line in show_layers(report).splitlines()}
    assert "computes no transposed convolution in a narrow type" in lines["up"]
    assert "written with `Linear` layers, its projections can be narrow" in lines["attention"]
    assert "the body of a loop" in lines["inner"] and "the body of a loop" in lines["state"]
    assert [each["layer"] for each in to_dict(report)["beside"]] == ["inner", "state", "up", "attention"]
    halves = report_of(narrowed, convert_precision(DType.FLOAT16)(narrowed.graph), [])
    assert {each.dtype for each in report.beside} == {DType.FLOAT32}
    assert {each.dtype for each in halves.beside} == {DType.FLOAT16}


def test_layers_in_bodies_alone_cannot_be_narrow() -> None:
    text = """model m() {
  input x: float32[4, 32]
  scan t in x with h = zeros(32) {
    h = tanh((t -> fc: Linear(32)) + h)
  }
  output h
}
"""
    graph = optimize(random_weights(elaborate_text(text), 1))
    told = r"neither convolutions nor linear layers that could be narrow[^`]*outside of loops and branches"
    with pytest.raises(UsageError, match=told):
        narrow(graph, Recipe(precision="int8-weights"))


def test_what_is_never_narrow_cannot_be_allowed(tmp_path: Path) -> None:
    text = """model m() {
  input x: float32[2, 16, 8]
  output y = x -> up: ConvTranspose1d(16, 3) -> c: Conv1d(32, 3)
}
"""
    graph = optimize(random_weights(elaborate_text(text), 1))
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 16, 8), np.float32))
    recipe = Recipe(precision="int8", calibrate=tmp_path / "d.npz", allow={"int8": ["c", "up"]})
    with pytest.raises(
        UsageError, match="`--allow int8='up'`: what has that label is never computed in int8"
    ):
        narrow(graph, recipe)


def test_what_reads_zeros_alone_stays_in_floating_point(tmp_path: Path) -> None:
    text = """model m() {
      input x: float32[8, 16]
      input past: float32[8, 16]
      output y = (x -> a: Linear(32)) + (past -> b: Linear(32))
    }
    """
    graph = optimize(random_weights(elaborate_text(text), 1))
    x = np.random.default_rng(1).standard_normal((16, 16), np.float32)
    np.savez(tmp_path / "d.npz", x=x, past=np.zeros_like(x))
    found = narrow(graph, Recipe(precision="int8", calibrate=tmp_path / "d.npz"))
    reasons = {decision.label: decision.reason for decision in found.decisions}
    assert reasons == {"a": "", "b": "its input is 0 throughout the data, which gives it no range"}


# --- A layer that TensorRT does not take -------------------------------------------------------------------


def test_what_tensorrt_computes_otherwise_is_named(folder: Path) -> None:
    """The kernels are those of the model as it was before."""
    graph = optimize(bind(elaborate_text(MODEL), load_file("m.safetensors")).graph)
    narrowed = narrow(graph, Recipe(precision="int8", calibrate="d.npz"))
    half = convert_precision(DType.FLOAT16)
    planned, plain = half(narrowed.graph), half(graph)
    kernels = build_with_facts(lower(plain), kernels=True).kernels
    found = report_of(narrowed, planned, [kernel for kernel in kernels if "fc1b" not in kernel.metadata])
    assert [layer.label for layer in found.otherwise] == [layer.label for layer in found.planned]
    told = show_report(found)
    assert "TensorRT computes 0 of 6 planned layers in int8" in told
    assert "\n  left: float16, because TensorRT chose it\n" in told
    assert "\n  fc1b: unknown, because no kernel in TensorRT's list names it\n" in told


def test_what_float16_does_not_hold_stays_float32_around_int8(tmp_path: Path) -> None:
    """A sum far beyond float16's range, behind which a norm makes plain numbers of it for an int8 layer."""
    text = """model m() {
      input x: float32[8, 64]
      output y = x -> a: Linear(64) -> relu -> n: LayerNorm(64) -> b: Linear(64)
    }"""
    graph = random_weights(elaborate_text(text), 1)
    values = {
        each.key: np.asarray(each.data) * (1e5 if each.key == "a.weight" else 1) for each in graph.weights
    }
    graph = bind(graph, values).graph
    data = np.random.default_rng(0).normal(0, 1, (128, 64)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=data)
    recipe = Recipe(precision="int8", calibrate=tmp_path / "d.npz")
    optimized = optimize_graph(graph, CompileOptions(recipe=recipe))
    assert any("`a` (Linear) stayed float32" in note.message for note in optimized.notes)
    lowered = lower(optimized.graph)
    inputs = {"x": torch.as_tensor(data[:8])}
    (found,) = evaluate(lowered.network, inputs, weights=lowered.weights).values()
    (exact,) = run(graph, inputs).values()
    assert float(torch.linalg.norm(found - exact) / torch.linalg.norm(exact)) < 0.05


def test_scales_of_small_weights_have_all_their_digits(tmp_path: Path) -> None:
    """A layer scale of 1e-6 leaves scales of 1e-9; below 6e-5 float16 loses digits."""
    text = "model m { input x: float32[4, 32]  output y = (x -> fc: Linear(32)) * 1e-6 }"
    graph = optimize(random_weights(elaborate_text(text), seed=0))
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(0, 1, (16, 32)).astype("f4"))
    for precision in ("int8", "int8-weights", "int4"):
        recipe = Recipe(precision=precision, calibrate=tmp_path / "data.npz")
        found = narrow(graph, recipe).error
        assert found and found.largest < (0.2 if precision == "int4" else 0.02)


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_show_asks_for_the_checkpoint_that_data_run_through(
    precision: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trtdsl("show", FILES[0], "--precision", precision, "--calibrate", "d.npz") == 2
    assert "give a checkpoint" in capsys.readouterr().err


def test_data_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges, errors and what float16 does not hold around the layers come from one reading."""
    from trtdsl.precision import batches

    read: list[Path] = []

    def counted(path: Path, names: list[str]) -> Any:
        read.append(path)
        return read_named(path, names)

    monkeypatch.setattr(batches, "read_named", counted)
    assert trtdsl("compile", *FILES, "--precision", "int8", "--calibrate", "d.npz", "-q") == 0
    assert read == [Path("d.npz")]


PATCHES = """model vit() {
  dim N = 1 .. 2 .. 4
  input x: float32[N, 3, 32, 32]
  t = x -> proj: Conv2d(64, 8, stride = 8) -> flatten(2) -> transpose(1, 2)
  output y = t -> fc: Linear(64)
}
"""


@pytest.mark.parametrize("precision", ["int8", "float8", "nvfp4"])
def test_a_patch_embedding_is_a_convolution_of_few_channels(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As which it is left in floating point; in float16 alone it is a linear layer of 192 inputs."""
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=np.random.default_rng(0).normal(0, 1, (8, 3, 32, 32)).astype(np.float32))
    graph = random_weights(elaborate_text(PATCHES), 1)
    plain = optimize_graph(graph, CompileOptions(precision="float16"))
    assert "recognise_patches" in plain.passes
    assert [node.op.name for node in plain.graph.nodes if node.weights] == ["Linear", "Linear"]
    recipe = Recipe(precision=precision, calibrate=Path("d.npz"))
    found = optimize_graph(graph, CompileOptions(recipe=recipe))
    assert "recognise_patches" not in found.passes
    assert found.narrowed is not None
    reasons = {decision.label: decision.reason for decision in found.narrowed.decisions}
    assert reasons["proj"] and not reasons["fc"]
    ranges = calibrate_graph(graph, Recipe(precision="int8", calibrate=Path("d.npz")))
    assert [*ranges.layers] == ["proj", "fc"]
