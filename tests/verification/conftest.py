"""A right module, and a folder with its checkpoint and texts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.verification.networks import TEXT, Net, make_net


@pytest.fixture(scope="session")
def net() -> Net:
    return make_net()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: Net) -> Path:
    torch.save(net.state_dict(), tmp_path / "net.pth")
    (tmp_path / "net.trtnet").write_text(TEXT)
    (tmp_path / "wrong.trtnet").write_text(TEXT.replace("x + y", "x - y"))
    (tmp_path / "scale.trtnet").write_text(
        "model scale(factor = 2.0) {\n  dim N = 1 .. 3 .. 5\n"
        "  input x: float32[N]\n  output y = x * factor\n}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path
