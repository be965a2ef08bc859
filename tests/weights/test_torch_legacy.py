"""What ``torch.save`` wrote before PyTorch 1.6, which torch itself reads for us."""

from __future__ import annotations

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


def test_what_torch_cannot_read_is_said(tmp_path: Path):
    path = saved(tmp_path / "w.pth", {"x": torch.ones(2).to(torch.float8_e5m2)})
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(path)
    assert "is a checkpoint PyTorch cannot read" in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_what_cannot_be_read_can_be_listed(tmp_path: Path):
    state = {"c": torch.ones(2, dtype=torch.complex64), "s": torch.eye(2).to_sparse(), "w": BASE}
    weights = load_checkpoint(saved(tmp_path / "w.pth", state))
    assert list(weights) == ["c", "s", "w"]
    for key in ("c", "s"):
        with pytest.raises(DiagnosticError, match=f"tensor `{key}` that cannot be read"):
            weights[key]


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = saved(tmp_path / "w.pth", STATE)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DiagnosticError, match=r"pip install trtdsl\[torch\]"):
        load_checkpoint(path)


@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.2])
def test_truncated(tmp_path: Path, kept: float):
    path = saved(tmp_path / "w.pth", {"x": torch.ones(1000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DiagnosticError, match=TRUNCATED):
        load_checkpoint(path)


def test_sizes_the_file_cannot_hold_are_refused_before_torch_allocates_them(tmp_path: Path):
    path = saved(tmp_path / "w.pth", {"x": torch.ones(300)})
    size = b"M" + (300).to_bytes(2, "little")
    data = path.read_bytes()
    assert data.count(size) == 2  # the storage's size, and the shape
    path.write_bytes(data.replace(size, b"\x8a\x06" + (2**40).to_bytes(6, "little"), 2))
    with pytest.raises(DiagnosticError, match="ends before its tensors do"):
        load_checkpoint(path)
