"""Many models on all GPUs: one after another, and what is kept when TensorRT takes a process with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorrt_rtx as trt

from tests.benchmark_scripts import BENCHMARKS, load, run

PYTHON = sys.executable
WITHOUT_A_GPU = Path(__file__).with_name("gpu_without_a_gpu.py")


def test_models_are_built_by_one_process_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load("gpu_many", monkeypatch)
    options = ("--models", "cnn,lenet", "--precisions", "float32,float16", "--onnx", "none")
    options += ("--runtime", "tensorrt_rtx", "--threads", "1", "--device", "cpu", "--dry-run")
    assert run(script, monkeypatch, tmp_path, *options) == 0
    for precision in ("float32", "float16"):
        text = (tmp_path / "built" / f"{precision}.0" / "gpu.json").read_text()
        rows = {row["model"]: row for row in json.loads(text)["rows"]}
        assert {*rows} == {"cnn", "lenet"}
        assert all(row["layers"] > 10 and not row["failure"] for row in rows.values())
        facts = json.loads((tmp_path / "engines" / "cnn" / f"{precision}.built.json").read_text())
        assert facts["made of"]["batch"] is None
        assert all(rows["cnn"][key] == facts[key] for key in ("layers", "build_s"))
    assert capsys.readouterr().out.count("built in") == 4
    assert run(script, monkeypatch, tmp_path, *options, "--builders", "2") == 0
    assert "built in" not in capsys.readouterr().out  # all is built
    session = script.Session(script.arguments())
    session.cut.append(script.Row("mlp", "float16", failure="cut off after 3 s"))
    report = session.report()
    assert "## mlp float16 failed" in report and "cut off after 3 s" in report
    assert "| cnn | float16  |" in report and "cnn float16 failed" not in report
    assert session.done(script.BUILT, "float16") == {"cnn", "lenet"}
    assert session.done(script.MEASURED, "float16") == set()  # a dry run measures nothing


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What PyTorch gives of LeNet."""
    folder = tmp_path_factory.mktemp("reference")
    command = [PYTHON, BENCHMARKS / "gpu_reference.py", folder, "--models", "lenet", "--device", "cpu"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def folder(reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One in which `gpu_many` has made the reference of LeNet, and processes note their steps."""
    shutil.copytree(reference, tmp_path / "many" / "reference")
    monkeypatch.setenv("EVENTS", str(tmp_path / "events"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return tmp_path / "many"


@pytest.fixture
def many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`gpu_many` of LeNet on one GPU, as `gpu_without_a_gpu.py` does it, with a fault and more options."""
    script = load("gpu_many", monkeypatch)
    monkeypatch.setattr(script, "count_gpus", lambda: 1)

    def call(fault: str, *options: object) -> int:
        monkeypatch.setenv("FAULT", fault)
        return run(script, monkeypatch, *options_of(folder), *options)

    return call


def options_of(folder: Path) -> tuple[object, ...]:
    """LeNet in float16 by both routes, as `gpu_without_a_gpu.py` does it."""
    options = (folder, "--models", "lenet", "--precisions", "float16", "--runtime", "tensorrt_rtx")
    return *options, "--torch", "true", "--tensorrt", f"{PYTHON} {WITHOUT_A_GPU}"


def events(folder: Path) -> list[tuple[str, ...]]:
    """The steps that processes have noted, without their numbers."""
    lines = (folder.parent / "events").read_text().splitlines()
    return [(step, *facts) for step, _, *facts in map(str.split, lines)]


def measured(folder: Path) -> dict[str, Any]:
    """The only row."""
    (path,) = folder.glob("measured/*/gpu.json")
    (row,) = json.loads(path.read_text())["rows"]
    return row


@pytest.mark.parametrize("builders", [0, 1])
@pytest.mark.parametrize(
    ("fault", "reason", "options"),
    [
        ("onnx abort", "died of SIGABRT while building", ()),
        ("onnx hang", "cut off after 10 s while building", ("--each", "10")),
    ],
)
def test_our_engine_is_measured_alone_where_the_onnx_route_ends_the_process(
    fault: str,
    reason: str,
    options: tuple[str, ...],
    builders: int,
    folder: Path,
    many: Callable[..., int],
) -> None:
    assert many(fault, "--builders", builders, *options) == 0
    assert events(folder) == [("ours",), ("onnx",), ("measured", "ours")]
    row = measured(folder)
    assert (row["failure"], row["onnx_failure"]) == ("", reason)
    assert row["build_s"] > 0 and row["layers"] > 5 and row["onnx_build_s"] == 0
    report = (folder / "gpu.md").read_text()
    assert f"- lenet by the ONNX route: {reason}" in report and "failed" not in report
    many(fault, "--builders", builders)
    assert len(events(folder)) == 3  # all is measured


def test_both_engines_are_measured_where_nothing_ends_the_process(
    folder: Path, many: Callable[..., int]
) -> None:
    many("", "--builders", 1)
    assert events(folder) == [("ours",), ("onnx",), ("measured", "ours", "onnx")]
    row = measured(folder)
    assert not (row["failure"] or row["onnx_failure"]) and row["onnx_build_s"] > 0


def test_what_was_not_measured_in_time_is_measured_by_the_next_call(
    folder: Path, many: Callable[..., int]
) -> None:
    many("onnx hang", "--budget", 10)
    assert events(folder) == [("ours",), ("onnx",)]
    report = (folder / "gpu.md").read_text()
    assert "## lenet float16 failed" in report and "not measured" in report
    assert "- lenet by the ONNX route: cut off after" in report
    many("onnx hang")
    assert events(folder)[2:] == [("measured", "ours")]
    assert measured(folder)["onnx_failure"].startswith("cut off after")


@pytest.mark.parametrize("builders", [0, 1])
def test_a_model_fails_where_our_own_build_ends_the_process(
    builders: int, folder: Path, many: Callable[..., int]
) -> None:
    many("ours abort", "--builders", builders)
    assert events(folder) == [("ours",)]
    report = (folder / "gpu.md").read_text()
    assert "## lenet float16 failed\n\n```\ndied of SIGABRT\n" in report and "ONNX route:" not in report
    many("ours abort", "--builders", builders)
    assert events(folder) == [("ours",)] * 2  # a further call tries again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_ended_by_a_signal_ends_its_processes(
    number: signal.Signals, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "onnx hang")
    asked = [str(each) for each in options_of(folder)]
    many = subprocess.Popen([PYTHON, BENCHMARKS / "gpu_many.py", *asked, "--dry-run"])
    noted, child = folder.parent / "events", 0
    try:
        wait_for(lambda: noted.exists() and "onnx" in noted.read_text())
        child = int(noted.read_text().split()[1])
        many.send_signal(number)
        assert many.wait(20) == 128 + number
        assert not Path(f"/proc/{child}").exists()
    finally:
        many.kill()
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    assert "ended by SIG" in (folder / "gpu.md").read_text()
    # That the build was ended says nothing about the route.
    assert not [*folder.glob("engines/*/*.built.json")]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


TURNS = """
import sys, time
print("not a result")
for line in sys.stdin:
    time.sleep(60 if line == "slow\\n" else 0)
    print("result", line, end="", flush=True)
    assert line != "bad\\n"
"""


def test_a_worker_does_one_after_another_until_it_fails_or_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load("gpu_worker", monkeypatch)

    def worker() -> Any:
        return script.Worker([sys.executable, "-c", TURNS], "result", tmp_path / "log")

    first = worker()
    assert [first.do(name, 60) for name in ("a", "b", "bad")] == ["result a", "result b", "result bad"]
    with pytest.raises(script.WorkerError, match="ended with 1"):
        first.do("c", 60)
    first.close()
    second = worker()
    with pytest.raises(script.WorkerError, match="cut off after 1 s"):
        second.do("slow", 1)
    third = worker()
    third.process.kill()
    third.process.wait()
    assert not third.is_alive
    third.close()
    log = (tmp_path / "log").read_text()
    assert log.count("not a result") >= 2 and "AssertionError" in log and "slow" not in log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--models", "cnn,nosuch"), "--models: the zoo has no nosuch"),
        (("--models", "cnn", "--builders", "2", "--budget", "100"), "--quiet: must be less than --budget"),
    ],
)
def test_what_cannot_be_done_is_refused_first(
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(load("gpu_many", monkeypatch), monkeypatch, tmp_path, *options)
    assert message in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Use Deprecated:DeprecationWarning")  # TensorRT-RTX times nothing
def test_builds_share_what_was_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("gpu_timings", monkeypatch)
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    config = builder.create_builder_config()
    folder = tmp_path / "timings"
    first = script.timings_of(config, folder)
    script.share(first, folder)
    script.share(first, folder)
    (kept,) = folder.iterdir()  # each process has one file
    assert kept.read_bytes() == bytes(first.serialize())
    shutil.copy(kept, folder / "1.timings")
    found = script.timings_of(config, folder)
    assert bytes(found.serialize()) == kept.read_bytes()
    assert config.set_timing_cache(found, ignore_mismatch=False)
    (folder / "2.timings").write_bytes(b"spoilt")
    assert bytes(script.timings_of(config, folder).serialize()) == kept.read_bytes()
