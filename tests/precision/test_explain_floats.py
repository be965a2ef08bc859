"""`trtdsl explain --precision float16`: what stays float32, and why; and the same from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import trtdsl
from tests.command import trtdsl as command
from trtdsl.diagnostics import UsageError
from trtdsl.precision.floating_report import BETWEEN, FloatingReport
from trtdsl.types import DType

TEXT = """model m {
  dim N = 1 .. 2 .. 8
  input x: float32[N, 3, 128]
  h = x -> a: Linear(128) -> n: LayerNorm(128)
  p = softmax(h, -1) * 0.5 -> softmax(-1)
  output y = p -> b: Linear(32)
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    shapes = {"a.weight": (128, 128), "a.bias": (128,), "n.weight": (128,), "n.bias": (128,)}
    shapes |= {"b.weight": (32, 128), "b.bias": (32,)}
    from safetensors.numpy import save_file

    save_file(
        {key: random.normal(0, 0.1, s).astype("f4") for key, s in shapes.items()}, tmp_path / "w.safetensors"
    )
    np.savez(tmp_path / "d.npz", x=random.normal(0, 1, (8, 3, 128)).astype("f4"))
    (tmp_path / "m.trtnet").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


FILES = ("m.trtnet", "w.safetensors")


def test_what_stays_float32_has_a_line_with_its_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    assert command("explain", *FILES, "--precision", "float16", "--keep", "float32=b") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[*line.split(maxsplit=3)[:3], line] for line in lines[1:-3]]
    assert [row[:3] for row in rows] == [
        ["a", "Linear", "float16"],
        ["n", "LayerNorm", "float16"],
        ["-", "softmax", "float32"],
        ["-", "mul", "float32"],
        ["-", "softmax", "float32"],
        ["b", "Linear", "float32"],
    ]
    assert "it adds up more than 64 exponentials" in rows[2][3] and rows[2][3].endswith("m.trtnet:5:7")
    assert BETWEEN in rows[3][3]
    assert "it matches `b` in `--keep`" in rows[5][3]
    assert lines[-2] == "4 of 6 operators stay float32, 1 of them between others that do; casts: 2"
    assert sorted(folder.iterdir()) == before


def test_as_json_with_what_data_say(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("large.npz", x=np.full((8, 3, 128), 6e4, "f4"))
    assert command("explain", *FILES, "--precision", "float16", "--calibrate", "large.npz", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["precision"], found["operators"]) == ("float16", 6)
    first = found["layers"][0]
    assert (first["layer"], first["operator"], first["dtype"]) == ("a", "Linear", "float32")
    assert first["why"].endswith("and float16 ends at 65504") and first["source"] == "m.trtnet:4:12"


def test_from_python_with_the_same_words(folder: Path) -> None:
    (folder / "half.toml").write_text('precision = "bfloat16"\n[keep]\nfloat32 = ["a"]\n')
    options = trtdsl.CompileOptions(recipe=trtdsl.Recipe.from_file("half.toml"))
    found = trtdsl.explain_file(*FILES, options)
    assert isinstance(found, FloatingReport) and found.dtype is DType.BFLOAT16
    assert [layer.name for layer in found.wide] == ["a", "n", "softmax", "mul", "softmax"]
    assert trtdsl.verify(*FILES, recipe=options.recipe).precision == "bfloat16"


def test_ranges_from_python_are_those_of_the_command(folder: Path) -> None:
    found = trtdsl.calibrate_file(*FILES, "d.npz", method="percentile", percentile=99, samples=4)
    told = ("--calibrate", "d.npz", "--method", "percentile", "--percentile", "99", "--samples", "4")
    assert command("calibrate", *FILES, *told, "-o", "r.json") == 0
    assert found.text() == (folder / "r.json").read_text()
    assert found.samples == 4 and {*found.layers} == {"a", "b"}


def test_words_beside_a_file_count_more_in_python_too(folder: Path) -> None:
    # Some editors of Windows begin a text with the mark of UTF-8.
    (folder / "r.toml").write_text(
        'precision = "int8"\ncalibrate = "d.npz"\nsamples = 4\n', encoding="utf-8-sig"
    )
    recipe = trtdsl.Recipe.from_file(folder / "r.toml", samples=2)
    assert (recipe.samples, recipe.calibrate) == (2, folder / "d.npz")


def test_calibrate_needs_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("calibrate", *FILES) == 2
    assert "give `--calibrate samples.npz`" in capsys.readouterr().err
    (folder / "text.npz").write_text("1 2 3")
    with pytest.raises(
        UsageError, match=r"cannot read `text\.npz`: it is not a \.npy or \.npz file of numpy"
    ):
        trtdsl.calibrate_file(*FILES, "text.npz")
