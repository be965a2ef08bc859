"""``.safetensors`` as the library writes it, and every way its header can lie."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from trtdsl.diagnostics import DiagnosticError
from trtdsl.weights import load_checkpoint
from trtdsl.weights.tensor import NUMPY_DTYPES


@pytest.mark.parametrize("name", [name for name in NUMPY_DTYPES if name != "complex128"])
def test_every_dtype_keeps_its_bits(tmp_path: Path, name: str):
    tensor = torch.tensor([[0, 1, 1], [0, 1, 0]]).to(getattr(torch, name))
    save_file({"x": tensor}, tmp_path / "w.safetensors")
    weights = load_checkpoint(tmp_path / "w.safetensors")
    assert weights.format == "safetensors"
    assert weights.dtype("x") == NUMPY_DTYPES[name] == weights["x"].dtype
    assert weights.shape("x") == (2, 3)
    assert weights["x"].tobytes() == tensor.view(torch.uint8).numpy().tobytes()


def test_scalars_empties_metadata_and_mixed_sizes(tmp_path: Path):
    state = {
        "flag": torch.tensor([True, False, True]),
        "w": torch.arange(6.0).reshape(2, 3),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "wide": torch.arange(3, dtype=torch.float64),
    }
    save_file(state, tmp_path / "w.safetensors", metadata={"format": "pt"})
    weights = load_checkpoint(tmp_path / "w.safetensors")
    assert sorted(weights) == sorted(state)
    for key, tensor in state.items():
        np.testing.assert_array_equal(weights[key], tensor.numpy(), strict=True)
        assert not weights[key].flags.writeable


def test_data_is_mapped_not_copied(tmp_path: Path):
    save_file({"x": torch.ones(100)}, tmp_path / "w.safetensors")
    weights = load_checkpoint(tmp_path / "w.safetensors")
    assert np.shares_memory(weights["x"], weights["x"])


def test_no_tensors_at_all(tmp_path: Path):
    save_file({}, tmp_path / "w.safetensors")
    assert not list(load_checkpoint(tmp_path / "w.safetensors"))


def test_a_prefix_is_stripped(tmp_path: Path):
    save_file({"module._orig_mod.x": torch.ones(1)}, tmp_path / "w.safetensors")
    weights = load_checkpoint(tmp_path / "w.safetensors")
    assert list(weights) == ["x"]
    assert weights.prefix == "module._orig_mod."


def test_what_save_model_left_out_is_found_again(tmp_path: Path):
    weight = torch.arange(4.0)
    metadata = {
        "format": "pt",
        "tied.weight": "kept.weight",
        "not.there": "nor.this",
        "kept.bias": "kept.weight",
    }
    state = {"kept.weight": weight, "kept.bias": torch.ones(1)}
    save_file(state, tmp_path / "w.safetensors", metadata=metadata)
    weights = load_checkpoint(tmp_path / "w.safetensors")
    assert {*weights} == {"kept.weight", "kept.bias", "tied.weight"}
    assert weights["tied.weight"].tolist() == weight.tolist()
    assert weights["kept.bias"].tolist() == [1]


def written(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(*offsets: object, shape: object = (2,), dtype: object = "F32", **more: object) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets), **more}


JSON = r"invalid JSON in header|InvalidHeaderDeserialization|it is not valid JSON"
COVERED = r"file not fully covered|MetadataIncompleteBuffer"
SIZE = r"invalid shape, data type, or offset|TensorInvalidInfo"
"""What the library says, in its first release that is supported and in later ones."""


def offset(name: str) -> str:
    return rf"invalid offset for tensor `{name}`|InvalidOffset\(.{name}.\)"


TWICE = b'{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "x": {"dtype": "F32", "shape": [2], '
BROKEN = {
    "header past the end": ({"x": entry(0, 8)}, bytes(8), 10_000, "its header needs 10008 bytes"),
    "header cut": ({"x": entry(0, 8)}, bytes(8), 20, JSON),
    "not UTF-8": (b'{"\xff": 1}', b"", None, r"invalid UTF-8|InvalidHeader"),
    "nested without end": (b"{" + b'"a":[' + b"[" * 100_000, b"", None, JSON),
    "endless number": (b'{"x": ' + b"9" * 10_000 + b"}", b"", None, JSON),
    "duplicate key": (TWICE + b'"data_offsets": [0, 8]}}', bytes(8), None, "the key `x` occurs twice"),
    "data cut": ({"x": entry(0, 8)}, bytes(7), None, "the tensors have 8 bytes, but the file holds 7"),
    "data left over": ({"x": entry(0, 8)}, bytes(9), None, COVERED),
    "overlap": ({"x": entry(0, 8), "y": entry(4, 12)}, bytes(12), None, offset("y")),
    "hole": ({"x": entry(0, 8), "y": entry(12, 20)}, bytes(20), None, offset("y")),
    "twice the same": ({"x": entry(0, 8), "y": entry(0, 8)}, bytes(8), None, offset("[xy]")),
    "shape too large": ({"x": entry(0, 8, shape=[3])}, bytes(8), None, SIZE),
    "shape overflows": (
        {"x": entry(0, 0, shape=[0, 2**61, 2**61])},
        b"",
        None,
        r"shape \[0, \d+, \d+\] cannot exist",
    ),
    "negative size": ({"x": entry(0, 8, shape=[-1, -2])}, bytes(8), None, JSON),
    "fractional size": ({"x": entry(0, 8, shape=[2.0])}, bytes(8), None, JSON),
    "boolean size": ({"x": entry(0, 4, shape=[True])}, bytes(4), None, JSON),
    "offsets reversed": ({"x": entry(8, 0)}, bytes(8), None, offset("x")),
    "negative offset": ({"x": entry(-8, 0)}, bytes(8), None, JSON),
    "three offsets": ({"x": entry(0, 4, 8)}, bytes(8), None, JSON),
    "rank": ({"x": entry(0, 4, shape=[1] * 65)}, bytes(4), None, "sequence of at most 32 integers"),
    "no dtype": ({"x": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8), None, JSON),
    "not an entry": ({"x": 3}, b"", None, JSON),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_lying_header_is_refused_as_the_library_does(tmp_path: Path, name: str):
    header, data, length, message = BROKEN[name]
    path = written(tmp_path / "w.safetensors", header, data, length)
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(path)
    assert f"`{path}` is a broken or truncated safetensors file: " in str(caught.value)
    assert re.search(message, str(caught.value))
    # The library keeps the last of two equal keys, and allows sizes and ranks that a numpy array cannot have.
    if name not in ("duplicate key", "rank", "shape overflows"):
        with pytest.raises(SafetensorError), safe_open(path, framework="np"):
            pass


LYING_AND_NEW = {
    "reaches past the end": entry(0, 24),
    "offsets reversed": entry(16, 8),
    "negative offset": entry(-8, 0),
    "sizes disagree": entry(0, 8, shape=[4]),
    "negative size": entry(0, 8, shape=[-2, -1]),
    "not an entry": {"dtype": "F32"},
}


@pytest.mark.parametrize("name", LYING_AND_NEW)
def test_beside_an_unknown_dtype_no_tensor_lies_outside_the_file(tmp_path: Path, name: str):
    header = {"new": entry(0, 8, dtype="from the future", shape=[1]), "x": LYING_AND_NEW[name]}
    with pytest.raises(DiagnosticError, match="broken or truncated safetensors file"):
        load_checkpoint(written(tmp_path / "w.safetensors", header, bytes(16)))


@pytest.mark.parametrize("dtype", ["F4", "F8_E8M0", "from the future"])
def test_an_unknown_dtype_is_refused_only_when_asked_for(tmp_path: Path, dtype: str):
    header = {"bad": entry(0, 8, dtype=dtype, shape=[1]), "good": entry(8, 16)}
    weights = load_checkpoint(written(tmp_path / "w.safetensors", header, bytes(16)))
    assert weights.shape("bad") == (1,)
    assert weights["good"].tolist() == [0, 0]
    with pytest.raises(DiagnosticError, match="tensor `bad` that cannot be read: it is of dtype"):
        weights["bad"]
