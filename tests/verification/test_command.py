"""`trtdsl verify`: what it prints, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trtdsl
from tests.command import trtdsl as main
from tests.verification import networks
from tests.verification.networks import TEXT, Net, graph_of, state
from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.verification.table import HEADER


def command(*arguments: str) -> int:
    return main("verify", *arguments)


AGAINST = f"{networks.__file__}:Net"


def test_the_command_prints_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("net.trtnet", "net.pth", "--against", AGAINST, "--arg", "width=8", "--at", "min") == 0
    printed = capsys.readouterr().out
    heading = printed.splitlines()[0].split("  ")
    assert [cell.strip() for cell in heading if cell] == list(HEADER)
    assert "net.trtnet:13:12" in printed
    assert "N = 1" in printed
    assert printed.endswith("equal: no relative error above 0.0001\n")


def test_the_command_exits_with_1_on_a_difference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("wrong.trtnet", "net.pth", "--against", AGAINST) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "differs: `sub` at wrong.trtnet:14:9 computes something else, from operands that agree"


def test_the_command_prints_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("wrong.trtnet", "net.pth", "--against", AGAINST, "--json", "--dtype", "float64") == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["equal"] is False
    assert printed["tolerance"] == 1e-6
    assert printed["difference"]["suspects"][0]["operator"] == "sub"


def test_the_command_takes_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(folder / "x.npy", np.zeros((3, 3, 16, 16), np.float32))
    assert command("net.trtnet", "net.pth", "--against", AGAINST, "--input", "image=x.npy") == 0
    assert "N = 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["net.pth"], 2, "one of `--against`"),
        (["net.pth", "--against", AGAINST, "--onnx", "x.onnx"], 2, "only one may say"),
        (["net.pth", "--against", "torchvision.models"], 2, "not a `package.module:name`"),
        (["net.pth", "--against", "no_such_package:Net"], 2, "No module named 'no_such_package'"),
        (["net.pth", "--against", "torchvision.models:resnet19"], 2, "did you mean `resnet18`?"),
        (["net.pth", "--against", "torch:relu"], 2, "torch:relu fails"),
        (["net.pth", "--against", "torch:pi"], 2, "neither a torch.nn.Module nor makes one"),
        (["net.pth", "--against", AGAINST, "--arg", "width"], 2, "`--arg name=value`"),
        (["net.pth", "--against", AGAINST, "--arg", "depth=3"], 2, "unexpected keyword argument 'depth'"),
        (["net.pth", "--against", AGAINST, "--arg", "width=4"], 1, "does not fit"),
        (
            ["net.pth", "--against", "torchvision.models:resnet18"],
            1,
            "which torchvision.models:resnet18 needs",
        ),
        (["missing.pth", "--against", AGAINST], 2, "missing.pth"),
        (["net.pth", "--against", AGAINST, "--dtype", "float16"], 2, "choose one of float32, float64"),
        (["net.pth", "--against", AGAINST, "--at", "best"], 2, "choose one of min, opt, max, or sizes"),
        (["net.pth", "--against", AGAINST, "--at", "N=5"], 2, "`N` is 5, outside of 1 .. 4"),
        (["net.pth", "--against", AGAINST, "--at", "n=2"], 2, "dynamic dimension `n`, did you mean `N`?"),
        (["net.pth", "--against", AGAINST, "--at", "N=2,N=3"], 2, "write `--at N=3`"),
        (["net.pth", "--against", AGAINST, "--at", "N=2,"], 2, "write `--at N=3`"),
        (["net.pth", "--against", AGAINST, "--input", "image"], 2, "`--input name=file.npy`"),
        (["net.pth", "--against", AGAINST, "--input", "image=no.npy"], 2, "cannot read `no.npy`"),
        (["net.pth", "--against", AGAINST, "--input", "imag=big.npy"], 2, "did you mean `image`?"),
        (["net.pth", "--against", AGAINST, "--input", "image=big.npy"], 2, "outside of 1 .. 4"),
        (["net.pth", "--against", AGAINST, "--input", "image=flat.npy"], 2, "has shape [3]"),
        (["net.pth", "--against", AGAINST, "--input", "image=double.npy"], 2, "the given array is float64"),
        (["net.pth", "--outputs", "no.npz"], 2, "cannot read `no.npz`"),
        (["net.pth", "--outputs", "big.npy"], 2, "big.npy"),
        (["net.pth", "--onnx", "no.onnx"], 2, "cannot read `no.onnx`: no such file"),
        (["--onnx", "no.onnx"], 2, "give a checkpoint"),
    ],
)
def test_a_wrong_command_is_explained(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    np.save(folder / "big.npy", np.zeros((9, 3, 16, 16), np.float32))
    np.save(folder / "flat.npy", np.zeros(3, np.float32))
    np.save(folder / "double.npy", np.zeros((1, 3, 16, 16)))
    assert command("net.trtnet", *arguments) == code
    assert says in capsys.readouterr().err


def test_a_checkpoint_that_does_not_fit_is_shown_by_two_examples(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("net.trtnet", "net.pth", "--against", AGAINST, "--arg", "width=4") == 1
    assert capsys.readouterr().err == (
        f"error: the checkpoint does not fit {AGAINST}: size mismatch for conv1.weight: copying a param with"
        " shape torch.Size([8, 3, 3, 3]) from checkpoint, the shape in current model is"
        " torch.Size([4, 3, 3, 3]).\n"
        "  = help: size mismatch for bn1.weight: copying a param with shape torch.Size([8]) from checkpoint,"
        " the shape in current model is torch.Size([4]).\n"
        "  = help: and 8 more\n"
    )


def test_a_module_that_cannot_be_run_is_explained(net: Net) -> None:
    with pytest.raises(DiagnosticError, match="Linear cannot be run on image"):
        trtdsl.verify(trtdsl.bind(graph_of(TEXT), state(net)).graph, None, nn.Linear(3, 3))


def test_a_module_that_asserts_is_explained() -> None:
    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[0] == x.shape[1], "not square"
            return x

    graph = graph_of("model m() {\n  input x: float32[2, 3]\n  output y = x\n}\n")
    with pytest.raises(DiagnosticError, match=r"cannot be run on x: .*AssertionError: not square"):
        trtdsl.verify(graph, None, Square())


def test_a_file_may_hold_dataclasses(folder: Path) -> None:
    (folder / "scale.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "@dataclass\n"
        "class Options:\n"
        "    factor: float = 2.0\n"
        "class Scale(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x * Options().factor\n"
    )
    assert trtdsl.verify("scale.trtnet", None, "scale.py:Scale").equal


def test_too_few_outputs_are_explained(folder: Path) -> None:
    np.savez(folder / "ref.npz", x=np.zeros(2, np.float32))
    with pytest.raises(UsageError, match="the model's outputs are y, but the reference gives nothing"):
        trtdsl.verify("scale.trtnet", outputs="ref.npz")
