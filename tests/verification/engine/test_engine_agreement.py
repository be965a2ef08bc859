"""`verify` with an engine that is right: another computation of the outputs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.engines import (
    TEXT,
    CpuEngine,
    Net,
    engine_of,
    graph_of,
    never,
    scaled,
    state,
)
from trtdsl.diagnostics import UsageError
from trtdsl.ir import Graph
from trtdsl.ir.profiles import with_profiles
from trtdsl.options import CompileOptions
from trtdsl.reference import ProfilePoint
from trtdsl.types import DType
from trtdsl.verification import ENGINE_TOLERANCES, comparison


def test_outputs_that_agree_are_all_there_is(net: Net, bound: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(bound)
    monkeypatch.setattr(comparison, "compute", never)
    found = trtdsl.verify(graph_of(TEXT), state(net), net, engine=engine)
    assert found.equal
    assert found.tolerance == 1e-4
    (row,) = found.rows
    assert (row.kind, row.name, row.computed_by, row.verdict) == ("output", "scores", "engine", "equal")
    assert (row.source, row.shape) == ("net.trtnet:7:10", (2, 4))
    assert len(engine.asked) == 1


def test_neither_weights_nor_a_module_are_needed(folder: Path, bound: Graph) -> None:
    found = trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine_of(bound))
    assert found.equal
    assert found.sizes == {"N": 3}


def test_the_tolerance_covers_what_a_precision_loses(net: Net, bound: Graph) -> None:
    for precision in (DType.FLOAT16, DType.BFLOAT16):
        found = trtdsl.verify(bound, None, net, engine=engine_of(bound, computes_in=precision))
        assert found.equal
        assert found.tolerance == ENGINE_TOLERANCES[str(precision)]
        (measured,) = (row.measure for row in found.rows)
        assert measured is not None
        # In float32 it would not pass.
        assert measured.relative > ENGINE_TOLERANCES["float32"]


@pytest.mark.parametrize(
    ("precision", "tf32", "tolerance"),
    [
        ("float32", False, 1e-4),
        ("float32", True, 2e-3),
        ("float16", True, 1e-2),
        ("float16", False, 1e-2),
        ("bfloat16", True, 8e-2),
    ],
)
def test_the_tolerance_is_that_of_the_manifest(
    folder: Path, bound: Graph, precision: str, tf32: bool, tolerance: float
) -> None:
    for factor, equal in ((0.9, True), (1.1, False)):
        engine = engine_of(bound, change=scaled(factor * tolerance), precision=precision, tf32=tf32)
        found = trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine)
        assert (found.equal, found.tolerance) == (equal, tolerance)


def test_a_tolerance_of_ones_own(folder: Path, bound: Graph) -> None:
    engine = engine_of(bound, change=scaled(0.1))
    assert not trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine).equal
    assert trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine, tolerance=0.2).equal


def test_integers_agree_exactly_or_not() -> None:
    class Largest(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.argmax(1)

    graph = graph_of("model m() {\n  input x: float32[2, 9]\n  output y = x -> argmax(1)\n}\n")
    assert trtdsl.verify(graph, None, Largest(), engine=engine_of(graph)).equal
    off = engine_of(graph, change=lambda outputs: {"y": outputs["y"] + 1})
    assert not trtdsl.verify(graph, None, Largest(), engine=off, tolerance=10.0).equal


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_inputs_are_of_the_models_types_whatever_the_reference_computes_in(dtype: str) -> None:
    class Double(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.dtype == torch.float64
            return x + x

    graph = graph_of(f"model m() {{\n  input x: {dtype}[2, 3]\n  output y = x + x\n}}\n")
    engine = engine_of(graph)
    found = trtdsl.verify(graph, None, Double(), engine=engine, dtype="float64")
    assert found.equal
    assert engine.asked[0]["x"].dtype == DType(dtype).numpy
    assert engine.manifest.outputs[0].dtype == dtype


NARROW = "model m() {\n  input x: int64[3]\n  output y = x + x\n}\n"


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x


def narrow() -> tuple[Graph, CpuEngine]:
    """A model of int64, and its engine as releases before TensorRT 10 build it."""
    return graph_of(NARROW), engine_of(graph_of(NARROW.replace("int64", "int32")))


def test_int64_is_int32_in_an_older_engine() -> None:
    graph, engine = narrow()
    assert trtdsl.verify(graph, None, Twice(), engine=engine).equal
    assert engine.asked[0]["x"].dtype == np.int32


def test_numbers_that_int32_cannot_hold_are_refused() -> None:
    graph, engine = narrow()
    with pytest.raises(UsageError, match="input `x` is int32 in the engine, which cannot hold"):
        trtdsl.verify(graph, None, Twice(), engine=engine, inputs={"x": np.array([1, 2, 2**40])})
    assert not engine.asked


@pytest.mark.parametrize(
    ("at", "given", "sizes"),
    [
        ("opt", {}, {"N": 1, "S": 3}),
        ("max", {"a": np.ones(1, "f4")}, {"N": 1, "S": 5}),
        ("min", {"a": np.ones(8, "f4")}, {"N": 8, "S": 7}),
    ],
)
def test_sizes_are_those_of_the_engines_profiles(
    at: ProfilePoint, given: dict[str, np.ndarray], sizes: dict[str, int]
) -> None:
    """Where none takes those of the text, the first that takes the given arrays has them."""
    text = "model s { dim N = 1 .. 2 .. 8 dim S = 1 .. 4 .. 8 "
    text += "input a: float32[N] input b: float32[N, S] output y = sum(b, 1) + a }"
    graph = graph_of(text)
    chosen = with_profiles(graph, CompileOptions(profiles=["N=1, S=2..3..5", "N=8, S=7"]).profiles)

    class Sums(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return b.sum(1) + a

    found = trtdsl.verify(graph, None, Sums(), engine=engine_of(chosen), inputs=given, at=at)
    assert found.equal
    assert found.sizes == sizes


def test_sizes_outside_of_the_profiles(net: Net, bound: Graph) -> None:
    engine = dataclasses.replace(
        engine_of(graph_of(TEXT.replace("2 .. 4", "2 .. 3"), state(net))), compute=never
    )
    given = {"image": np.ones((4, 3, 8, 8), "f4")}
    with pytest.raises(UsageError, match="the model does not accept image = 4x3x8x8"):
        trtdsl.verify(bound, None, net, engine=engine, inputs=given)
