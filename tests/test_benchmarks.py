"""The GPU's benchmarks, as far as they go without one: what is compared, and that all of it builds."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.benchmark_scripts import BENCHMARKS, load, run
from trtdsl.compile import check_file
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.precision.placement import PLACEMENTS
from trtdsl.recipe import Recipe
from trtdsl.trt.lower import lower
from trtdsl.trt.manifest import load_manifest
from trtdsl.weights import bind

EXAMPLES = BENCHMARKS.parent / "examples"


def test_models_are_compiled_for_a_gpu_that_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(load("gpu_reference", monkeypatch), monkeypatch, tmp_path, "--models", "cnn", "--device", "cpu")
    options = ("--models", "cnn,lenet", "--runtime", "tensorrt_rtx", "--onnx", "none", "--dry-run")
    run(load("gpu", monkeypatch), monkeypatch, tmp_path, tmp_path / "out", *options)
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    rows = {(row["model"], row["precision"]): row for row in found["rows"]}
    assert not rows["cnn", "float32"]["failure"] and rows["cnn", "float16"]["layers"] > 10
    assert rows["lenet", "float32"]["failure"].startswith("no reference")
    assert "## lenet float16 failed" in (tmp_path / "out" / "gpu.md").read_text()
    run(load("gpu", monkeypatch), monkeypatch, tmp_path, tmp_path / "out", *options, "--batch", "40")
    profiles = load_manifest(tmp_path / "out" / "cnn" / "float16.engine").profiles
    assert profiles[0].inputs["data"] == ((32, 3, 32, 32),) * 3


TYPED = """
import torch
from torch import nn


class Typed(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, ids, scale):
        y = self.out(self.words(ids) * scale)
        return {"y": y, "best": y.argmax(-1)}
"""
TYPED_TEXT = """model typed {
  dim N = 1 .. 8 .. 64
  dim L = 1 .. 5 .. 16
  input ids: int64[N, L]
  input scale: float32[N, 1, 4]
  output y = (ids -> words: Embedding(9, 4)) * scale -> out: Linear(3)
}
"""


def test_references_are_made_of_typed_inputs_and_several_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    (tmp_path / "typed.trtnet").write_text(TYPED_TEXT)
    entry = {
        "name": "typed",
        "file": str(tmp_path / "typed.trtnet"),
        "model": "typed",
        "oracle": f"{tmp_path / 'typed.py'}:Typed",
        "inputs": {"ids": {"shape": ["L"], "type": "int64", "below": 9}, "scale": [1, 4]},
    }
    (tmp_path / "zoo.json").write_text(json.dumps([entry]))
    options = ("--zoo", tmp_path / "zoo.json", "--models", "typed", "--device", "cpu", "--errors-only")
    run(load("gpu_reference", monkeypatch), monkeypatch, tmp_path, *options)
    with np.load(tmp_path / "typed" / "data.32.npz") as stored:
        data = dict(stored)
    assert (data["input.ids"].shape, data["input.ids"].dtype) == ((32, 5), np.dtype("int64"))
    assert (data["output.0"].shape, data["output.0"].dtype) == ((32, 5, 3), np.dtype("float64"))
    table = load("gpu_table", monkeypatch)
    times = table.torch_time(tmp_path / "typed")
    assert {*times["float32"]} == {"1", "8", "32"} and all(0 < e < 1e-6 for e in times["float32"].values())
    row, own = table.Row("typed", "float32", error={8: 3e-7}), times["float32"]["8"]
    assert f"| 8 | 3.0e-07 | yes |  | {own:.1e} |" in table.table({}, [row], {"typed": times})
    state = check_file(tmp_path / "typed.trtnet", tmp_path / "typed" / "state.safetensors").graph
    lowered = lower(state)
    inputs = {name: torch.from_numpy(data[f"input.{name}"]) for name in ("ids", "scale")}
    (found,) = evaluate(lowered.network, inputs, weights=lowered.weights).values()
    assert np.allclose(found.numpy(), data["output.0"], atol=1e-5)


class OnTheCPU:
    """What the network of an engine computes, in the engine's place."""

    def __init__(self, engine: Path, state: Path) -> None:
        self.manifest = load_manifest(engine)
        self._lowered = lower(check_file(EXAMPLES / "cnn" / "cnn.trtnet", state).graph)

    def __call__(self, **arrays: Any) -> dict[str, Any]:
        found = evaluate(self._lowered.network, arrays, weights=self._lowered.weights)
        return {name: array.numpy() for name, array in found.items()}


def test_engines_are_verified_against_the_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(load("gpu_reference", monkeypatch), monkeypatch, tmp_path, "--models", "cnn", "--device", "cpu")
    script = load("gpu", monkeypatch)
    options = ("--models", "cnn", "--runtime", "tensorrt_rtx", "--onnx", "none", "--dry-run")
    run(script, monkeypatch, tmp_path, tmp_path / "out", *options)
    bench, row = script.Bench(script.arguments()), script.Row("cnn", "float32")
    engine = tmp_path / "out" / "cnn" / "float32.engine"
    right = OnTheCPU(engine, tmp_path / "cnn" / "state.safetensors")
    bench.verify(bench.options.zoo["cnn"], right, row)
    assert row.verified == "equal within 0.0001"
    monkeypatch.setattr(OnTheCPU, "__call__", lambda self, data: {"logits": np.zeros((32, 10), "f4")})
    bench.verify(bench.options.zoo["cnn"], right, row)
    assert row.verified == "differs within 0.0001"


def test_what_a_dry_run_has_built_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(load("gpu_reference", monkeypatch), monkeypatch, tmp_path, "--models", "cnn", "--device", "cpu")
    script = load("gpu", monkeypatch)
    options = ("--runtime", "tensorrt_rtx", "--onnx", "none", "--engines", tmp_path / "engines")
    run(script, monkeypatch, tmp_path, tmp_path / "out", "--models", "cnn", "--dry-run", *options)
    engine = tmp_path / "engines" / "cnn" / "float32.engine"
    before = engine.stat().st_mtime_ns
    bench, row = script.Bench(script.arguments()), script.Row("cnn", "float32")
    bench.options.dry_run = False
    bench.build(bench.options.zoo["cnn"], script.Variant(), row)
    assert engine.stat().st_mtime_ns == before
    assert row.layers > 10 and row.build_s > 0
    bench.options.batch = 8  # which asks for another engine
    bench.build(bench.options.zoo["cnn"], script.Variant(), row)
    assert engine.stat().st_mtime_ns != before


def test_the_checks_of_running_engines_say_that_there_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    script = load("gpu_engine", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["gpu_engine", str(tmp_path), "--runtime", "tensorrt_rtx"])
    assert script.main() == 1
    assert "there is no NVIDIA GPU to run on" in capsys.readouterr().err


def test_rows_that_are_to_be_distinct_are_at_most_half_of_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = load("gpu_points", monkeypatch)
    entry = load("zoo_entries", monkeypatch).read_zoo()["pointpillars_small"]  # tuned for 8000 pillars
    cells = points.drawn(entry, 1, seed=1)["cells"]
    assert cells.shape == (64 * 64 // 2, 2) and len({*map(tuple, cells.tolist())}) == len(cells)


@pytest.mark.parametrize("count", [1, 5])
def test_what_running_engines_is_checked_against(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu_engine_bench", monkeypatch)
    lowered = lower(elaborate_text(script.MODEL))
    inputs = script.inputs_of(count, seed=3)
    found = {
        name: y.numpy() for name, y in evaluate(lowered.network, inputs, weights=lowered.weights).items()
    }
    script.require_equal(found, inputs)
    for name, wrong in (("y", np.float32(1)), ("scaled", np.float16(0.01)), ("moved", np.int32(1))):
        with pytest.raises(AssertionError):
            script.require_equal({**found, name: found[name] + wrong}, inputs)


def test_rows_of_an_earlier_run_on_the_same_device_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("gpu_table", monkeypatch)
    about = {"device": "a GPU", "TensorRT": "8.5.3"}
    good = script.Row("cnn", "float32", error={1: 1e-7}, ours={1: 0.5})
    bad = script.Row("lenet", "float32", failure="refused")
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"about": about, "rows": [dataclasses.asdict(row) for row in (good, bad)]}))
    assert script.measured(path, about) == {"cnn float32": good, "lenet float32": bad}
    assert script.measured(path, {**about, "device": "another"}) == {}
    assert script.measured(tmp_path / "none.json", about) == {}


STEPS = {"good": "print('fine')", "bad": "raise SystemExit(3)", "slow": "import time; time.sleep(60)"}


def test_the_steps_on_a_gpu_are_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu_all", monkeypatch)
    monkeypatch.setattr(script, "HERE", tmp_path)
    for name, text in STEPS.items():
        (tmp_path / f"{name}.py").write_text(text)
    options = argparse.Namespace(folder=tmp_path, torch=sys.executable, tensorrt=sys.executable, least=1)
    step = script.Step("good", "torch", ("good.py",), once=True)
    assert script.run(step, options, 60).state == "done"
    assert script.run(step, options, 60).state == "done before"
    assert (tmp_path / "good.log").read_text() == "fine\n"
    failing = script.Step("bad", "tensorrt", ("bad.py",), once=True)
    assert [script.run(failing, options, 60).state for _ in range(2)] == ["failed with 3, see bad.log"] * 2
    assert script.run(script.Step("slow", "torch", ("slow.py",)), options, 1.5).state.startswith("cut off")
    assert script.run(step, options, 0.5).state == "done before"
    assert script.run(failing, options, 0.5).state == "not begun: 0 s are left"


def test_every_step_on_a_gpu_is_a_script_that_takes_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("gpu_all", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["gpu_all", str(tmp_path), "--precisions", "int8", "--errors-only"])
    found = list(script.steps(tmp_path, ["cnn", "lenet"], script.arguments()))
    assert [step.name for step in found][:3] == ["models", "engines", "expectations"]
    for step in found:
        name, *words = step.arguments
        source = (BENCHMARKS / name).read_text()
        assert step.python in ("torch", "tensorrt")
        for word in words:
            assert not word.startswith("--") or word in ("--", "--no-tf32") or f'"{word}"' in source, (
                name,
                word,
            )


def test_pytorch_is_timed_from_and_to_the_tensors_of_an_engine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu_reference", monkeypatch)
    half = torch.nn.Conv2d(3, 4, 3).half().to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    (found,) = script._Whole(half, torch.channels_last)(x)
    expected = half(x.half().to(memory_format=torch.channels_last))
    assert (found.dtype, found.is_contiguous(), expected.is_contiguous()) == (torch.float32, True, False)
    torch.testing.assert_close(found, expected.float().contiguous(), rtol=0, atol=0)


def test_kernels_of_both_routes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("kernels", monkeypatch)
    (tmp_path / "zoo.json").write_text(
        json.dumps(
            [entry for entry in json.loads((EXAMPLES / "zoo.json").read_text()) if entry["name"] == "cnn"]
        )
    )
    options = ("--zoo", tmp_path / "zoo.json", "--out", tmp_path)
    run(script, monkeypatch, *options)
    (found,) = json.loads((tmp_path / "kernels.json").read_text())["counts"].values()
    assert found["ours"] > 3 and found["onnx"] > 3 and not (found["failure"] or found["onnx_failure"])
    counts = [script.Count("a", 3, 4), script.Count("b", 5, 4), script.Count("c", 8, 8), script.Count("d", 2)]
    text = script.table([*counts, script.Count("e", failure="no engine")], "about")
    assert "Of 3 models that both routes build, 1 have fewer kernels by trtdsl and 1 more" in text
    assert "the median ratio is 1.00, from 0.75 to 1.25" in text and "| e | no engine |" in text
    monkeypatch.setattr(script, "count", None)  # all is counted
    run(script, monkeypatch, *options)


def test_a_machine_without_a_gpu_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load("gpu_all", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["gpu_all", str(tmp_path)])
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert script.main() == 1
    assert "no GPU here" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gpu", "gpu_operators"])
def test_a_precision_without_a_limit_is_refused_first(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {"gpu": (tmp_path, tmp_path), "gpu_operators": ("run", tmp_path / "cases.npz")}[name]
    with pytest.raises(SystemExit):
        run(load(name, monkeypatch), monkeypatch, *folders, "--precisions", "float32,bfloat16")
    assert "--precisions: choose of float32, float16" in capsys.readouterr().err


def test_models_to_inspect_are_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["gpu", str(tmp_path), str(tmp_path), "--inspect", "resnet18,vgg16_bn"])
    assert script.arguments().inspect == ["resnet18", "vgg16_bn"]


def test_operators_are_built_for_a_gpu_that_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("gpu_operators", monkeypatch)
    monkeypatch.setattr(script, "EXAMPLES", [e for e in script.EXAMPLES if e.name in ("relu", "argmax")])
    run(script, monkeypatch, "expect", tmp_path / "cases.npz")
    options = ("--runtime", "tensorrt_rtx", "--dry-run")
    run(script, monkeypatch, "run", tmp_path / "cases.npz", tmp_path, *options)
    cases = json.loads((tmp_path / "operators0.json").read_text())["cases"]
    assert {case["verdict"] for case in cases} == {"not run"}
    assert {case["precision"] for case in cases} == {"float32", "float16"}
    with pytest.raises(SystemExit, match="of other examples"):
        monkeypatch.setattr(script, "EXAMPLES", script.EXAMPLES[:1])
        run(script, monkeypatch, "run", tmp_path / "cases.npz", tmp_path, *options)


def test_what_is_largest_is_asked_of_the_rounded_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("gpu_operators", monkeypatch)
    monkeypatch.setattr(script, "EXAMPLES", [e for e in script.EXAMPLES if e.name in ("relu", "argmax")])
    run(script, monkeypatch, "expect", tmp_path / "cases.npz")
    with np.load(tmp_path / "cases.npz") as cases:
        rounded = {key.split()[0] for key in cases.files if " float16 " in key}
        number = next(str(n) for n, e in enumerate(script.EXAMPLES) if e.name == "argmax")
        assert number in rounded
        assert all(cases[key].dtype.kind != "f" for key in cases.files if " float16 " in key)


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.5], [3.0, 4.0], 0.1),
        ([1.0, np.inf], [1.0, np.inf], 0.0),
        ([1.0, np.nan], [1.0, np.nan], 0.0),
        ([1.0, np.inf], [1.0, -np.inf], np.inf),
        ([1.0, 2.0], [1.0, np.nan], np.inf),
        ([np.nan, 2.0], [1.0, 2.0], np.inf),
        ([1.0], [1.0, 1.0], np.inf),
        ([0.5], [0.0], 0.5),
        ([True, False], [True, True], 0.5**0.5),
    ],
)
def test_the_error_of_an_operator(
    found: list[Any], expected: list[Any], error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("gpu_operators", monkeypatch)
    assert script.relative(np.array(found), np.array(expected)) == pytest.approx(error)
    case = script.Case("relu", "float32", {"opt out0": error}, limit=0.2)
    assert case.verdict == ("equal" if error <= 0.2 else "wrong")


ENGINE_CASES = [
    *(("gpu_engine_models", name) for name in ("encoder", "masked", "pools", "none")),
    *(("gpu_engine_plugins", name) for name in ("nms", "gelu", "gelu in float16")),
]


@pytest.mark.parametrize(("script", "name"), ENGINE_CASES)
def test_the_engine_checks_compare_with_what_the_models_compute(
    script: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numpy's results, with which a GPU's are compared, are those of the models' networks."""
    case = load(script, monkeypatch).CASES[name]
    graph = bind(elaborate_text(case.text), case.weights).graph
    lowered = lower(graph)
    found = evaluate(lowered.network, case.inputs, weights=lowered.weights)
    limit = 1e-3 if "float16" in name else 3e-6
    assert case.error_of({key: value.numpy() for key, value in found.items()}) < limit


def test_what_narrow_types_are_scored_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    script = load("precision_scores", monkeypatch)
    random = torch.Generator().manual_seed(0)
    exact = torch.nn.functional.normalize(torch.randn(40, 8, generator=random))
    subject = type("Subject", (), {"name": "minilm", "labels": None})
    same = script.scores(subject, [exact], [exact])
    assert same["error"] == 0 and same["top 10"] == 1 and same["Spearman"] == pytest.approx(1)
    found = exact.clone()
    found[7] = -found[7]
    wrong = script.scores(subject, [exact], [found])
    assert wrong["worst sample"] == 7 and wrong["worst cosine"] == pytest.approx(-1)
    assert wrong["error"] == pytest.approx(2 / 40**0.5) and wrong["top 10"] < 1 > wrong["Spearman"]
    certain = torch.tensor([[0.2, 0.8], [0.4, 0.6]])
    subject = type("Subject", (), {"name": "onet", "labels": None})
    assert script.scores(subject, [exact, certain], [exact, certain.flip(1)])["decisions"] == 0.5
    digits = type("Subject", (), {"name": "resnet", "labels": np.array([1, 1])})
    assert script.scores(digits, [certain], [certain])["accuracy"] == 1


def test_what_narrow_types_were_to_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("precision_table", monkeypatch)
    row = {"model": "resnet", "who": "trtdsl", "way": "int8", "error": 0.0105, "accuracy": 0.972}
    known = {"layers": 10, "narrow": 8, "left by error": [], "kernels": {}}
    assert "| yes: error 0.011, accuracy 0.971 |" in script.table([{**row, **known}])
    assert "| no: error 0.011 |" in script.table([{**row, **known, "error": 0.0111}])
    limited = {**row, "way": "int8, --max-error 0.02", "calibration error": 0.019, "worst output": 0.0261}
    assert "| no |" in script.table([{**limited, **known}])
    assert "| yes: 0.02" in script.table([{**limited, **known, "worst output": 0.0259}])


def test_ways_to_place_int8_are_the_products_own_but_for_what_they_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variants = load("gpu_variants", monkeypatch)
    before = PLACEMENTS["tensorrt"]
    for path in sorted(BENCHMARKS.glob("gpu_*.json")):
        for variant in variants.read_variants(path):
            Recipe(precision="int8", scales="ranges.json", **variant.recipe)
            with variant.in_use():
                assert (PLACEMENTS["tensorrt"] == before) is (not variant.placement)
    assert PLACEMENTS["tensorrt"] is before
    assert variants.read_variants(None) == [variants.Variant()]


def test_the_networks_of_tasks_are_compared_with_what_they_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("silero_vad", reason="of the extra `examples`")
    tasks = load("gpu_tasks", monkeypatch)
    (network,) = tasks.speech(tmp_path)
    tasks.write(tmp_path / "speech", network)
    assert tasks.run(tmp_path, "cpu")
    found = json.loads((tmp_path / "run.json").read_text())
    assert [(row["network"], row["calls"]) for row in found] == [("speech", tasks.MOST)]

    spoilt = {key: 1.01 * array for key, array in network.weights.items()}
    tasks.write(tmp_path / "speech", network._replace(weights=spoilt))
    assert not tasks.run(tmp_path, "cpu")
    assert not tasks.run(tmp_path / "nothing", "cpu")


CAPTURED = r"""digraph dot {
"graph_4_node_10"[style="bold" shape="record" label="{KERNEL
| {ID | 10 (topoId: 0) | __myl_bb0_1_Mul\<\<\<4728,\{32,4\},0\>\>\>}
| {{node handle | func handle} | {0x0000561D09F55160 | 0x0000561D09E8CA60}}
}"];
"graph_4_node_9"[style="solid" shape="record" label="{MEMSET
| {{ID | node handle} | {9 (topoId: 2) | 0x0000561D09F558C8}}
}"];
"graph_4_node_2"[style="bold" shape="record" label="{KERNEL
| {ID | 2 (topoId: 1) | _ZN5first\<\<\<1,128,0\>\>\>}
}"];
}"""


def test_kernels_are_read_in_the_order_in_which_they_start(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu_kernels", monkeypatch)
    kernels, moves = script.kernels_of(CAPTURED)
    assert kernels == [("_ZN5first", "1,128,0"), ("__myl_bb0_1_Mul", "4728,{32,4},0")]
    assert moves == 1
