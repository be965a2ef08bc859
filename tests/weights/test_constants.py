"""`Constant`: a tensor of the text, whose values a file beside the checkpoint has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from tests.command import trtdsl as command
from trtdsl.compile import require_values
from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import difference, show
from trtdsl.passes import optimize
from trtdsl.verification import verify
from trtdsl.weights import bind

MODEL = """model m {
  input x: float32[4, 4]
  hidden = x -> fc: Linear(4)
  output y = where(mask: Constant(4, 4, dtype = bool), hidden, 0.0) * (scale: Constant(4))
}
"""
Arrays = dict[str, npt.NDArray[Any]]
MASK = np.tril(np.ones((4, 4), np.bool_))
SCALE = np.arange(1, 5, dtype=np.float32)
CONSTANTS: Arrays = {"mask": MASK, "scale": SCALE}
WEIGHTS: Arrays = {"fc.weight": np.eye(4, dtype=np.float32) * 3, "fc.bias": np.ones(4, np.float32)}
NOTE = "the constants `mask` and 1 more have no values yet: give the file that has them after the checkpoint"


class Masked(nn.Module):
    """The original, whose mask and scale are in no state dict, as they are computed in its constructor."""

    def __init__(self, persistent: bool = False) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.mask: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("mask", torch.from_numpy(MASK.copy()), persistent)
        self.register_buffer("scale", torch.from_numpy(SCALE.copy()), persistent)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(self.mask, self.fc(x), 0.0) * self.scale


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the model, a checkpoint and the constants, and being in it."""
    monkeypatch.chdir(tmp_path)
    Path("m.trtnet").write_text(MODEL)
    save_file(WEIGHTS, "m.safetensors")
    save_file(CONSTANTS, "m.constants.safetensors")
    return tmp_path


def test_a_check_does_not_miss_what_is_still_to_come(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("check", "m.trtnet", "m.safetensors") == 0
    printed = capsys.readouterr()
    assert "note: " + NOTE in printed.err
    assert "2 weights with 20 values, 2 constants" in printed.out
    assert command("check", "m.trtnet", "m.safetensors", "m.constants.safetensors") == 0
    assert capsys.readouterr().err == ""
    assert command("show", "m.trtnet", "m.safetensors") == 0
    assert "mask: Constant((4, 4), dtype = bool)" in capsys.readouterr().out


def test_compile_needs_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compile", "m.trtnet", "m.safetensors", "-q") == 2
    error = capsys.readouterr().err
    assert "model `m` has 2 constants without values, the first is `mask`: give the file" in error
    assert command("compile", "m.trtnet", "m.safetensors", "m.constants.safetensors", "-q") == 0
    assert Path("m.engine").exists()


def test_without_any_file_the_weights_are_asked_for() -> None:
    with pytest.raises(UsageError, match=r"has 2 weights, the first is `fc\.weight`: give a checkpoint"):
        require_values(elaborate_text(MODEL))


def test_some_of_them_are_missed() -> None:
    with pytest.raises(DiagnosticError, match="the checkpoint has no `scale`"):
        bind(elaborate_text(MODEL), {**WEIGHTS, "mask": MASK})


def test_they_are_not_unread() -> None:
    bound = bind(elaborate_text(MODEL), {**WEIGHTS, **CONSTANTS})
    assert bound.warnings == ()
    assert [each.message for each in bind(elaborate_text(MODEL), WEIGHTS).warnings] == [NOTE]


def test_what_is_shown_parses_back() -> None:
    graph = elaborate_text(MODEL)
    text = show(graph)
    assert "scale: Constant((4,))" in text and "mask: Constant((4, 4), dtype = bool)" in text
    assert difference(graph, elaborate_text(text)) is None
    half = optimize(bind(graph, WEIGHTS).graph)
    assert difference(half, elaborate_text(show(half))) is None


def test_they_fold_as_parameters_do() -> None:
    text = MODEL.replace("* (scale: Constant(4))", "* ((scale: Constant(4)) * 2.0 + 1.0)")
    folded = optimize(bind(elaborate_text(text), {**WEIGHTS, **CONSTANTS}).graph)
    found = [weight.data for weight in folded.weights if weight.key.startswith("folded.")]
    assert any(data is not None and np.array_equal(data, SCALE * 2 + 1) for data in found)
    assert [node.op.name for node in folded.nodes].count("mul") == 1


def test_a_section_is_not_about_them() -> None:
    text = MODEL.replace("\n}", '\n  weights { "*" = "net.*" }\n}')
    stored = {weight.key: weight.stored for weight in elaborate_text(text).weights}
    assert stored["mask"] is None and stored["scale"] is None and stored["fc.weight"] is not None


@pytest.mark.parametrize("persistent", [False, True])
def test_verify_takes_their_file_with_or_without_a_checkpoint(folder: Path, persistent: bool) -> None:
    files = ["m.safetensors", "m.constants.safetensors"]
    assert verify("m.trtnet", files, Masked(persistent)).equal
    assert verify("m.trtnet", "m.constants.safetensors", Masked(persistent)).equal
    save_file({"mask": ~MASK, "scale": SCALE}, "other.safetensors")
    other = verify("m.trtnet", "other.safetensors", Masked(persistent))
    assert other.equal == persistent, "a buffer that the module saves gets the file's values too"


def test_verify_takes_what_the_module_saves() -> None:
    assert verify(elaborate_text(MODEL), None, Masked(persistent=True)).equal
    with pytest.raises(UsageError, match="2 constants without values"):
        verify(elaborate_text(MODEL), None, Masked())


class Watched(Masked):
    """Sees what its buffers are when it is called."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.mask.tolist() == MASK.tolist() and self.scale.tolist() == SCALE.tolist()
        return super().forward(x)


@pytest.mark.parametrize(("persistent", "given"), [(False, CONSTANTS), (True, CONSTANTS), (True, None)])
def test_random_weights_leave_them_alone(persistent: bool, given: Arrays | None) -> None:
    assert verify(elaborate_text(MODEL), given, Watched(persistent), randomize=True).equal


def test_a_module_is_checked_with_the_files_values() -> None:
    other = {"mask": ~MASK, "scale": SCALE}
    outcome = verify(elaborate_text(MODEL), other, Masked(persistent=False), randomize=True)
    assert not outcome.equal, "the constants make no difference"
