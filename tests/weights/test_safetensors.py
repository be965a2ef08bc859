"""``.safetensors`` as the library writes it, and every way its header can lie."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize("name", NUMPY_DTYPES)
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


def written(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(*offsets: object, shape: object = (2,), dtype: object = "F32", **more: object) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets), **more}


BROKEN = {
    "header past the end": ({"x": entry(0, 8)}, bytes(8), 10_000, "its header needs 10008 bytes"),
    "header cut": ({"x": entry(0, 8)}, bytes(8), 20, "it is not valid JSON"),
    "not UTF-8": (b'{"\xff": 1}', b"", None, "it is not valid JSON"),
    "nested without end": (b"{" + b'"a":[' + b"[" * 100_000, b"", None, "it is not valid JSON"),
    "endless number": (b'{"x": ' + b"9" * 10_000 + b"}", b"", None, "it is not valid JSON"),
    "duplicate key": (b'{"x": 1, "x": 2}', b"", None, "the key `x` occurs twice"),
    "data cut": ({"x": entry(0, 8)}, bytes(7), None, "the tensors have 8 bytes, but the file holds 7"),
    "data left over": ({"x": entry(0, 8)}, bytes(9), None, "the file holds 9"),
    "overlap": (
        {"x": entry(0, 8), "y": entry(4, 12)},
        bytes(12),
        None,
        "`y` begins at byte 4 of the data, not at 8",
    ),
    "hole": ({"x": entry(0, 8), "y": entry(12, 20)}, bytes(20), None, "`y` begins at byte 12 of the data"),
    "twice the same": ({"x": entry(0, 8), "y": entry(0, 8)}, bytes(8), None, "`y` begins at byte 0"),
    "shape too large": ({"x": entry(0, 8, shape=[3])}, bytes(8), None, "`x` is float32 [3] but has 8 bytes"),
    "shape overflows": ({"x": entry(0, 0, shape=[0, 2**61, 2**61])}, b"", None, "what is not a size"),
    "negative size": ({"x": entry(0, 8, shape=[-1, -2])}, bytes(8), None, "`x` describes no tensor"),
    "fractional size": ({"x": entry(0, 8, shape=[2.0])}, bytes(8), None, "`x` describes no tensor"),
    "boolean size": ({"x": entry(0, 4, shape=[True])}, bytes(4), None, "`x` describes no tensor"),
    "offsets reversed": ({"x": entry(8, 0)}, bytes(8), None, "`x` describes no tensor"),
    "negative offset": ({"x": entry(-8, 0)}, bytes(8), None, "`x` describes no tensor"),
    "three offsets": ({"x": entry(0, 4, 8)}, bytes(8), None, "`x` describes no tensor"),
    "rank": ({"x": entry(0, 4, shape=[1] * 65)}, bytes(4), None, "`x` describes no tensor"),
    "no dtype": ({"x": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8), None, "`x` describes no tensor"),
    "not an entry": ({"x": 3}, b"", None, "`x` describes no tensor"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_lying_header_is_refused_as_the_library_does(tmp_path: Path, name: str):
    header, data, length, message = BROKEN[name]
    path = written(tmp_path / "w.safetensors", header, data, length)
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(path)
    assert message in str(caught.value)
    # The library keeps the last of two equal keys, and allows sizes and ranks that a numpy array cannot have.
    if name not in ("duplicate key", "rank", "shape overflows"):
        with pytest.raises(SafetensorError), safe_open(path, framework="np"):
            pass


@pytest.mark.parametrize("dtype", ["C64", "F4", "F8_E8M0", "from the future"])
def test_an_unknown_dtype_is_refused_only_when_asked_for(tmp_path: Path, dtype: str):
    header = {"bad": entry(0, 8, dtype=dtype, shape=[1]), "good": entry(8, 16)}
    weights = load_checkpoint(written(tmp_path / "w.safetensors", header, bytes(16)))
    assert weights.shape("bad") == (1,)
    assert weights["good"].tolist() == [0, 0]
    with pytest.raises(DiagnosticError, match="tensor `bad` that cannot be read: it is of dtype"):
        weights["bad"]
