"""`trtdsl verify --engine` where there is no GPU, and where there is no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.command import trtdsl as main
from tests.verification.engines import (
    TEXT,
)
from trtdsl.compile import compile_graph
from trtdsl.ir import Graph
from trtdsl.options import CompileOptions


def command(*arguments: str) -> int:
    return main("verify", *arguments)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, bound: Graph) -> Path:
    path = tmp_path_factory.mktemp("engine") / "net.engine"
    compile_graph(bound, path, CompileOptions(runtime="tensorrt_rtx", targets=["sm89"]))
    return path


@pytest.fixture
def engine(folder: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to be spoilt, and no GPU, wherever this runs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("net.engine", "net.engine.json"):
        (folder / name).write_bytes((built.parent / name).read_bytes())
    return folder / "net.engine"


WITH_ENGINE = ("net.trtnet", "--outputs", "ref.npz", "--engine", "net.engine")


def test_no_gpu(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*WITH_ENGINE) == 3
    printed = capsys.readouterr().err
    assert "there is no NVIDIA GPU to run on" in printed
    assert "`trtdsl verify` without `--engine` computes the network on the CPU" in printed


def test_a_gpu_is_asked_for_before_anything_slow(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is the checkpoint read nor the module imported."""
    command_line = ("net.trtnet", "no.pth", "--against", "no_such_package:Net", "--engine", "net.engine")
    assert command(*command_line) == 3
    assert "there is no NVIDIA GPU to run on" in capsys.readouterr().err


def test_what_is_wrong_is_said_before_a_gpu_is_asked_for(
    engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (engine.parent / "other.trtnet").write_text(TEXT.replace("model net", "model other"))
    assert command("other.trtnet", *WITH_ENGINE[1:]) == 2
    assert "it is of the model `net`, not of `other`" in capsys.readouterr().err
    (engine.parent / "net.trtnet").write_text(TEXT.replace("2 .. 4", "2 .. 9"))
    np.save("image.npy", np.ones((9, 3, 8, 8), "f4"))
    given = ("--input", "image=image.npy", "--engine", "net.engine")
    assert command("net.trtnet", "--onnx", "no.onnx", *given) == 2
    assert "the model does not accept image = 9x3x8x8" in capsys.readouterr().err


def test_a_broken_engine(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.write_bytes(engine.read_bytes()[:-10])
    assert command(*WITH_ENGINE) == 2
    assert "is truncated" in capsys.readouterr().err
    assert command(*WITH_ENGINE[:-1], "no.engine") == 2
    assert "cannot read `no.engine`" in capsys.readouterr().err


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import fails as that of a missing module does
import numpy as np
import trtdsl
from trtdsl.trt.manifest import load_manifest


class Stored:
    manifest = load_manifest("net.engine")

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, image):
        return {"scores": np.load("ref.npz")["scores"] * np.float32(self.factor)}


for factor in (1.0, 1.5):
    for weights in (None, "net.safetensors"):
        found = trtdsl.verify("net.trtnet", weights, outputs="ref.npz", engine=Stored(factor))
        print(found.difference and found.difference.message)
try:
    trtdsl.verify("net.trtnet", None, "a:b", engine=Stored(1.0))
except trtdsl.DiagnosticError as error:
    print(error.diagnostics[0].message)
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_outputs_are_compared_without_pytorch(engine: Path) -> None:
    result = python(WITHOUT_TORCH)
    assert result.stderr == ""
    equal, equal_with_weights, bare, with_weights, against = result.stdout.splitlines()
    assert (equal, equal_with_weights) == ("None", "None")
    for message in (bare, with_weights):
        assert message == (
            "the engine's output `scores` differs by 5.0e-01; the layers cannot be compared:"
            " computing the network on the CPU needs PyTorch, which is not installed"
        )
    assert against == "`--against` needs PyTorch, which is not installed"


def test_the_command_reaches_the_gpu_without_pytorch(engine: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from trtdsl import cli; cli.main()"
    result = python(code, "verify", *WITH_ENGINE)
    assert (result.returncode, "there is no NVIDIA GPU" in result.stderr) == (3, True)
    result = python(code, "verify", "net.trtnet", "net.safetensors", "--outputs", "ref.npz")
    assert result.returncode == 2
    assert "computing the network on the CPU needs PyTorch, which is not installed" in result.stderr
