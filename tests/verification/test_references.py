"""`verify` against ONNX models, stored outputs and the module's own weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import trtdsl
from tests.verification.networks import TEXT, Net, graph_of, state, verify_text
from trtdsl.diagnostics import UsageError


def save_onnx(path: Path) -> None:
    """A graph that doubles."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("in", "out"))
    graph = helper.make_graph([helper.make_node("Add", ["in", "in"], ["out"])], "double", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def test_an_onnx_model(folder: Path) -> None:
    save_onnx(folder / "double.onnx")
    assert trtdsl.verify("scale.trtnet", onnx="double.onnx").equal
    found = trtdsl.verify("scale.trtnet", onnx="double.onnx", defines={"factor": 2.5})
    assert found.difference is not None
    assert "output `y` differs by 2.5e-01" in found.difference.message


def test_stored_outputs_with_their_inputs(folder: Path) -> None:
    x = np.arange(4, dtype=np.float32)
    np.savez(folder / "ref.npz", x=x, y=2 * x)
    assert trtdsl.verify("scale.trtnet", outputs="ref.npz").sizes == {"N": 4}
    np.savez(folder / "ref.npz", x=x, y=3 * x)
    assert not trtdsl.verify("scale.trtnet", outputs="ref.npz").equal


def test_stored_outputs_may_be_float64(folder: Path) -> None:
    x = np.arange(4, dtype=np.float32)
    np.savez(folder / "ref.npz", x=x, y=2 * x.astype(np.float64))
    assert trtdsl.verify("scale.trtnet", outputs="ref.npz").equal


def test_stored_outputs_are_numbers(folder: Path) -> None:
    np.savez(folder / "ref.npz", y=np.array(["two"]))
    with pytest.raises(UsageError, match=r"`y` in `ref.npz` holds no numbers, but <U3"):
        trtdsl.verify("scale.trtnet", outputs="ref.npz")


OWN_WEIGHTS = "no checkpoint was given: both sides have the module's own weights"


def test_weights_may_be_the_modules_own(folder: Path, net: Net) -> None:
    found = trtdsl.verify("net.trtnet", None, net)
    assert found.equal
    assert found.notes == (OWN_WEIGHTS,)
    assert verify_text(TEXT, net).notes == ()
    # A graph that has its weights is compared with the module's own, which may be others.
    assert trtdsl.verify(trtdsl.bind(graph_of(TEXT), state(net)).graph, None, net).notes == ()


class Compiled(nn.Module):
    """Has a layer and a function that ``torch.compile`` made."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.compile(nn.Sequential(nn.Linear(4, 4)))
        self.gate = torch.compile(lambda x: x * torch.sigmoid(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gate(self.fc(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_compiled_runs_as_it_is_written(dtype: Literal["float32", "float64"]) -> None:
    text = "model m { input x: float32[2, 4]  output y = x -> fc._orig_mod.0: Linear(4) -> silu }"
    assert verify_text(text, Compiled().eval(), dtype=dtype).equal
