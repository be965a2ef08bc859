"""Files are known by their first bytes, and whatever they hold, the answer is weights or a diagnostic."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes

from trtdsl.diagnostics import DiagnosticError
from trtdsl.weights import load_checkpoint

BASE = torch.arange(24.0).reshape(4, 6)
STATE = {"w": BASE, "b": torch.ones(3, dtype=torch.bfloat16), "n": torch.tensor(3), "e": torch.zeros(0, 5)}


def torch_bytes(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def deflated(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return buffer.getvalue()


NESTED = {"epoch": 3, "state_dict": {**STATE, "t": BASE.t(), "p": torch.nn.Parameter(BASE)}, "ema": STATE}
SAMPLES: dict[str, bytes] = {
    "torch zip": torch_bytes(NESTED),
    "torch zip, protocol 4": torch_bytes(NESTED, pickle_protocol=4),
    "torch zip, compressed": deflated(torch_bytes(NESTED)),
    "torch legacy": torch_bytes(NESTED, _use_new_zipfile_serialization=False),
    "safetensors": safetensors_bytes(STATE),
    "sharded": json.dumps({"weight_map": dict.fromkeys(STATE, "shard.safetensors")}).encode(),
}


ONNX = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])).SerializeToString()


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[bytes], None]:
    """Writes bytes as a checkpoint, opens it and reads every tensor."""
    (tmp_path / "shard.safetensors").write_bytes(SAMPLES["safetensors"])

    def read(data: bytes) -> None:
        (tmp_path / "w").write_bytes(data)
        weights = load_checkpoint(tmp_path / "w")
        for key in weights:
            weights.shape(key)
            assert not weights[key].flags.writeable

    return read


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_name_does_not_matter(tmp_path: Path, kind: str):
    (tmp_path / "shard.safetensors").write_bytes(SAMPLES["safetensors"])
    for name in ("weights.pth", "weights.safetensors", "weights"):
        (tmp_path / name).write_bytes(SAMPLES[kind])
        weights = load_checkpoint(str(tmp_path / name))
        assert weights.format == kind.partition(",")[0]
        np.testing.assert_array_equal(weights["w"], BASE.numpy())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty (0 bytes)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "is not a checkpoint; it looks like a PNG image"),
        (
            onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])).SerializeToString(),
            "an ONNX model",
        ),
        (b"GGUF\3\0\0\0" + bytes(64), "a GGUF file"),
        (b"\x1f\x8b\x08" + bytes(64), "gzip data; unpack it first"),
        (b"<!DOCTYPE html><html>", "an HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"model cnn { }\n", "looks like text"),
        (b"\x7fELF" + bytes(64), "is not a checkpoint\n"),
        (b"\0", "is not a checkpoint\n"),
        (b"PK\3\4", "its directory, which stands at the end, is missing"),
        (b"\x80\2}.", "is a pickle, but not a checkpoint"),
        (b"\x80\2", "its pickle breaks off: byte 2 is its end"),
        (b"\x80\2}\xff", "its pickle is garbled: byte 3 is not an instruction"),
        (b"\x80\2}L" + b"9" * 5000 + b"L\n.", "byte 3 of its pickle is LONG, which torch.save never writes"),
        (b"\x80\2I" + b"9" * 5000 + b"\n.", "byte 2 of its pickle is INT, which torch.save never writes"),
        (b"\x80\2X\xff\0\0\0a", "its pickle breaks off or is garbled in the BINUNICODE at byte 2"),
        (b'{"a": 1}', "it has no `weight_map` of keys to files"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, data: bytes, message: str):
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(tmp_path / "w.pth")
    assert message in str(caught.value) + "\n"
    assert str(caught.value).startswith(f"error: `{tmp_path / 'w.pth'}` ")


def test_paths_that_are_no_files(tmp_path: Path):
    (tmp_path / "resnet18.pth").write_bytes(SAMPLES["torch zip"])
    gone = tmp_path / "gone"
    for path, message in {
        tmp_path / "resnet81.pth": f"no such file\n  = help: did you mean `{tmp_path / 'resnet18.pth'}`?",
        gone / "w.pth": f"no such file\n  = help: the folder `{gone}` does not exist",
        tmp_path / "resnet18.pth" / "w": "w`: not a directory",
        tmp_path: f"is a directory\n  = help: did you mean `{tmp_path}/resnet18.pth`?",
        Path("/dev/null"): "`/dev/null`: it is not a regular file",
        Path("a\0b"): "cannot read",
        Path("x" * 5000): "`: file name too long",
    }.items():
        with pytest.raises(DiagnosticError) as caught:
            load_checkpoint(path)
        assert message in str(caught.value)


def test_the_mapping(tmp_path: Path):
    (tmp_path / "w").write_bytes(SAMPLES["safetensors"])
    weights = load_checkpoint(tmp_path / "w")
    assert len(weights) == len(STATE)
    assert "w" in weights
    assert "x" not in weights
    assert weights.get("x") is None
    assert weights.path == tmp_path / "w"
    with pytest.raises(KeyError):
        weights["x"]
    with pytest.raises(DiagnosticError, match="has nothing named `ema`"):
        load_checkpoint(tmp_path / "w", section="ema")


OPCODES = b"\x80.()0N1FIKMJLGTUXcRbteds]}aquQhjl" + bytes(range(0x81, 0x98))
fuzzing = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def mutated(data: bytes, seed: int, count: int) -> bytes:
    """A few bytes changed, most of them in the first kilobytes, where the headers and pickles are."""
    rng = random.Random(seed)
    changed = bytearray(data)
    for _ in range(count):
        at = rng.randrange(rng.choice([min(1500, len(changed)), len(changed)]))
        changed[at : at + rng.choice([0, 1, 1, 1, 4])] = rng.choice(
            [bytes([rng.randrange(256)]), bytes([rng.choice(OPCODES)]), b"\xff\xff\xff\xff", b""]
        )
    return bytes(changed[: rng.randrange(len(changed))] if seed % 16 == 0 else changed)


@pytest.mark.parametrize("kind", SAMPLES)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 6))
@fuzzing
def test_changed_bytes_are_weights_or_a_diagnostic(
    opened: Callable[[bytes], None], kind: str, seed: int, count: int
):
    try:
        opened(mutated(SAMPLES[kind], seed, count))
    except DiagnosticError as error:
        assert str(error).startswith("error: ")


@given(data=st.binary(min_size=1, max_size=200))
@example(data=b"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")
@example(data=b"PK\5\6" + bytes(18))
@example(data=b"\2\0\0\0\0\0\0\0{}")
@fuzzing
def test_any_bytes(opened: Callable[[bytes], None], data: bytes):
    try:
        opened(data)
    except DiagnosticError as error:
        assert str(error).startswith("error: ")
