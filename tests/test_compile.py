"""The library's way to an engine: what its arguments may be, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import trtdsl
from trtdsl import CompileOptions, DType
from trtdsl.diagnostics import UsageError
from trtdsl.ir import Graph

TEXT = "model m() {\n  input x: float32[2, 3]\n  output y = x -> fc: Linear(4)\n}\n"
ARRAYS = {"fc.weight": np.ones((4, 3), np.float32), "fc.bias": np.ones(4, np.float32)}


@pytest.fixture
def graph() -> Graph:
    return trtdsl.bind(trtdsl.elaborate_text(TEXT), ARRAYS).graph


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model and its checkpoint."""
    source, weights = tmp_path / "m.trtnet", tmp_path / "m.safetensors"
    source.write_text(TEXT)
    save_file(ARRAYS, weights)
    return source, weights


@pytest.mark.parametrize("precision", [DType.FLOAT16, "float16"])
def test_a_precision_is_a_dtype_or_its_name(graph: Graph, tmp_path: Path, precision: Any) -> None:
    compiled = trtdsl.compile_graph(graph, tmp_path / "m.engine", CompileOptions(precision=precision))
    assert compiled.manifest.precision == "float16"


@pytest.mark.parametrize("precision", ["float15", "uint8", DType.UINT8, 16])
def test_another_precision_is_refused(graph: Graph, tmp_path: Path, precision: Any) -> None:
    with pytest.raises(UsageError, match="choose one of float32, float16, bfloat16"):
        trtdsl.compile_graph(graph, tmp_path / "m.engine", CompileOptions(precision=precision))


def test_one_target_needs_no_list(graph: Graph, tmp_path: Path) -> None:
    compiled = trtdsl.compile_graph(graph, tmp_path / "m.engine", CompileOptions(targets="sm89"))
    assert compiled.manifest.targets == ("sm89",)
    lowered = trtdsl.lower(graph)
    assert (
        bytes(trtdsl.build(lowered, CompileOptions(targets="sm89"))) == (tmp_path / "m.engine").read_bytes()
    )


def test_a_file_is_compiled_with_the_choices_of_the_command_line(files: tuple[Path, Path]) -> None:
    engine = files[0].with_suffix(".engine")
    options = CompileOptions(precision="bfloat16", tf32=False)
    manifest = trtdsl.compile_file(*files, engine, options).manifest
    assert (manifest.precision, manifest.tf32) == ("bfloat16", False)


def test_neither_the_model_nor_its_checkpoint_is_overwritten(files: tuple[Path, Path]) -> None:
    for path in files:
        before = path.read_bytes()
        with pytest.raises(UsageError, match="the engine is made from it"):
            trtdsl.compile_file(*files, path)
        assert path.read_bytes() == before


@pytest.mark.parametrize("name", trtdsl.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(trtdsl, name) is not None
    assert name in dir(trtdsl)
