"""What ``torch.save`` wrote before PyTorch 1.6."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trtdsl.diagnostics import DiagnosticError
from trtdsl.weights import load_checkpoint

BASE = torch.arange(24.0).reshape(4, 6)
TRUNCATED = r"ends before its tensors do|pickle breaks off|PyTorch cannot read"
STATE = {
    "w": BASE,
    "t": BASE.t(),
    "s": BASE[1:, ::2],
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 2),
    "half": torch.ones(2, dtype=torch.float16),
    "flag": torch.tensor([True, False]),
    "p": torch.nn.Parameter(torch.ones(2)),
}


def saved(path: Path, value: object) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=False)
    return path


def test_tensors_views_and_sections(tmp_path: Path):
    weights = load_checkpoint(saved(tmp_path / "w.pth", {"epoch": 1, "state_dict": STATE}))
    assert (weights.format, weights.section) == ("torch legacy", "state_dict")
    for key, tensor in STATE.items():
        np.testing.assert_array_equal(weights[key], tensor.detach().numpy(), strict=True)
        assert not weights[key].flags.writeable


def test_bfloat16(tmp_path: Path):
    weights = load_checkpoint(saved(tmp_path / "w.pth", {"x": torch.tensor([1.5, -2.0]).bfloat16()}))
    assert weights.dtype_name("x") == "bfloat16"
    assert weights["x"].astype(np.float32).tolist() == [1.5, -2]


def test_a_dtype_that_torch_itself_cannot_read_from_it(tmp_path: Path):
    tensor = torch.tensor([1.5, -96.0]).to(torch.float8_e5m2)
    path = saved(tmp_path / "w.pth", {"x": tensor})
    with path.open("rb") as file, pytest.raises(Exception, match=r"UntypedStorage|weights_only"):
        torch.load(file, weights_only=True)
    array = load_checkpoint(path)["x"]
    assert (array.dtype.name, array.astype(np.float32).tolist()) == ("float8_e5m2", [1.5, -96])


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_what_cannot_be_read_can_be_listed(tmp_path: Path):
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint32)
    state = {"n": torch.ones(2).to(torch.complex64).conj(), "s": torch.eye(2).to_sparse(), "w": BASE}
    weights = load_checkpoint(saved(tmp_path / "w.pth", {**state, "q": quantized}))
    assert list(weights) == ["n", "s", "w", "q"]
    for key in ("n", "s", "q"):
        with pytest.raises(DiagnosticError, match=f"tensor `{key}` that cannot be read"):
            weights[key]


def test_torch_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = saved(tmp_path / "w.pth", STATE)
    monkeypatch.setitem(sys.modules, "torch", None)
    weights = load_checkpoint(path)
    for key, tensor in STATE.items():
        np.testing.assert_array_equal(weights[key], tensor.detach().numpy(), strict=True)


def test_the_data_stays_in_the_file(tmp_path: Path):
    state = {"c": torch.ones(3, dtype=torch.complex64), "x": BASE, "t": BASE.t()}
    weights = load_checkpoint(saved(tmp_path / "w.pth", state))
    storage = weights.tensors["x"].storage
    assert storage is not None and weights.tensors["t"].storage is storage
    assert isinstance(storage.buffer().obj, mmap.mmap)
    assert weights.shape("c") == (3,)


def test_a_view_of_a_storage(tmp_path: Path):
    """What PyTorch before 0.4 wrote of a tensor over a part of a storage: where the part begins and ends."""
    path = saved(tmp_path / "w.pth", {"x": torch.arange(8.0)})
    data = path.read_bytes()
    size, view = b"K\x08Nt", b"K\x08(X\1\0\0\0vK\2K\4tt"
    shape = b"QK\0K\x08\x85"
    assert data.count(size) == data.count(shape) == 1
    path.write_bytes(data.replace(size, view).replace(shape, b"QK\0K\x04\x85"))
    with path.open("rb") as file:
        expected = torch.load(file, weights_only=True)["x"]
    assert load_checkpoint(path)["x"].tolist() == expected.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("count", [0, 7, 9])
def test_storages_must_be_those_of_the_tensors(tmp_path: Path, count: int):
    path = saved(tmp_path / "w.pth", {"x": torch.arange(8.0)})
    data = path.read_bytes()
    path.write_bytes(data[:-40] + count.to_bytes(8, "little") + data[-32:])
    with pytest.raises(DiagnosticError, match="its storages are not those that its tensors refer to"):
        load_checkpoint(path)


@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.2])
def test_truncated(tmp_path: Path, kept: float):
    path = saved(tmp_path / "w.pth", {"x": torch.ones(1000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DiagnosticError, match=TRUNCATED):
        load_checkpoint(path)


def test_sizes_the_file_cannot_hold_are_refused(tmp_path: Path):
    path = saved(tmp_path / "w.pth", {"x": torch.ones(300)})
    size = b"M" + (300).to_bytes(2, "little")
    data = path.read_bytes()
    assert data.count(size) == 2  # the storage's size, and the shape
    path.write_bytes(data.replace(size, b"\x8a\x06" + (2**40).to_bytes(6, "little"), 2))
    with pytest.raises(DiagnosticError, match="ends before its tensors do"):
        load_checkpoint(path)
