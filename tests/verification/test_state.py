"""What a checkpoint holds beside the network's weights, and what it leaves out because it is tied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

import trtdsl
from tests.verification.networks import graph_of, state, verify_text
from tests.weights.saving import savable

TEXT = "model m() {\n  input x: float32[2, 4]\n  output y = x -> fc: Linear(5)\n}\n"

DTYPES = [
    torch.float64,
    torch.int16,
    torch.uint16,
    torch.int8,
    torch.bool,
    torch.complex64,
    torch.complex128,
    torch.float8_e5m2,
    torch.float8_e4m3fn,
    torch.bfloat16,
]


class Buffered(nn.Module):
    """A layer, and a buffer that the network does not read."""

    extra: torch.Tensor

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 5)
        self.register_buffer("extra", torch.tensor([1.0, 0.0, 2.0]).to(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("in_dtype", ["float32", "float64"])
def test_a_file_may_hold_buffers_of_any_dtype(tmp_path: Path, dtype: torch.dtype, in_dtype: Any) -> None:
    module = Buffered(dtype)
    torch.save({key: savable(value) for key, value in module.state_dict().items()}, tmp_path / "net.pth")
    for weights in (tmp_path / "net.pth", module.state_dict(), None):
        assert trtdsl.verify(graph_of(TEXT), weights, module, dtype=in_dtype).equal
    assert module.extra.dtype == dtype


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e5m2, np.complex64, np.uint16, np.float64])
def test_arrays_may_be_of_any_dtype(dtype: Any) -> None:
    weights = {**state(Buffered(torch.float32)), "extra": np.ones(3).astype(dtype)}
    assert trtdsl.verify(graph_of(TEXT), weights, Buffered(torch.float32)).equal


def test_complex_buffers_stay_complex() -> None:
    class Rotating(nn.Module):
        turns: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("turns", torch.tensor([1j, -1j, 1j]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.turns * self.turns).real

    graph = graph_of("model m() {\n  input x: float32[2, 3]\n  output y = -x\n}\n")
    for dtype in ("float32", "float64"):
        assert trtdsl.verify(graph, None, Rotating(), dtype=dtype).equal


class Tied(nn.Module):
    """Two layers with one weight, of which safetensors saves one key."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu())


TIED = """model m() {
  input x: float32[2, 4]
  output y = x -> a: Linear(4) -> relu -> b: Linear(4, bias = false)
}
"""


@pytest.mark.parametrize("left_out", ["a.weight", "b.weight"])
@pytest.mark.parametrize("randomize", [False, True])
def test_a_file_may_leave_out_what_is_tied(tmp_path: Path, left_out: str, randomize: bool) -> None:
    torch.manual_seed(0)
    trained = Tied()
    weights = {key: array for key, array in state(trained).items() if key != left_out}
    save_file(weights, tmp_path / "net.safetensors")
    torch.manual_seed(1)
    for given in (weights, tmp_path / "net.safetensors"):
        found = trtdsl.verify(graph_of(TIED), given, Tied(), randomize=randomize)
        assert found.equal
    wrong = verify_text(TIED.replace("-> relu ->", "->"), trained)
    assert not wrong.equal


def test_what_is_not_tied_may_not_be_left_out(tmp_path: Path) -> None:
    weights = {key: array for key, array in state(Tied()).items() if not key.endswith("weight")}
    with pytest.raises(trtdsl.DiagnosticError, match=r"the checkpoint has no `a\.weight`"):
        trtdsl.verify(graph_of(TIED), weights, Tied())
