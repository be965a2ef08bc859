"""A checkpoint of another number of classes: one mistake, with the parameter that fits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtdsl.compile import check_file
from trtdsl.diagnostics import DiagnosticError
from trtdsl.options import CheckOptions
from trtdsl.verification import verify

HEADS = """
model heads(classes = 90, width = 8, depth = 2) {
  input x: float32[1, 3, 8, 8]
  y = x -> stem: Conv2d(width, 3)
  parts = [y -> "head.{i}": Conv2d((2 + i) * (classes + 1), 1) for i in range(depth)]
  output z = cat(parts, 1)
}

model fixed = heads(classes = 90)
"""


def weights(classes: int, width: int = 8, depth: int = 2) -> dict[str, Any]:
    found = {"stem.weight": np.ones((width, 3, 3, 3), np.float32), "stem.bias": np.ones(width, np.float32)}
    for i in range(depth):
        planes = (2 + i) * (classes + 1)
        found[f"head.{i}.weight"] = np.ones((planes, width, 1, 1), np.float32)
        found[f"head.{i}.bias"] = np.ones(planes, np.float32)
    return found


def said(tmp_path: Path, given: dict[str, Any], model: str = "heads") -> DiagnosticError:
    from safetensors.numpy import save_file

    (tmp_path / "heads.trtnet").write_text(HEADS, encoding="utf-8")
    save_file(given, tmp_path / "w.safetensors")
    with pytest.raises(DiagnosticError) as error:
        check_file(tmp_path / "heads.trtnet", tmp_path / "w.safetensors", CheckOptions(model=model))
    return error.value


@pytest.mark.parametrize(
    ("given", "help"),
    [
        (weights(9), "with `-D classes=9` all 4 weights of other shapes fit"),
        (weights(90, width=16), "with `-D width=16` all 4 weights of other shapes fit"),
    ],
)
def test_one_mistake_names_the_parameter(tmp_path: Path, given: dict[str, Any], help: str) -> None:
    (mistake,) = said(tmp_path, given).diagnostics
    assert "weights have other shapes than this layer needs" in mistake.message
    assert mistake.help == (help,)


@pytest.mark.parametrize(
    ("given", "model"),
    [
        (weights(9, width=16), "heads"),
        (weights(9), "fixed"),
        ({**weights(9), "head.1.bias": np.ones(7, np.float32)}, "heads"),
        ({key: value for key, value in weights(9).items() if key != "stem.bias"}, "heads"),
    ],
)
def test_nothing_is_proposed_that_does_not_fit(tmp_path: Path, given: dict[str, Any], model: str) -> None:
    error = said(tmp_path, given, model)
    assert len(error.diagnostics) > 1 and "-D" not in str(error)


def test_verify_says_it_of_the_module_s_own_weights(tmp_path: Path) -> None:
    from torch import nn

    text = "model m(classes = 10) {\n  input x: float32[1, 4]\n  output y = x -> 0: Linear(classes)\n}\n"
    (tmp_path / "m.trtnet").write_text(text, encoding="utf-8")
    with pytest.raises(DiagnosticError) as error:
        verify(tmp_path / "m.trtnet", against=nn.Sequential(nn.Linear(4, 7)))
    assert error.value.diagnostics[0].help == ("with `-D classes=7` both fit",)
