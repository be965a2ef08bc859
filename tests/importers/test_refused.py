"""What a user reads of a module that cannot be imported: each case gives exactly the text of its `.err` file.

``UPDATE_GOLDEN=1 pytest tests/importers/test_refused.py`` writes them anew; read what changed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

from tests.importers import modules
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.module import import_module

HERE = Path(__file__).parent

CASES: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "one_batch": ("OneBatch", {"x": "float32[N, 4]"}, {}),
    "packs": ("Packs", {"x": "float32[N, S, 4]", "lengths": "int64[N] in 1 .. 8"}, {"S": "8 .. 8 .. 32"}),
    "casts_inside": ("CastsInside", {"x": "float32[N, S, 4]"}, {}),
    "equal": ("Equal", {"x": "float32[N, M]"}, {"N": "1 .. 8 .. 32", "M": "1 .. 8 .. 32"}),
    "chooses": ("Chooses", {"x": "float32[N, 4]"}, {}),
    "loops": ("Loops", {"x": "float32[N, 4]"}, {}),
    "iterates": ("Iterates", {"x": "float32[N, 4]"}, {}),
    "unbinds": ("Unbinds", {"x": "float32[2, S]"}, {}),
    "reads": ("Reads", {"x": "float32[N, 4]"}, {}),
    "selects": ("Selects", {"x": "float32[N, 4]"}, {}),
    "lacking": ("Lacking", {"x": "float32[4, 4]"}, {}),
    "parametrized": ("Parametrized", {"x": "float32[N, 4]"}, {}),
    "generates": ("Generates", {"x": "float32[N, 4]"}, {}),
    "fails": ("Fails", {"x": "float32[N, 4]"}, {}),
    "leaves": ("Leaves", {"x": "float32[N, 4]"}, {}),
    "unknown_dtype": ("Empty", {"x": "flaot32[N, 4]"}, {}),
    "unknown_dimension": ("Empty", {"x": "float32[N, 4]"}, {"M": "1 .. 2 .. 3"}),
    "short_range": ("Empty", {"x": "float32[N, 4]"}, {"N": "1 .. 2"}),
    "range_backwards": ("Empty", {"x": "float32[N, 4]"}, {"N": "9 .. 2 .. 1"}),
    "two_dimensions": ("Empty", {"a": "float32[N + M, 4]", "b": "float32[N, M]"}, {}),
    "doubles_some": ("DoublesSome", {"x": "float32[N, S, 8]"}, {"S": "20 .. 30 .. 70"}),
    "may_be_zero": ("ModuloOfSizes", {"x": "float32[N, S]"}, {}),
    "pyramid": ("Pyramid", {"x": "float32[N, 4, H, W]"}, {}),
    "too_many_inputs": ("Empty", {"x": "float32[N, 4]", "y": "float32[N, 4]"}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE.parent.parent)
    kind, inputs, dims = CASES[name]
    with pytest.raises(DiagnosticError) as error:
        import_module(getattr(modules, kind)(), inputs, dims)
    # What torch and Python say differs from release to release.
    text = re.sub(r"((?:Runtime|Type)Error: ).*", r"\1…", f"{error.value}\n")
    golden = HERE / "errors" / f"{name}.err"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in (HERE / "errors").iterdir()} == {*CASES}


def test_a_range_that_the_module_narrows_is_noted_with_the_line() -> None:
    imported = import_module(modules.OneBranch(), {"x": "float32[N, S]"})
    (note,) = imported.notes
    assert (note.severity, note.message) == ("note", "the module takes `S` from 101 .. 512")
    assert note.span and note.span.text == "if x.shape[1] > 100:"
    assert "dim S = 101 .. 128 .. 512" in imported.text


def test_a_step_is_found() -> None:
    imported = import_module(modules.Multiple(), {"x": "float32[N, S]"}, {"S": "4 .. 30 .. 63"})
    assert "dim S = 8 .. 28 .. 60, step = 4" in imported.text
    assert imported.notes[0].message == "the module takes `S` from 8 .. 60 in steps of 4"


def test_a_model_without_dimensions_has_no_notes() -> None:
    imported = import_module(modules.Empty(), {"x": "float32[2, 4]"})
    assert (imported.notes, imported.dims) == ((), ())


class PoolsWhatIsHalved(modules.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = modules.nn.Conv2d(3, 4, 3, stride=2)
        self.relu = modules.nn.ReLU()
        self.pool = modules.nn.AdaptiveAvgPool2d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.relu(self.conv(x)))


def test_only_the_operation_is_refused_that_cannot_be_imported() -> None:
    with pytest.raises(DiagnosticError) as caught:
        import_module(PoolsWhatIsHalved(), {"x": "float32[N, 3, H, W]"})
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message.startswith("`adaptive_avg_pool2d` cannot be imported: the windows")
