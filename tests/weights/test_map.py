"""A weights map: lines of a `weights` section in a file of their own; mistakes are in ``tests/errors``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

import trtdsl
from tests.command import trtdsl as command
from trtdsl import CheckOptions
from trtdsl.compile import check_file, compile_command
from trtdsl.diagnostics import DiagnosticError, Source
from trtdsl.elaborate import elaborate
from trtdsl.options import CompileOptions
from trtdsl.syntax.parser import parse_weights_map

MODEL = """model m(width = 4) {
  input x: float32[2, 8]
  output y = x -> fc: Linear(width) -> "out": Linear(3)

  weights {
    "*" = "old.*"
    "fc.bias" = "section"
  }
}
"""
MAP = """# Where the exporter has them.
"*" = "new.*"
"fc.weight" = transpose("new.kernel.{width}", 0, 1)  # stored as [in, out]
"""
RNG = np.random.default_rng(0)
ARRAYS = {
    "new.kernel.4": RNG.standard_normal((8, 4), np.float32),
    "section": RNG.standard_normal(4, np.float32),
    "new.out.weight": RNG.standard_normal((3, 4), np.float32),
    "new.out.bias": RNG.standard_normal(3, np.float32),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a map and a checkpoint, and being in it."""
    monkeypatch.chdir(tmp_path)
    Path("m.trtnet").write_text(MODEL)
    Path("m.map").write_text(MAP)
    save_file(ARRAYS, "m.safetensors")
    return tmp_path


def stored(lines: str, text: str = MODEL) -> dict[str, str]:
    """Where the checkpoint has each weight, by its key."""
    graph = elaborate(text, "m.trtnet", weights_map=Source("m.map", lines)).graph
    return {weight.key: weight.stored.text for weight in graph.weights if weight.stored}


def test_the_file_decides_where_the_section_says_as_much() -> None:
    assert stored("") == {
        "fc.weight": '"old.fc.weight"',
        "fc.bias": '"section"',
        "out.weight": '"old.out.weight"',
        "out.bias": '"old.out.bias"',
    }
    assert stored(MAP) == {
        "fc.weight": 'transpose("new.kernel.4", 0, 1)',
        "fc.bias": '"section"',  # it says more than the file's pattern
        "out.weight": '"new.out.weight"',
        "out.bias": '"new.out.bias"',
    }
    assert stored('"fc.bias" = "file"')["fc.bias"] == '"file"'


def test_of_patterns_that_say_as_much_the_files_decides() -> None:
    text = MODEL.replace('"*" =', '"*.weight" =')
    assert stored('"fc.weig*" = "file.*"', text)["fc.weight"] == '"file.ht"'


def test_a_map_needs_no_section() -> None:
    text = MODEL[: MODEL.index("\n  weights")] + "}\n"
    assert stored('"*" = "net.*"', text)["out.bias"] == '"net.out.bias"'
    assert stored("# nothing\n", text) == {}


def test_places_in_a_map_are_the_files_own() -> None:
    (first, _), (second, value) = parse_weights_map(Source("m.map", "\ufeff" + MAP))
    assert (str(first.span), str(second.span)) == ("m.map:2:1", "m.map:3:1")
    assert value.span.text == 'transpose("new.kernel.{width}", 0, 1)'


def test_every_mistake_of_a_map_is_told() -> None:
    with pytest.raises(DiagnosticError) as caught:
        parse_weights_map(Source("m.map", '"a" = = "b"\n"c" = "d"\n"e" "f"\n  "g" = "{1 +}"\n"h" = "i" }\n'))
    places = [str(each.span) for each in caught.value.diagnostics]
    assert places == ["m.map:1:7", "m.map:3:5", "m.map:4:13", "m.map:5:11"]


def test_check_show_compile_and_verify_take_a_map(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("check", "m.trtnet", "m.safetensors") == 1
    capsys.readouterr()
    chosen = ("m.trtnet", "m.safetensors", "--weights-map", "m.map")
    assert command("check", *chosen) == 0
    assert capsys.readouterr().err == ""
    assert command("show", "m.trtnet", "--weights-map", "m.map") == 0
    assert '"fc.weight" = transpose("new.kernel.4", 0, 1)' in capsys.readouterr().out
    assert command("compile", *chosen, "-q") == 0
    manifest = json.loads((folder / "m.engine.json").read_text())
    assert manifest["command"] == ["compile", *chosen]
    data = check_file("m.trtnet", "m.safetensors", CheckOptions(weights_map="m.map")).graph.weights[0].data
    assert data is not None
    np.testing.assert_array_equal(data, ARRAYS["new.kernel.4"].T)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.ParameterDict({"4": nn.Parameter(torch.from_numpy(ARRAYS["new.kernel.4"]))})
        self.out = nn.Linear(4, 3)


class Exported(nn.Module):
    """The original of the model, whose keys are those of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.new = Inner()
        self.section = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.new.out(x @ self.new.kernel["4"] + self.section)


def test_verify_reads_the_module_through_a_map(folder: Path) -> None:
    module = Exported()
    assert trtdsl.verify("m.trtnet", None, module, weights_map="m.map").equal
    with pytest.raises(DiagnosticError, match=r"the checkpoint has no `old\.fc\.weight`"):
        trtdsl.verify("m.trtnet", None, module)


def test_a_map_is_never_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("m.trtnet", "m.safetensors", "--weights-map", "m.map")
    assert command("compile", *chosen, "-o", "m.map") == 2
    assert (folder / "m.map").read_text() == MAP


def test_a_map_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in ("none.map", "."):
        assert command("check", "m.trtnet", "--weights-map", file) == 2
        assert f"cannot read `{file}`" in capsys.readouterr().err


def test_the_command_names_the_map() -> None:
    command = compile_command("m.trtnet", "w.pth", CheckOptions(weights_map=Path("a.map")), CompileOptions())
    assert command == ("compile", "m.trtnet", "w.pth", "--weights-map", "a.map")
