"""Which engines are refused for where they were built, with the command that builds them anew."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from tests.command import trtdsl
from trtdsl.compile import compile_command, compile_file
from trtdsl.diagnostics import RefusedByTensorRT
from trtdsl.options import CheckOptions, CompileOptions
from trtdsl.runtime.cuda import Device
from trtdsl.runtime.engine import Engine
from trtdsl.runtime.fitting import (
    compile_again,
    missing_libraries,
    require_libraries,
    require_release,
    require_runtime,
    require_target,
)
from trtdsl.trt.dialect import load_runtime
from trtdsl.trt.manifest import NOT_INSTALLED, Manifest, load_manifest, manifest_path, own_version
from trtdsl.trt.tactics import Lack
from trtdsl.types import DType

MODEL = 'model tiny(width = 4, label = "a b") {\n  input x: float32[width]\n  output y = relu(x)\n}\n'
H100 = Device("NVIDIA H100", "sm90", 1 << 36)


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Of an engine that was compiled with every kind of option."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.trtnet").write_text(MODEL)
    options = CompileOptions(targets="sm89", precision="float16", tf32=False, skip=["fold_constants"])
    check = CheckOptions(model="tiny", defines={"width": 8, "label": "it's"})
    return compile_file("tiny.trtnet", None, "tiny.engine", options, check=check).manifest


def help_of(error: pytest.ExceptionInfo[RefusedByTensorRT]) -> tuple[str, ...]:
    return error.value.diagnostics[0].help


def test_the_command_compiles_the_same_engine(manifest: Manifest) -> None:
    first = Path("tiny.engine").read_bytes()
    assert manifest.command == (
        *("compile", "tiny.trtnet", "--model", "tiny", "-D", "width=8", "-D", 'label="it\'s"'),
        *("--target", "sm89", "--precision", "float16", "--no-tf32", "--skip", "fold_constants"),
    )
    assert trtdsl(*manifest.command, "--output", "again.engine", "-q") == 0
    assert Path("again.engine").read_bytes() == first
    assert load_manifest("again.engine") == manifest


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (CompileOptions(), ()),
        (CompileOptions(targets=["sm89", "sm120"], tf32=True), ("--target", "sm89,sm120", "--tf32")),
        (CompileOptions(runtime="tensorrt", only=()), ("--runtime", "tensorrt", "--only", "")),
        (CheckOptions(weights_dtype=DType.FLOAT16), ("--weights-dtype", "float16")),
        (CheckOptions(section="ema", defines={"a": (1, 2.5), "b": None}), None),
    ],
)
def test_options_as_arguments(
    options: CheckOptions | CompileOptions, arguments: tuple[str, ...] | None
) -> None:
    pair = (options, CompileOptions()) if isinstance(options, CheckOptions) else (CheckOptions(), options)
    found = compile_command("m.trtnet", "m.pth", *pair)
    if arguments is None:
        arguments = ("-D", "a=(1, 2.5)", "-D", "b=none", "--section", "ema")
    assert found == ("compile", "m.trtnet", "m.pth", *arguments)


def test_an_engine_of_another_release_of_tensorrt(manifest: Manifest) -> None:
    older = dataclasses.replace(manifest, runtime_version="1.4.0.76")
    require_runtime(manifest, load_runtime("tensorrt_rtx"))
    with pytest.raises(RefusedByTensorRT, match=r"was built by tensorrt_rtx 1\.4\.0\.76, but") as error:
        require_runtime(older, load_runtime("tensorrt_rtx"), "tiny.engine")
    again, install = help_of(error)
    command = again.removeprefix("compile the model again: `").removesuffix("`")
    assert shlex.split(command) == ["trtdsl", *manifest.command, "--output", "tiny.engine"]
    assert install == "or install tensorrt_rtx 1.4.0.76"


def test_an_engine_of_another_gpu(manifest: Manifest) -> None:
    with pytest.raises(RefusedByTensorRT, match="was built for sm89, but NVIDIA H100 is sm90") as error:
        require_target(manifest, H100)
    (again,) = help_of(error)
    assert again.endswith("--no-tf32 --skip fold_constants --target sm90,sm89`")


def test_an_engine_of_tensorrt_is_built_anew_on_the_gpu_at_hand(manifest: Manifest) -> None:
    """Where TensorRT builds for its own GPU, that is recorded, and no target can be named."""
    own = dataclasses.replace(
        manifest, runtime="tensorrt", targets=("sm87",), command=("compile", "m.trtnet")
    )
    with pytest.raises(RefusedByTensorRT, match="was built for sm87, but NVIDIA H100 is sm90") as error:
        require_target(own, H100)
    assert help_of(error) == ("compile the model again: `trtdsl compile m.trtnet`",)


def test_another_runtime_takes_its_own_options(manifest: Manifest) -> None:
    again = compile_again(manifest, runtime="tensorrt")
    assert "--target" not in again
    assert again.endswith("--runtime tensorrt`")


def test_an_engine_of_another_trtdsl(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    require_release(manifest)
    require_release(dataclasses.replace(manifest, trtdsl=NOT_INSTALLED))
    Path("tiny.engine.json").write_text(dataclasses.replace(manifest, trtdsl="0.0.1").to_json())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    words = f"was built by trtdsl 0.0.1, but trtdsl {own_version()} is installed"
    with pytest.raises(RefusedByTensorRT, match=words) as error:
        Engine.load("tiny.engine")
    assert help_of(error)[0].endswith("--output tiny.engine`")


def test_an_engine_that_may_call_a_stand_in(manifest: Manifest) -> None:
    """It may end the process; of a library that is only missing TensorRT says so itself, or does without."""
    reason = "`libcublas.so.11` is not NVIDIA's cuBLAS: it has no `cublasGetProperty`"
    calls_cublas = dataclasses.replace(manifest, tactic_sources=("CUBLAS",))
    for lack in (Lack(reason), Lack(reason, is_stand_in=True)):
        dialect = load_runtime("tensorrt_rtx")
        lacking = type(dialect)("tensorrt_rtx", dialect.trt, dialect.facts, dialect.log)
        vars(lacking).update(unusable_tactics={"CUBLAS": lack})
        require_libraries(manifest, lacking)
        assert missing_libraries(manifest, lacking) == ()
        why, advice = missing_libraries(calls_cublas, lacking)
        assert why == f"the engine may call cuBLAS, which cannot be used here: {reason}"
        assert advice.startswith("install it, or compile the model again: `trtdsl compile")
        if not lack.is_stand_in:
            require_libraries(calls_cublas, lacking)
            continue
        with pytest.raises(RefusedByTensorRT, match="that this machine has a stand-in for"):
            require_libraries(calls_cublas, lacking)


def test_without_a_command_the_options_are_named(manifest: Manifest) -> None:
    graph_only = dataclasses.replace(manifest, command=())
    assert compile_again(graph_only) == "compile the model again"
    assert compile_again(graph_only, target="sm90") == "compile the model again with `--target sm90,sm89`"


def test_the_manifest_names_the_kernels_that_were_allowed(manifest: Manifest) -> None:
    assert manifest.tactic_sources == ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
    assert '"tactic_sources": ["EDGE_MASK' in manifest_path("tiny.engine").read_text().replace("\n  ", "")
