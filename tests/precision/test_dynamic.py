"""nvfp4 and mxfp8: linear layers whose tensors get scales of blocks while the network runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.command import trtdsl
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, show
from trtdsl.ops.quantization import problem_of_scales
from trtdsl.passes import convert_precision, optimize
from trtdsl.precision.dynamic import powers_of_two
from trtdsl.precision.pipeline import narrow
from trtdsl.recipe import Recipe
from trtdsl.reference import random_weights, run
from trtdsl.trt.lower import lower
from trtdsl.types import DType

MODEL = """model m() {
  dim N = 1 .. 4 .. 8
  input x: float32[N, 4, 128]
  h = x -> up: Linear(256) -> gelu -> down: Linear(64)
  output y = h -> head: Linear(10)
}
"""
FILES = ("m.trtnet", "m.safetensors")


@pytest.fixture
def graph() -> Graph:
    return optimize(random_weights(elaborate_text(MODEL), 1))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: Graph) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("m.trtnet").write_text(MODEL)
    save_file({weight.key: np.asarray(weight.data) for weight in graph.weights}, "m.safetensors")
    data = np.random.default_rng(0).normal(0, 1, (12, 4, 128)).astype(np.float32)
    np.savez("d.npz", x=data)
    return tmp_path


def closing(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.partition(" for sm120\n\n")[2].splitlines()


def test_nvfp4_is_computed_in_float4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "nvfp4", "--calibrate", "d.npz", "--target", "sm120")
    assert trtdsl("compile", *FILES, *told) == 0
    lines = closing(capsys)
    assert lines[0] == "layers   nvfp4 2, float16 1"
    assert lines[2] == "pairs    2 tensors are quantised and read back"
    assert "kernels  TensorRT computes 2 of 2 planned layers in nvfp4" in lines


def test_what_computes_mxfp8_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("compile", *FILES, "--precision", "mxfp8", "--target", "sm120") == 0
    lines = closing(capsys)
    assert lines[0] == "layers   mxfp8 2, float16 1"
    assert lines[4:7] == [
        "kernels  TensorRT computes 0 of 2 planned layers in mxfp8",
        *(
            f"  {label}: float16, because TensorRT-RTX has no products of mxfp8: it saves memory alone"
            for label in ("up", "down")
        ),
    ]


def test_explain_calls_it_by_its_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "nvfp4", "--calibrate", "d.npz", "--target", "sm120")
    assert trtdsl("explain", *FILES, *told) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert rows == [["layer", "type"], ["up", "nvfp4"], ["down", "nvfp4"], ["head", "float16"]]


def narrowed(graph: Graph, precision: str, folder: Path) -> Graph:
    return narrow(graph, Recipe(precision=precision, calibrate=folder / "d.npz")).graph


def held(graph: Graph, key: str) -> Any:
    return np.asarray(next(weight.data for weight in graph.weights if weight.key == key))


def test_the_network_computes_what_the_graph_does(graph: Graph, folder: Path) -> None:
    found = narrowed(graph, "nvfp4", folder)
    assert show(elaborate_text(show(found))) == show(found)
    lowered = lower(found)
    inputs = {"x": np.load("d.npz")["x"][:4]}
    computed = evaluate(lowered.network, inputs, weights=lowered.weights)["y"]
    wanted = run(found, inputs)["y"]
    torch.testing.assert_close(computed, wanted, rtol=1e-4, atol=1e-4)
    exact = run(graph, inputs)["y"]
    assert 0.02 < float((wanted - exact).norm() / exact.norm()) < 0.25


def test_mxfp8_is_nearer(graph: Graph, folder: Path) -> None:
    inputs = {"x": np.load("d.npz")["x"][:4]}
    exact = run(graph, inputs)["y"]
    found = narrowed(graph, "mxfp8", folder)
    assert show(elaborate_text(show(found))) == show(found)
    wanted = run(found, inputs)["y"]
    assert 0.005 < float((wanted - exact).norm() / exact.norm()) < 0.08


@pytest.mark.parametrize("size", [1e-6, 1.0, 3e4])
def test_scales_have_all_their_digits_in_the_engine(graph: Graph, folder: Path, size: float) -> None:
    for weight in graph.weights:
        if weight.key == "up.weight":
            np.asarray(weight.data)[...] *= size
            np.asarray(weight.data)[0, :16] = 0
    found = convert_precision(DType.FLOAT16)(narrowed(graph, "nvfp4", folder))
    scales = [weight for weight in found.weights if "scale" in weight.key]
    assert {w.key.rpartition(".")[2] for w in scales} == {"input_scale", "weight_scale", "weight_scale_2"}
    assert [problem_of_scales(np.asarray(weight.data)) for weight in scales] == [None] * len(scales)
    codes, each = held(found, "up.weight"), held(found, "up.weight_scale").astype(np.float32)
    back = codes.astype(np.float32).reshape(256, -1, 16) * each[..., None]
    back = back.reshape(256, 128) * held(found, "up.weight_scale_2").astype(np.float32)
    wanted = held(graph, "up.weight")
    assert (back[0, :16] == 0).all()
    if size >= 1:
        assert np.linalg.norm(back - wanted) < 0.12 * np.linalg.norm(wanted)


def test_powers_of_two_are_not_below() -> None:
    scales = np.array([1.0, 1.1, 0.5, 3e-40, 2.0**-126], np.float32)
    assert powers_of_two(scales).tolist() == [1.0, 2.0, 0.5, 2.0**-126, 2.0**-126]
