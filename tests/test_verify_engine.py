"""`verify` with an engine: another computation of the outputs, here by the CPU behind an engine's protocol.

What the engine computes is the network of a text, weights and precision that each test chooses, so that it
may be right, coarse or another one. That engines run is checked on a GPU by `benchmarks/gpu.py`.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

import trtdsl
from tests.command import trtdsl as main
from trtdsl.compile import compile_graph
from trtdsl.diagnostics import UsageError
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, optimize
from trtdsl.reference import random_weights, run, to_numpy
from trtdsl.trt.lower import lower
from trtdsl.trt.manifest import Binding, Manifest, make_manifest
from trtdsl.types import DType
from trtdsl.verification import ENGINE_TOLERANCES, comparison

TEXT = """model net() {
  dim N = 1 .. 2 .. 4
  input image: float32[N, 3, 8, 8]
  x = image -> conv: Conv2d(8, 3) -> bn: BatchNorm2d -> relu -> mean((2, 3))
  y = x -> fc1: Linear(8) -> relu
  x = x + y
  output scores = x -> head: Linear(4)
}
"""

Arrays = Mapping[str, np.ndarray]
Change = Callable[[Arrays], Arrays]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(image)).relu().mean((2, 3))
        return self.head(x + self.fc1(x).relu())


@dataclass(frozen=True)
class CpuEngine:
    """Outputs by a function; ``asked`` is what it was given, call by call."""

    manifest: Manifest
    compute: Change
    asked: list[Arrays] = dataclasses.field(default_factory=list)

    def __call__(self, **arrays: Any) -> Arrays:
        self.asked.append(arrays)
        return self.compute(arrays)


def engine_of(
    graph: Graph, change: Change = dict, computes_in: DType | None = None, **recorded: Any
) -> CpuEngine:
    """What an engine of the graph would compute, layer by layer rounded as its types say, then changed.

    ``recorded`` replaces fields of the manifest.
    """
    optimized = optimize(graph)
    lowered = lower(convert_precision(computes_in)(optimized) if computes_in else optimized)

    def compute(arrays: Arrays) -> Arrays:
        found = evaluate(lowered.network, arrays, weights=lowered.weights)
        return change({name: to_numpy(tensor) for name, tensor in found.items()})

    return CpuEngine(
        dataclasses.replace(make_manifest(lowered, b"", CompileOptions(tf32=False)), **recorded), compute
    )


def never(arrays: Arrays) -> Arrays:
    raise AssertionError("the engine is run")


def scaled(error: float) -> Change:
    """Outputs with this relative error."""
    return lambda outputs: {name: array * np.float32(1 + error) for name, array in outputs.items()}


def state(net: nn.Module) -> dict[str, Any]:
    return {key: to_numpy(value) for key, value in net.state_dict().items()}


def graph_of(text: str, weights: Mapping[str, Any] | None = None) -> Graph:
    graph = trtdsl.elaborate_text(text, "net.trtnet")
    return graph if weights is None else trtdsl.bind(graph, weights).graph


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def bound(net: Net) -> Graph:
    return graph_of(TEXT, state(net))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: Net, bound: Graph) -> Path:
    """A folder with the model, its checkpoint and right outputs, and being in it."""
    save_file(state(net), tmp_path / "net.safetensors")
    (tmp_path / "net.trtnet").write_text(TEXT)
    image = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "ref.npz", image=image, scores=to_numpy(run(bound, {"image": image})["scores"]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- What agrees ------------------------------------------------------------------------------------------


def test_outputs_that_agree_are_all_there_is(net: Net, bound: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(bound)
    monkeypatch.setattr(comparison, "compute", never)
    found = trtdsl.verify(graph_of(TEXT), state(net), net, engine=engine)
    assert found.equal
    assert found.tolerance == 1e-4
    (row,) = found.rows
    assert (row.kind, row.name, row.computed_by, row.verdict) == ("output", "scores", "engine", "equal")
    assert (row.source, row.shape) == ("net.trtnet:7:10", (2, 4))
    assert len(engine.asked) == 1


def test_neither_weights_nor_a_module_are_needed(folder: Path, bound: Graph) -> None:
    found = trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine_of(bound))
    assert found.equal
    assert found.sizes == {"N": 3}


def test_the_tolerance_covers_what_a_precision_loses(net: Net, bound: Graph) -> None:
    for precision in (DType.FLOAT16, DType.BFLOAT16):
        found = trtdsl.verify(bound, None, net, engine=engine_of(bound, computes_in=precision))
        assert found.equal
        assert found.tolerance == ENGINE_TOLERANCES[str(precision)]
        (measured,) = (row.measure for row in found.rows)
        assert measured is not None
        # In float32 it would not pass.
        assert measured.relative > ENGINE_TOLERANCES["float32"]


@pytest.mark.parametrize(
    ("precision", "tf32", "tolerance"),
    [
        ("float32", False, 1e-4),
        ("float32", True, 2e-3),
        ("float16", True, 1e-2),
        ("float16", False, 1e-2),
        ("bfloat16", True, 8e-2),
    ],
)
def test_the_tolerance_is_that_of_the_manifest(
    folder: Path, bound: Graph, precision: str, tf32: bool, tolerance: float
) -> None:
    for factor, equal in ((0.9, True), (1.1, False)):
        engine = engine_of(bound, change=scaled(factor * tolerance), precision=precision, tf32=tf32)
        found = trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine)
        assert (found.equal, found.tolerance) == (equal, tolerance)


def test_a_tolerance_of_ones_own(folder: Path, bound: Graph) -> None:
    engine = engine_of(bound, change=scaled(0.1))
    assert not trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine).equal
    assert trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine, tolerance=0.2).equal


def test_integers_agree_exactly_or_not() -> None:
    class Largest(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.argmax(1)

    graph = graph_of("model m() {\n  input x: float32[2, 9]\n  output y = x -> argmax(1)\n}\n")
    assert trtdsl.verify(graph, None, Largest(), engine=engine_of(graph)).equal
    off = engine_of(graph, change=lambda outputs: {"y": outputs["y"] + 1})
    assert not trtdsl.verify(graph, None, Largest(), engine=off, tolerance=10.0).equal


# --- What the engine is given -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_inputs_are_of_the_models_types_whatever_the_reference_computes_in(dtype: str) -> None:
    class Double(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.dtype == torch.float64
            return x + x

    graph = graph_of(f"model m() {{\n  input x: {dtype}[2, 3]\n  output y = x + x\n}}\n")
    engine = engine_of(graph)
    found = trtdsl.verify(graph, None, Double(), engine=engine, dtype="float64")
    assert found.equal
    assert engine.asked[0]["x"].dtype == DType(dtype).numpy
    assert engine.manifest.outputs[0].dtype == dtype


NARROW = "model m() {\n  input x: int64[3]\n  output y = x + x\n}\n"


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x


def narrow() -> tuple[Graph, CpuEngine]:
    """A model of int64, and its engine as releases before TensorRT 10 build it."""
    return graph_of(NARROW), engine_of(graph_of(NARROW.replace("int64", "int32")))


def test_int64_is_int32_in_an_older_engine() -> None:
    graph, engine = narrow()
    assert trtdsl.verify(graph, None, Twice(), engine=engine).equal
    assert engine.asked[0]["x"].dtype == np.int32


def test_numbers_that_int32_cannot_hold_are_refused() -> None:
    graph, engine = narrow()
    with pytest.raises(UsageError, match="input `x` is int32 in the engine, which cannot hold"):
        trtdsl.verify(graph, None, Twice(), engine=engine, inputs={"x": np.array([1, 2, 2**40])})
    assert not engine.asked


def test_sizes_outside_of_the_profiles(net: Net, bound: Graph) -> None:
    engine = dataclasses.replace(
        engine_of(graph_of(TEXT.replace("2 .. 4", "2 .. 3"), state(net))), compute=never
    )
    with pytest.raises(UsageError, match="the engine does not take image = 4x3x8x8"):
        trtdsl.verify(bound, None, net, engine=engine, at="max")


# --- Another model's engine -------------------------------------------------------------------------------

IMAGE = Binding("image", "float32", ("N", 3, 8, 8))
SCORES = Binding("scores", "float32", ("N", 4))

MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": "cnn"}, "it is of the model `cnn`, not of `net`"),
    "first of several": ({"model": "cnn", "inputs": ()}, "it is of the model `cnn`, not of `net`"),
    "no input": ({"inputs": ()}, "it has no input `image`, the model has"),
    "further input": (
        {"inputs": (IMAGE, Binding("mask", "bool", ()))},
        "it has the input `mask`, the model has not",
    ),
    "rank": (
        {"inputs": (dataclasses.replace(IMAGE, shape=("N", 192)),)},
        r"input `image` has 2 dimensions in the engine, but is float32\[N, 3, 8, 8\]",
    ),
    "dtype": (
        {"inputs": (dataclasses.replace(IMAGE, dtype="float16"),)},
        r"input `image` is float16 in the engine, but float32\[N, 3, 8, 8\]",
    ),
    "no output": ({"outputs": ()}, "it has no output `scores`, the model has"),
    "output": (
        {"outputs": (dataclasses.replace(SCORES, dtype="int32"),)},
        r"output `scores` is int32 in the engine, but float32\[N, 4\]",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_an_engine_of_another_model_is_refused_before_anything_runs(bound: Graph, name: str) -> None:
    changes, says = MISFITS[name]
    engine = CpuEngine(dataclasses.replace(engine_of(bound).manifest, **changes), never)
    with pytest.raises(UsageError, match=f"the engine does not fit the model: {says}"):
        # The module is not imported either.
        trtdsl.verify(bound, None, "no_such_package:Net", engine=engine)


# --- What differs -----------------------------------------------------------------------------------------


def test_an_engine_of_other_weights(net: Net, bound: Graph) -> None:
    other = engine_of(random_weights(graph_of(TEXT), seed=1))
    found = trtdsl.verify(bound, None, net, engine=other)
    assert found.difference is not None
    assert found.difference.message.startswith("the engine's output `scores` differs by ")
    assert (
        "although the network of this text and these weights is right on the CPU" in found.difference.message
    )
    assert "the engine was built from another text or other weights, or TensorRT computes" in (
        found.difference.message
    )
    *cpu, last = found.rows
    assert {(row.computed_by, row.verdict) for row in cpu} == {("cpu", "equal")}
    assert [row.name for row in cpu] == ["conv+bn", "fc1", "head", "scores"]
    assert (last.computed_by, last.name, last.verdict) == ("engine", "scores", "differs")


@pytest.mark.parametrize(
    ("precision", "tf32", "says"),
    [
        ("float16", True, "it is too coarse in float16,"),
        ("float32", True, "it is too coarse in float32 with TF32,"),
    ],
)
def test_a_low_precision_is_named(net: Net, bound: Graph, precision: str, tf32: bool, says: str) -> None:
    engine = engine_of(bound, change=scaled(0.1), precision=precision, tf32=tf32)
    found = trtdsl.verify(bound, None, net, engine=engine)
    assert found.difference is not None
    assert says in found.difference.message
    assert f"the tolerance is {found.tolerance:g} for the engine, 0.0001 on the CPU" in found.notes


def test_nan_on_both_sides_is_noted(folder: Path, bound: Graph) -> None:
    with np.load("ref.npz") as stored:
        np.savez("ref.npz", image=stored["image"], scores=np.full((3, 4), np.nan, np.float32))
    engine = engine_of(bound, change=scaled(np.nan))
    found = trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine)
    assert found.equal
    assert found.notes == (
        "output `scores` holds 12 of 12 numbers that are NaN or infinite, on both sides alike",
    )


def test_the_modules_own_weights_are_not_the_engines(folder: Path, net: Net, bound: Graph) -> None:
    found = trtdsl.verify("net.trtnet", None, net, engine=engine_of(bound))
    assert found.equal
    assert found.notes == (
        "no checkpoint was given: the module has its own weights, the engine those it was built with",
    )


def test_an_overflow_differs(net: Net, bound: Graph) -> None:
    engine = engine_of(bound, change=lambda outputs: {"scores": outputs["scores"] * np.float32(np.inf)})
    found = trtdsl.verify(bound, None, net, engine=engine)
    assert found.difference is not None
    assert "output `scores` differs by inf" in found.difference.message


def test_a_wrong_model_is_blamed_on_its_operator(net: Net) -> None:
    graph = graph_of(TEXT.replace("x + y", "x - y"), state(net))
    found = trtdsl.verify(graph, None, net, engine=engine_of(graph))
    alone = trtdsl.verify(graph, None, net)
    assert found.difference == alone.difference
    assert found.difference is not None
    assert found.difference.suspects[0].operator == "sub"
    assert found.rows[:-1] == alone.rows
    assert (found.rows[-1].computed_by, found.rows[-1].verdict) == ("engine", "differs")


def test_without_a_checkpoint_a_difference_is_not_explained(folder: Path, bound: Graph) -> None:
    engine = engine_of(bound, change=scaled(0.5))
    found = trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine)
    assert found.difference is not None
    assert found.difference.message == (
        "the engine's output `scores` differs by 5.0e-01; the layers cannot be compared:"
        " model `net` has 10 weights, the first is `conv.weight`: give a checkpoint"
    )
    assert [row.computed_by for row in found.rows] == ["engine"]
    explained = trtdsl.verify("net.trtnet", "net.safetensors", outputs="ref.npz", engine=engine)
    assert explained.difference is not None
    assert "is right on the CPU" in explained.difference.message


def test_table_and_json_tell_the_engine_from_the_cpu(net: Net, bound: Graph) -> None:
    engine = engine_of(bound, change=scaled(0.1), precision="float16")
    found = trtdsl.verify(bound, None, net, engine=engine)
    table = trtdsl.verification.show_verification(found).splitlines()
    labels = [line.split("  ")[0] for line in table[1:6]]
    assert labels == ["conv+bn", "fc1", "head", "output scores", "engine's output scores"]
    runtime = f"{engine.manifest.runtime} {engine.manifest.runtime_version}, float16"
    assert table[7] == f"net by an engine ({runtime}) against Net in float32, N = 2"
    printed = json.loads(json.dumps(found.to_dict()))
    assert printed["engine"] == runtime
    assert [row["computed_by"] for row in printed["rows"]] == ["cpu"] * 4 + ["engine"]


# --- The command, where there is no GPU -------------------------------------------------------------------


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
    assert command("net.trtnet", "--onnx", "no.onnx", "--engine", "net.engine", "--at", "max") == 2
    assert "the engine does not take image = 9x3x8x8" in capsys.readouterr().err


def test_a_broken_engine(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.write_bytes(engine.read_bytes()[:-10])
    assert command(*WITH_ENGINE) == 2
    assert "is not whole" in capsys.readouterr().err
    assert command(*WITH_ENGINE[:-1], "no.engine") == 2
    assert "cannot read `no.engine`" in capsys.readouterr().err


# --- Without PyTorch --------------------------------------------------------------------------------------

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
