"""Handwritten digits through the whole way: trained here, quantised, and read by the quantised network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from torch import nn

from tests.command import trtdsl
from trtdsl.compile import check_file, optimize_graph
from trtdsl.diagnostics import counted
from trtdsl.evaluate import evaluate
from trtdsl.options import CompileOptions
from trtdsl.recipe import Recipe
from trtdsl.trt.lower import lower

TEXT = """model digits {
  dim N = 1 .. 8 .. 64
  input x: float32[N, 1, 8, 8]
  h = x -> stem: Conv2d(16, 3, padding = 1) -> relu
  h = h + (h -> deep: Conv2d(16, 3, padding = 1) -> relu) -> wide: Conv2d(32, 3, stride = 2) -> relu
  output y = flatten(h, 1) -> fc: Linear(64) -> relu -> head: Linear(10)
}
"""
FILES = ("digits.trtnet", "digits.safetensors")
TRAINED, CALIBRATED = 1400, 64


class Digits(nn.Module):
    """What the text says, to train it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.wide, self.fc, self.head = nn.Conv2d(16, 32, 3, stride=2), nn.Linear(288, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x).relu()
        h = self.wide(h + self.deep(h).relu()).relu()
        return self.head(self.fc(h.flatten(1)).relu())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray[Any, Any], Any]:
    """A folder with the trained model and its data; images that it has not seen, and their labels."""
    images, labels = load_digits(return_X_y=True)  # pyright: ignore[reportUnknownVariableType]
    x = (np.asarray(images, np.float32) / 16).reshape(-1, 1, 8, 8)
    torch.manual_seed(0)
    module, inputs, wanted = Digits(), torch.from_numpy(x[:TRAINED]), torch.tensor(labels[:TRAINED])
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(inputs), wanted).backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("digits")
    (folder / FILES[0]).write_text(TEXT)
    save_file({key: value.numpy() for key, value in module.state_dict().items()}, folder / FILES[1])
    np.savez(folder / "x.npz", x=x[:CALIBRATED])
    return folder, x[TRAINED:], labels[TRAINED:]


@pytest.mark.parametrize(
    ("precision", "planned", "kept"),
    [
        ("int8", ["deep", "wide", "fc"], ["stem", "head"]),
        # Convolutions of 16 channels do not pay in float8.
        ("float8", ["fc"], ["stem", "deep", "wide", "head"]),
    ],
)
def test_digits_are_told_apart_as_before(
    digits: tuple[Path, np.ndarray[Any, Any], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    precision: str,
    planned: list[str],
    kept: list[str],
) -> None:
    folder, x, labels = digits
    monkeypatch.chdir(folder)
    assert (
        trtdsl("compile", *FILES, "--precision", precision, "--calibrate", "x.npz", "--target", "sm89") == 0
    )
    told = capsys.readouterr().out
    name = {"int8": "int8", "float8": "float8_e4m3fn"}[precision]
    assert f"layers   {name} {len(planned)}, float16 {len(kept)}" in told
    layers = counted(len(planned), "planned layer")
    assert f"computes {len(planned)} of {layers} in {name}" in told
    assert re.findall(r"^  (\S+): float16, because", told, re.MULTILINE) == kept
    graph = check_file(*FILES).graph
    found = optimize_graph(graph, CompileOptions(recipe=Recipe(precision=precision, calibrate="x.npz")))
    lowered = lower(found.graph)
    exact = lower(graph)
    images = {"x": x[:64]}
    answers = evaluate(lowered.network, images, precision="native", weights=lowered.weights)["y"]
    wanted = evaluate(exact.network, images, weights=exact.weights)["y"]
    assert float((answers.argmax(1) == wanted.argmax(1)).float().mean()) >= 0.98
    assert float((answers.argmax(1).numpy() == labels[:64]).mean()) > 0.9
