"""A small module, its graph, and a folder with both and right outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.verification.engines import TEXT, Net, graph_of, state
from trtdsl.ir import Graph
from trtdsl.reference import run, to_numpy


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
