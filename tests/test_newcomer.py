"""What a newcomer does first and gets wrong: he is told what to do instead."""

from __future__ import annotations

import math
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trtdsl
from tests.command import trtdsl as command
from tests.torch_release import can_import
from trtdsl.cli.call_arguments import call_arguments
from trtdsl.diagnostics import RefusedByTensorRT, UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.importers.module import import_module
from trtdsl.options import CompileOptions
from trtdsl.output import show_size
from trtdsl.recipe import Recipe
from trtdsl.runtime.binding import require_named
from trtdsl.trt.manifest import load_manifest

ROOT = Path(__file__).resolve().parents[1]
TEXT = """model pair {
  dim N = 1 .. 2 .. 8
  input image: float32[N, 3, 32]
  input scale: float32[N]
  output y = image * scale[:, none, none] -> fc: Linear(16)
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pair.trtnet").write_text(TEXT)
    torch.save({"fc.weight": torch.ones(16, 32), "fc.bias": torch.zeros(16)}, tmp_path / "pair.pth")
    return tmp_path


@pytest.fixture
def net(folder: Path) -> trtdsl.Runner:
    return trtdsl.load("pair.trtnet", "pair.pth", device="cpu")


def said(call: Any, kind: type[Exception] = UsageError) -> str:
    with pytest.raises(kind) as error:
        call()
    return str(error.value)


IMAGE, SCALE = np.ones((2, 3, 32), np.float32), np.ones(2, np.float32)


def test_a_gpu_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_device(*_: Any) -> None:
        raise RefusedByTensorRT(trtdsl.diagnostics.Diagnostic("there is no NVIDIA GPU", help=("other",)))

    monkeypatch.setattr("trtdsl.runtime.cuda.current_device", no_device)
    text = said(lambda: trtdsl.load("pair.trtnet", "pair.pth", device="gpu"), RefusedByTensorRT)
    assert "there is no NVIDIA GPU" in text and 'help: `device="cpu"`, or none, computes' in text
    assert "other" not in text


def test_arrays_without_names(net: trtdsl.Runner) -> None:
    text = said(lambda: net(IMAGE, SCALE))
    assert "inputs are given by name, not by position" in text
    assert "write `(image=..., scale=...)`" in text and "its inputs: image: float32[N, 3, 32]" in text
    assert "`(**arrays)`" in said(lambda: net({"image": IMAGE, "scale": SCALE}))
    wrongs: list[Any] = [IMAGE, [IMAGE, SCALE], None]
    keyed: Any = {0: IMAGE}
    for wrong in wrongs:
        assert f"what is given is of type {type(wrong).__name__}" in said(lambda wrong=wrong: net.run(wrong))
    assert "with other keys" in said(lambda: net.run(keyed))


def test_engines_are_called_by_names_too(folder: Path) -> None:
    trtdsl.compile_file("pair.trtnet", "pair.pth", "pair.engine")
    manifest = load_manifest(folder / "pair.engine")
    assert "not by position" in said(lambda: require_named(manifest, (IMAGE,)))
    require_named(manifest, ())


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ({"image": IMAGE, "scale": SCALE}, "one after the other, but what is given is one batch"),
        (3, "what is given is of type int"),
        ([IMAGE], "arrays are expected in a mapping by the inputs' names"),
        ([{"image": IMAGE}], "no value is given for the input `scale`"),
    ],
)
def test_a_stream_of_something_else(net: trtdsl.Runner, batches: Any, words: str) -> None:
    assert words in said(lambda: list(net.stream(batches)))


def test_a_stream_that_is_wrongly_ahead(net: trtdsl.Runner) -> None:
    assert "`ahead` must be a number of batches" in said(lambda: net.stream([], ahead=-1))


def test_nothing_on_the_cpu_is_called_an_engine(net: trtdsl.Runner) -> None:
    good: dict[str, Any] = {"image": IMAGE, "scale": SCALE}
    for wrong in (
        {"imag": IMAGE},
        {"image": IMAGE[:, :2]},
        {"image": IMAGE[0]},
        {"scale": SCALE.astype(int)},
    ):
        assert "engine" not in said(lambda wrong=wrong: net.run({**good, **wrong}))
    many = {"image": np.ones((9, 3, 32), np.float32), "scale": np.ones(9, np.float32)}
    assert "the model does not accept image = 9x3x32" in said(lambda: net.run(many))


def test_shapes_say_what_must_be(net: trtdsl.Runner) -> None:
    assert "dimension 1 must be 3, not 2" in said(lambda: net(image=IMAGE[:, :2], scale=SCALE))
    assert "it must have 3 dimensions, not 2" in said(lambda: net(image=IMAGE[0], scale=SCALE))
    assert "it must have 1 dimension, not 3" in said(lambda: net(image=IMAGE, scale=IMAGE))


def test_a_checkpoint_in_the_place_of_a_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(lambda: trtdsl.load("pair.pth"))
    assert "is a checkpoint, which does not say what its model computes" in text
    assert 'give the model first: `trtdsl.load("model.trtnet", "pair.pth")`' in text
    assert "is a checkpoint" in said(lambda: trtdsl.load("pair.pth", "pair.trtnet"))
    for line in (("check", "pair.pth"), ("compile", "pair.pth", "pair.trtnet"), ("run", "pair.pth")):
        assert command(*line) == 2
        assert "`pair.pth` is a checkpoint, not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"), [("fp16", "float16"), ("half", "float16"), ("bf16", "bfloat16"), ("FP32", "float32")]
)
def test_other_names_of_precisions(given: str, meant: str) -> None:
    for call in (lambda: Recipe(precision=given), lambda: CompileOptions(precision=given)):
        assert f"the precision is `{given}`, did you mean `{meant}`?" in said(call)


def test_other_names_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("check", "pair.trtnet", "pair.pth", "--weights-dtype", "fp16") == 2
    assert "did you mean `float16`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--fp16", "float16"),
        ("--half", "float16"),
        ("--bf16", "bfloat16"),
        ("--int8", "int8"),
        ("--best", ""),
    ],
)
def test_a_precision_in_the_place_of_an_option(
    folder: Path, capsys: pytest.CaptureFixture[str], given: str, meant: str
) -> None:
    for name in ("compile", "verify"):
        assert command(name, "pair.trtnet", "pair.pth", given) == 2
        text = capsys.readouterr().err
        assert given in text and ("Did you mean '--precision" in text) is bool(meant)
        assert not meant or f"Did you mean '--precision {meant}'?" in text
    assert command("check", "pair.trtnet", given) == 2
    assert "--precision" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": IMAGE}, "the data have no `scale`"),
        ({"image": IMAGE, "scale": SCALE, "x": SCALE}, "the model has no input `x`"),
        ({"image": IMAGE.astype(int), "scale": SCALE}, "but the data are int64[2, 3, 32]"),
    ],
)
def test_data_of_another_model(
    folder: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, Any], words: str
) -> None:
    np.savez(folder / "samples.npz", **arrays)
    line = ("pair.trtnet", "pair.pth", "--calibrate", "samples.npz")
    for started in (("calibrate", *line), ("compile", *line, "--precision", "int8")):
        assert command(*started) == 2
        text = capsys.readouterr().err
        assert words in text and "the data are those of `samples.npz`" in text
        assert "the model's inputs: image: float32[N, 3, 32], scale: float32[N]" in text


def test_an_export_that_is_not_told_what(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("export", "pair.trtnet", "pair.pth") == 2
    assert "give `--to tensorrt`" in capsys.readouterr().err


def test_bfloat16_for_a_release_without_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("export", "--to", "tensorrt", "pair.trtnet", "pair.pth", "--precision", "bfloat16")
    assert command(*line) == 3
    text = capsys.readouterr().err
    assert "does not support bfloat16" in text and "give `--precision float16`" in text
    assert command("export", "--to", "tensorrt", "pair.trtnet", "pair.pth", "--precision", "float16") == 0


@pytest.fixture
def script(folder: Path) -> Path:
    assert command("export", "--to", "tensorrt", "pair.trtnet", "pair.pth", "-o", "build.py", "-q") == 0
    return folder / "build.py"


def started(script: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(script), run_name="__main__")
    return str(error.value)


def test_a_script_without_its_weights(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script.with_suffix(".npz").unlink()
    assert "build.npz is missing: copy it" in started(script, monkeypatch)
    script.with_suffix(".npz").write_bytes(b"PK\x03\x04 cut")
    assert "is not the file of weights that was written with this script" in started(script, monkeypatch)


@pytest.mark.parametrize("option", ["-o", "--timing-cache"])
def test_a_script_that_may_not_write(script: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    said = started(script, monkeypatch, option, "nowhere/x")
    assert re.search(r"cannot write nowhere/x: the folder \S*nowhere does not exist", said)
    said = started(script, monkeypatch, option, str(script.parent))
    assert said == f"cannot write {script.parent}: it is a folder"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--runtime", "numpy", "invalid choice: 'numpy'"),
        ("--workspace", "-1", "invalid positive value: '-1'"),
    ],
)
def test_a_script_that_is_asked_for_what_cannot_be(
    script: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    message: str,
) -> None:
    started(script, monkeypatch, option, value)
    assert message in capsys.readouterr().err


def test_every_option_of_a_script_is_documented(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started(script, monkeypatch, "--help")
    options = {
        word.strip(",[]") for word in capsys.readouterr().out.split() if word.strip("[").startswith("--")
    }
    page = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")
    assert [option for option in sorted(options - {"--help"}) if f"`{option}" not in page] == []


def test_a_bare_word_is_a_string_for_python() -> None:
    """Also where the language has an operator of that name."""
    given = ("mode=mean", "name=resnet18.a1_in1k", "n=3", "on=true", "off=none", 'quoted="max"', "w=[1, 2]")
    assert call_arguments(given) == {
        "mode": "mean",
        "name": "resnet18.a1_in1k",
        "n": 3,
        "on": True,
        "off": None,
        "quoted": "max",
        "w": [1, 2],
    }


def test_python_is_given_what_python_can_write() -> None:
    nested = "rope={'type': \"default\", 'sizes': (1, [2, -3.5]), 'on': None, 'off': false, 'most': -inf}"
    assert call_arguments([nested, "path='a b'"]) == {
        "rope": {"type": "default", "sizes": (1, [2, -3.5]), "on": None, "off": False, "most": -math.inf},
        "path": "a b",
    }


@pytest.mark.parametrize("text", ["acts=[relu, gelu]", "f=open('x')", "n=1 +", "words=a b", "n={[]: 1}"])
def test_what_is_not_a_literal(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a number, string, None, or list, tuple or dict of these"):
        call_arguments([text])


@pytest.mark.skipif(not can_import(), reason="importing asks for a newer PyTorch than the package's lowest")
def test_what_an_import_gives_is_shown_in_a_line() -> None:
    found = import_module(torch.nn.Linear(3, 4), {"x": "float32[N, 3]"})
    assert len(repr(found)) < 120 and repr(found).startswith("<Imported: ")
    assert len(repr(elaborate_text(TEXT))) < 120


def test_sizes_have_the_unit_that_suits_them() -> None:
    assert show_size(900) == "0.9 kB" and show_size(1_500_000) == "1.5 MB"


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda p: p.name)
def test_no_page_installs_from_an_index(page: Path) -> None:
    """The package is installed from a checkout."""
    text = page.read_text(encoding="utf-8")
    assert "pip install trtdsl" not in text and 'pip install "trtdsl' not in text
