"""A checkpoint and files beside it, which hold further keys."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import trtdsl
from tests.command import trtdsl as command
from trtdsl import CheckOptions, CompileOptions
from trtdsl.compile import check_file, compile_command
from trtdsl.diagnostics import DiagnosticError
from trtdsl.weights import entered, load_checkpoints

MODEL = "model m { input x: float32[2, 4] output y = x -> fc: Linear(3) }"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model whose weights are in two files, and being in it."""
    monkeypatch.chdir(tmp_path)
    Path("m.trtnet").write_text(MODEL)
    torch.save({"ema": {"net.fc.weight": torch.ones(3, 4)}, "model": {"a": torch.ones(1)}}, "a.pth")
    save_file({"fc.bias": np.full(3, 2, np.float32)}, "b.safetensors")
    return tmp_path


FIRST = ("--section", "ema", "--weights-prefix", "net.")


def test_section_and_prefix_are_those_of_the_first_file(folder: Path) -> None:
    checkpoint = load_checkpoints(["a.pth", "b.safetensors"], section="ema", prefix="net.")
    assert {key: checkpoint[key].tolist() for key in checkpoint} == {
        "fc.weight": [[1.0] * 4] * 3,
        "fc.bias": [2.0] * 3,
    }
    assert (checkpoint.path, checkpoint.section) == (Path("a.pth"), "ema")


def test_one_file_is_what_it_is_alone(folder: Path) -> None:
    assert load_checkpoints(["b.safetensors"]).parts == ()


def test_what_is_noted_of_each_file_is_noted(folder: Path) -> None:
    torch.save({"model": {"fc.bias": torch.ones(3)}, "epoch": 3}, "c.pth")
    notes = entered(load_checkpoints(["a.pth", "c.pth"], section="ema"), "ema")
    assert notes == ("took the weights of `model`, a section of `c.pth`",)


def test_a_key_in_two_files_is_refused_with_both_names(folder: Path) -> None:
    save_file({f"k{i}": np.ones(1, np.float32) for i in range(7)}, "c.safetensors")
    save_file({f"k{i}": np.ones(1, np.float32) for i in range(9)}, "d.safetensors")
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoints(["c.safetensors", "b.safetensors", "d.safetensors"])
    first, *_, last = [each.message for each in caught.value.diagnostics]
    assert first == "`k0` is in two files: `c.safetensors` and `d.safetensors`"
    assert last == "2 further keys are in two files"


def test_a_tensor_that_cannot_be_read_is_told_with_its_own_file(folder: Path) -> None:
    torch.save({"fc.bias": torch.eye(3).to_sparse()}, "c.pth")
    with pytest.raises(DiagnosticError, match=r"`c\.pth` has a tensor `fc\.bias` that cannot be read"):
        load_checkpoints(["a.pth", "c.pth"], section="ema")["fc.bias"]


def test_every_command_takes_several_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("m.trtnet", "a.pth", "b.safetensors", *FIRST)
    assert command("check", *files) == 0
    assert command("show", *files) == 0
    assert command("compile", *files, "-q") == 0
    np.savez("expected.npz", x=np.ones((2, 4), np.float32), y=np.full((2, 3), 6, np.float32))
    assert command("verify", *files, "--outputs", "expected.npz") == 0
    assert capsys.readouterr().err == ""
    assert command("check", "m.trtnet", "a.pth", *FIRST) == 1
    manifest = json.loads(Path("m.engine.json").read_text())
    assert manifest["command"] == [
        *("compile", "m.trtnet", "a.pth", "b.safetensors"),
        *("--section", "ema", "--weights-prefix", "net."),
    ]
    assert command("compile", *files, "-q", "-o", "b.safetensors") == 2, "a source is overwritten"


def test_the_library_takes_one_file_or_several(folder: Path) -> None:
    options = CheckOptions(section="ema", weights_prefix="net.")
    graph = check_file("m.trtnet", ["a.pth", Path("b.safetensors")], options).graph
    assert all(weight.data is not None for weight in graph.weights)
    module = torch.nn.Sequential()
    module.fc = torch.nn.Linear(4, 3)
    files = ("a.pth", "b.safetensors")
    assert trtdsl.verify("m.trtnet", files, module, section="ema", weights_prefix="net.").equal
    several = compile_command("m.trtnet", ["a", "b"], CheckOptions(), CompileOptions())
    assert several == ("compile", "m.trtnet", "a", "b")
    assert compile_command("m.trtnet", (), CheckOptions(), CompileOptions()) == ("compile", "m.trtnet")
