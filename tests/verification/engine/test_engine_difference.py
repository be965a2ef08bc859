"""`verify` with an engine that is wrong, and who is to blame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import trtdsl
from tests.verification.engines import (
    TEXT,
    Net,
    engine_of,
    graph_of,
    scaled,
    state,
)
from trtdsl.ir import Graph
from trtdsl.reference import random_weights


def test_an_engine_of_other_weights(net: Net, bound: Graph) -> None:
    other = engine_of(random_weights(graph_of(TEXT), seed=1))
    found = trtdsl.verify(bound, None, net, engine=other)
    assert found.difference is not None
    assert found.difference.message.startswith("the engine's output `scores` differs by ")
    assert (
        "although the network of this text and these weights is right on the CPU" in found.difference.message
    )
    assert "the engine was built from another text or other weights, or TensorRT computes" in (
        found.difference.message
    )
    *cpu, last = found.rows
    assert {(row.computed_by, row.verdict) for row in cpu} == {("cpu", "equal")}
    assert [row.name for row in cpu] == ["conv+bn", "fc1", "head", "scores"]
    assert (last.computed_by, last.name, last.verdict) == ("engine", "scores", "differs")


@pytest.mark.parametrize(
    ("precision", "tf32", "says"),
    [
        ("float16", True, "it is too coarse in float16,"),
        ("float32", True, "it is too coarse in float32 with TF32,"),
    ],
)
def test_a_low_precision_is_named(net: Net, bound: Graph, precision: str, tf32: bool, says: str) -> None:
    engine = engine_of(bound, change=scaled(0.1), precision=precision, tf32=tf32)
    found = trtdsl.verify(bound, None, net, engine=engine)
    assert found.difference is not None
    assert says in found.difference.message
    assert f"the tolerance is {found.tolerance:g} for the engine, 0.0001 on the CPU" in found.notes


def test_nan_on_both_sides_is_noted(folder: Path, bound: Graph) -> None:
    with np.load("ref.npz") as stored:
        np.savez("ref.npz", image=stored["image"], scores=np.full((3, 4), np.nan, np.float32))
    engine = engine_of(bound, change=scaled(np.nan))
    found = trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine)
    assert found.difference is None
    assert found.unknown == (
        "nothing in output `scores` can be compared: all of it is NaN or infinite on both sides",
    )
    assert found.notes == (
        "output `scores` holds 12 of 12 numbers that are NaN or infinite, on both sides alike",
    )


def test_the_modules_own_weights_are_not_the_engines(folder: Path, net: Net, bound: Graph) -> None:
    found = trtdsl.verify("net.trtnet", None, net, engine=engine_of(bound))
    assert found.equal
    assert found.notes == (
        "no checkpoint was given: the module has its own weights, the engine those it was built with",
    )


def test_an_overflow_differs(net: Net, bound: Graph) -> None:
    engine = engine_of(bound, change=lambda outputs: {"scores": outputs["scores"] * np.float32(np.inf)})
    found = trtdsl.verify(bound, None, net, engine=engine)
    assert found.difference is not None
    assert "output `scores` differs by inf" in found.difference.message


def test_a_wrong_model_is_blamed_on_its_operator(net: Net) -> None:
    graph = graph_of(TEXT.replace("x + y", "x - y"), state(net))
    found = trtdsl.verify(graph, None, net, engine=engine_of(graph))
    alone = trtdsl.verify(graph, None, net)
    assert found.difference == alone.difference
    assert found.difference is not None
    assert found.difference.suspects[0].operator == "sub"
    assert found.rows[:-1] == alone.rows
    assert (found.rows[-1].computed_by, found.rows[-1].verdict) == ("engine", "differs")


def test_without_a_checkpoint_a_difference_is_not_explained(folder: Path, bound: Graph) -> None:
    engine = engine_of(bound, change=scaled(0.5))
    found = trtdsl.verify("net.trtnet", outputs="ref.npz", engine=engine)
    assert found.difference is not None
    assert found.difference.message == (
        "the engine's output `scores` differs by 5.0e-01; the layers cannot be compared:"
        " model `net` has 10 weights, the first is `conv.weight`: give a checkpoint"
    )
    assert [row.computed_by for row in found.rows] == ["engine"]
    explained = trtdsl.verify("net.trtnet", "net.safetensors", outputs="ref.npz", engine=engine)
    assert explained.difference is not None
    assert "is right on the CPU" in explained.difference.message


def test_table_and_json_tell_the_engine_from_the_cpu(net: Net, bound: Graph) -> None:
    engine = engine_of(bound, change=scaled(0.1), precision="float16")
    found = trtdsl.verify(bound, None, net, engine=engine)
    table = trtdsl.verification.show_verification(found).splitlines()
    labels = [line.split("  ")[0] for line in table[1:6]]
    assert labels == ["conv+bn", "fc1", "head", "output scores", "engine's output scores"]
    runtime = f"{engine.manifest.runtime} {engine.manifest.runtime_version}, float16"
    assert table[7] == f"net by an engine ({runtime}) against Net in float32, N = 2"
    printed = json.loads(json.dumps(found.to_dict()))
    assert printed["engine"] == runtime
    assert [row["computed_by"] for row in printed["rows"]] == ["cpu"] * 4 + ["engine"]
