"""Engines on disk: what is refused before a GPU is needed, and what is said where there is none.

That engines run, and run right, is checked on a GPU by `benchmarks/gpu.py`.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.command import trtdsl
from trtdsl.compile import compile_graph
from trtdsl.diagnostics import DiagnosticError, RefusedByTensorRT, UsageError
from trtdsl.elaborate import elaborate_file
from trtdsl.options import CompileOptions
from trtdsl.reference import random_weights
from trtdsl.runtime import cuda
from trtdsl.runtime.bench import Distribution, random_arrays, shapes_of
from trtdsl.runtime.engine import Engine, GraphContext, read_engine
from trtdsl.runtime.files import Normalization, load_arrays, save_arrays
from trtdsl.runtime.fitting import require_target
from trtdsl.trt.manifest import load_manifest, manifest_path
from trtdsl.verification.inputs import load_inputs
from trtdsl.verification.oracle import load_reference_arrays

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DEVICE = cuda.Device("NVIDIA H200", "sm90", 1 << 37)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of the demo CNN."""
    path = tmp_path_factory.mktemp("engine") / "cnn.engine"
    graph = random_weights(elaborate_file(EXAMPLES / "cnn" / "cnn.trtnet"), seed=0)
    compile_graph(graph, path, CompileOptions(runtime="tensorrt_rtx", targets=["sm89"]))
    return path


@pytest.fixture
def engine(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to be spoilt, and no GPU, wherever this runs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("cnn.engine", "cnn.engine.json"):
        (tmp_path / name).write_bytes((built.parent / name).read_bytes())
    return tmp_path / "cnn.engine"


def edit(engine: Path, **changes: Any) -> None:
    path = engine.with_name("cnn.engine.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def said(engine: Path) -> DiagnosticError:
    with pytest.raises(DiagnosticError) as error:
        Engine.load(engine)
    return error.value


# Files


def test_a_whole_engine_is_read(engine: Path) -> None:
    data, manifest = read_engine(engine)
    assert len(data) == manifest.size
    assert manifest.model == "cnn"


def test_a_missing_engine(tmp_path: Path) -> None:
    error = said(tmp_path / "cnn.engine")
    assert isinstance(error, UsageError)
    assert "cannot read" in str(error) and "no such file" in str(error)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cnn.trtnet", "is a text of the language, not an engine"),
        ("cnn.onnx", "is an ONNX model, not an engine"),
        ("cnn.pth", "is a checkpoint, not an engine"),
    ],
)
def test_what_an_engine_is_made_of(tmp_path: Path, name: str, words: str) -> None:
    text = str(said(tmp_path / name))
    assert words in text and "makes an engine" in text


def test_a_missing_manifest(engine: Path) -> None:
    engine.with_name("cnn.engine.json").unlink()
    error = said(engine)
    assert error.exit_code == 2
    assert "`cnn.engine` has no manifest: cannot read" in str(error).replace(f"{engine.parent}/", "")
    assert "`compile` writes `cnn.engine.json` beside the engine: keep them together" in str(error)


def test_a_truncated_engine(engine: Path) -> None:
    engine.write_bytes(engine.read_bytes()[:-10])
    error = said(engine)
    assert isinstance(error, UsageError)
    assert "is truncated, or does not belong to its manifest" in str(error)
    assert "keep the engine and its manifest together" in str(error)


def test_an_engine_with_one_byte_changed(engine: Path) -> None:
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)
    assert "the SHA-256 sums differ" in str(said(engine))


def test_a_manifest_that_is_none(engine: Path) -> None:
    edit(engine, size="big")
    assert "is not a manifest: an integer is expected, not 'big'" in str(said(engine))
    edit(engine, size=1, inputs=[{"name": "data", "dtype": "float33", "shape": []}])
    assert "is not a manifest: 'float33' is not a valid DType" in str(said(engine))


# The machine


def test_another_release_of_tensorrt(engine: Path) -> None:
    edit(engine, runtime_version="1.4.0.76")
    error = said(engine)
    assert isinstance(error, RefusedByTensorRT)
    assert "the engine was built by tensorrt_rtx 1.4.0.76, but tensorrt_rtx" in str(error)


def test_another_runtime(engine: Path) -> None:
    edit(engine, runtime="tensorrt")
    with pytest.raises(RefusedByTensorRT, match="was built by tensorrt 1"):
        Engine.load(engine, "tensorrt_rtx")


def test_another_gpu(engine: Path) -> None:
    with pytest.raises(RefusedByTensorRT) as error:
        require_target(load_manifest(engine), DEVICE)
    assert "the engine was built for sm89, but NVIDIA H200 is sm90" in str(error.value)
    assert "--target sm90" in str(error.value)


def test_the_right_gpu_or_no_stated_target(engine: Path) -> None:
    for targets in (["SM90", "sm89"], []):
        edit(engine, targets=targets)
        require_target(load_manifest(engine), DEVICE)


def test_no_gpu(engine: Path) -> None:
    error = said(engine)
    assert error.exit_code == 3
    assert "there is no NVIDIA GPU to run on" in str(error)


# Commands


def test_run_finds_mistakes_before_it_needs_a_gpu(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = engine.with_name("x.npy")
    np.save(wrong, np.zeros((100, 3, 32, 32), "f4"))
    assert trtdsl("run", engine, "--input", f"data={wrong}") == 2
    assert "the model does not accept data = 100x3x32x32" in capsys.readouterr().err


def test_run_without_a_gpu(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = engine.with_name("x.npy")
    np.save(path, np.zeros((2, 3, 32, 32), "f4"))
    assert trtdsl("run", engine, "--input", path, "-o", engine.with_name("y.npz")) == 3
    assert "there is no NVIDIA GPU" in capsys.readouterr().err
    assert not engine.with_name("y.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "ENGINE"], "no value is given for the input `data`"),
        (["run", "ENGINE", "--input", "data=none.npy"], "cannot read `none.npy`"),
        (["run", "ENGINE", "--input", "dat=none.npy"], "cannot read `none.npy`"),
        (["run", "ENGINE", "--output", "y.txt"], "outputs are written to .npz"),
        (["run", "ENGINE", "--output", "none/y.npz"], "the folder `none` does not exist"),
        (["run", "ENGINE", "--normalize", "1,2,3"], "give the means, then as many standard deviations"),
        (["bench", "ENGINE", "--shape", "data=8x3x32"], "it must have 4 dimensions, not 3"),
        (["bench", "ENGINE", "--shape", "data=999x3x32x32"], "the model does not accept data = 999x3x32x32"),
        (["bench", "ENGINE", "--shape", "date=1x3x32x32"], "did you mean `data`?"),
        (["bench", "ENGINE", "--shape", "data=8,3"], "is not a shape"),
        (["bench", "ENGINE", "--duration", "-1"], "--duration"),
        (["inspect", "none.engine"], "cannot read `none.engine`"),
    ],
)
def test_wrong_usage(
    engine: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trtdsl(*(engine if argument == "ENGINE" else argument for argument in arguments)) == 2
    assert words in capsys.readouterr().err


def test_bench_without_a_gpu(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("bench", engine) == 3
    assert "there is no NVIDIA GPU" in capsys.readouterr().err


def test_inspect(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("inspect", engine, "--layers", "--weights") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "model      cnn"
    assert "for        sm89" in lines
    assert "precision  float32 with TF32" in lines
    assert "kernels    EDGE_MASK_CONVOLUTIONS, JIT_CONVOLUTIONS" in lines
    assert any(line.startswith("layers     ") and "TensorRT layers, by operator: " in line for line in lines)
    assert "input      data: float32[N, 3, 32, 32]" in lines
    assert any(line.startswith("conv1") and "Conv2d" in line for line in lines)
    assert any(line.startswith("conv1.weight") and "float32[32, 3, 3, 3]" in line for line in lines)


def test_the_manifest_can_be_inspected_alone(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("inspect", engine) == 0
    said = capsys.readouterr().out
    engine.unlink()
    assert trtdsl("inspect", manifest_path(engine)) == 0
    assert capsys.readouterr().out == said
    assert trtdsl("bench", manifest_path(engine)) == 2
    assert f"help: give `{engine}`" in capsys.readouterr().err


def test_inspect_as_json_is_the_manifest(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("inspect", engine, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(engine.with_name("cnn.engine.json").read_text())


# Inputs from files


def test_arrays_by_name_or_alone(engine: Path) -> None:
    manifest = load_manifest(engine)
    path = engine.with_name("x.npy")
    np.save(path, np.arange(4.0))
    np.savez(engine.with_name("x.npz"), anything=np.arange(4.0))
    for text in (f"data={path}", str(path), str(engine.with_name("x.npz"))):
        assert load_arrays([text], manifest)["data"].tolist() == [0, 1, 2, 3]


def test_of_several_arrays_the_inputs_own_is_taken(engine: Path) -> None:
    manifest, path = load_manifest(engine), engine.with_name("x.npz")
    np.savez(path, other=np.zeros(1), data=np.arange(4.0))
    for text in (str(path), f"data={path}"):
        assert load_arrays([text], manifest)["data"].tolist() == [0, 1, 2, 3]
    assert load_inputs([f"data={path}"])["data"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [0, 2])
def test_an_archive_without_the_inputs_array(engine: Path, count: int) -> None:
    path = engine.with_name("x.npz")
    arrays: dict[str, Any] = {name: np.zeros(1) for name in ("a", "b")[:count]}
    np.savez(path, **arrays)
    with pytest.raises(UsageError, match=f"holds {count} arrays, none of which is called `data`"):
        load_arrays([str(path)], load_manifest(engine))


@pytest.mark.parametrize("spoilt", ["truncated", "changed", "no array", "pickle"])
def test_an_archive_that_is_broken(engine: Path, spoilt: str) -> None:
    path = engine.with_name("x.npz")
    np.savez(path, x=np.ones(1000) if spoilt != "pickle" else np.array([{}], dtype=object))
    data = bytearray(path.read_bytes())
    data[500:510] = b"0123456789"
    if spoilt == "truncated":
        path.write_bytes(data[:600])
    elif spoilt == "changed":
        path.write_bytes(data)
    elif spoilt == "no array":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.txt", "text")
    with pytest.raises(UsageError, match="cannot read"):
        load_arrays([str(path)], load_manifest(engine))
    with pytest.raises(UsageError, match="cannot read"):
        load_inputs([f"data={path}"])
    with pytest.raises(UsageError, match="cannot read"):
        load_reference_arrays(path)


def test_a_pickle_is_not_loaded(engine: Path) -> None:
    path = engine.with_name("x.npy")
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="cannot read"):
        load_arrays([str(path)], load_manifest(engine))


def test_an_array_without_an_end(engine: Path) -> None:
    pipe, header = engine.with_name("pipe.npy"), engine.with_name("header.npy")
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(UsageError, match=f"cannot read `{path}`: it is not a regular file"):
            load_arrays([str(path)], load_manifest(engine))
    np.save(header, np.ones(1000))
    header.write_bytes(header.read_bytes().replace(b"(1000,)", b"(%d,)" % 2**46))
    with pytest.raises(UsageError, match="cannot read"):
        load_arrays([str(header)], load_manifest(engine))


def test_a_picture_becomes_channels_first_and_normalised(engine: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 255, 51
    path = engine.with_name("x.png")
    Image.fromarray(pixels).save(path)
    normalization = Normalization.parse("0.5,0.2,0,0.5,1,2")
    array = load_arrays([f"data={path}"], load_manifest(engine), normalization)["data"]
    assert (array.shape, array.dtype) == ((1, 3, 32, 32), np.dtype("f4"))
    # (1 - 0.5) / 0.5, (0.2 - 0.2) / 1, (0 - 0) / 2, in float32
    np.testing.assert_allclose(array[0, :, 5, 5], [1, 0, 0], atol=1e-6)


def test_a_picture_that_is_none(engine: Path) -> None:
    path = engine.with_name("x.png")
    path.write_bytes(b"no picture")
    with pytest.raises(UsageError, match="cannot read"):
        load_arrays([f"data={path}"], load_manifest(engine))
    noise = np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = bytearray(path.read_bytes())
    data[36] ^= 0xFF  # a chunk's length
    path.write_bytes(data)
    with pytest.raises(UsageError, match="broken PNG file"):
        load_arrays([f"data={path}"], load_manifest(engine))


@pytest.mark.parametrize("call", [Engine.__call__, GraphContext.__call__], ids=["engine", "graph"])
def test_an_input_may_have_any_name(call: Any) -> None:
    """``self`` too: neither the engine nor what is given by position, to be refused, is in the way."""
    kinds = [parameter.kind for parameter in inspect.signature(call).parameters.values()]
    kind = inspect.Parameter
    assert kinds == [kind.POSITIONAL_ONLY, kind.VAR_POSITIONAL, kind.VAR_KEYWORD]


def test_a_picture_is_no_mask(engine: Path) -> None:
    edit(engine, inputs=[{"name": "data", "dtype": "bool", "shape": [1, 3, 32, 32]}])
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(engine.with_name("x.png"))
    with pytest.raises(UsageError, match=r"is an image, but input `data` is bool\[1, 3, 32, 32\]"):
        load_arrays([str(engine.with_name("x.png"))], load_manifest(engine))


def test_means_must_be_one_or_one_each(engine: Path) -> None:
    path = engine.with_name("x.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    with pytest.raises(UsageError, match="has 2 means"):
        load_arrays([f"data={path}"], load_manifest(engine), Normalization.parse("0,0,1,1"))


def test_pictures_without_pillow(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules makes an import fail as that of a missing module does.
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match="needs Pillow"):
        load_arrays(["data=x.png"], load_manifest(engine))


def test_outputs_are_written_whole(tmp_path: Path) -> None:
    import ml_dtypes

    arrays = {"a": np.arange(3), "b": np.array([1.5], ml_dtypes.bfloat16)}
    save_arrays(tmp_path / "y.npz", arrays)
    with np.load(tmp_path / "y.npz") as found:
        assert found["a"].tolist() == [0, 1, 2]
        assert (found["b"].tolist(), found["b"].dtype) == ([1.5], np.dtype("f4"))
    # Names of numpy's own parameters.
    save_arrays(tmp_path / "y.npz", {"file": np.arange(3), "allow_pickle": np.array(2.5)})
    with np.load(tmp_path / "y.npz") as found:
        assert (found["file"].tolist(), found["allow_pickle"].tolist()) == ([0, 1, 2], 2.5)
    save_arrays(tmp_path / "y.npy", {"a": np.arange(3)})
    assert np.load(tmp_path / "y.npy").tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="the engine has 2 outputs"):
        save_arrays(tmp_path / "y.npy", arrays)


# Timing


def test_shapes_to_measure(engine: Path) -> None:
    manifest = load_manifest(engine)
    (_, tuned, _) = manifest.profiles[0].inputs["data"]
    assert shapes_of([], manifest) == {"data": tuned}
    assert shapes_of(["3x3x32x32"], manifest) == {"data": (3, 3, 32, 32)}


def test_inputs_to_measure_with(engine: Path) -> None:
    array = random_arrays(load_manifest(engine), {"data": (2, 3, 32, 32)}, seed=0)["data"]
    assert (array.shape, array.dtype) == ((2, 3, 32, 32), np.dtype("f4"))
    assert 0.9 < array.std() < 1.1


def test_a_distribution() -> None:
    found = Distribution.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.min, found.median, found.mean) == (1.0, 3.0, 3.0)
    assert 4.9 < found.p99 <= 5.0
