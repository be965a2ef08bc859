"""An engine that was built from another model is refused before anything runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import trtdsl
from tests.verification.engines import (
    CpuEngine,
    engine_of,
    never,
)
from trtdsl.diagnostics import UsageError
from trtdsl.ir import Graph
from trtdsl.trt.manifest import Binding

IMAGE = Binding("image", "float32", ("N", 3, 8, 8))
SCORES = Binding("scores", "float32", ("N", 4))

MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": "cnn"}, "it is of the model `cnn`, not of `net`"),
    "first of several": ({"model": "cnn", "inputs": ()}, "it is of the model `cnn`, not of `net`"),
    "no input": ({"inputs": ()}, "it has no input `image`, the model has"),
    "further input": (
        {"inputs": (IMAGE, Binding("mask", "bool", ()))},
        "it has the input `mask`, the model does not",
    ),
    "rank": (
        {"inputs": (dataclasses.replace(IMAGE, shape=("N", 192)),)},
        r"input `image` has 2 dimensions in the engine, but is float32\[N, 3, 8, 8\]",
    ),
    "dtype": (
        {"inputs": (dataclasses.replace(IMAGE, dtype="float16"),)},
        r"input `image` is float16 in the engine, but float32\[N, 3, 8, 8\]",
    ),
    "no output": ({"outputs": ()}, "it has no output `scores`, the model has"),
    "output": (
        {"outputs": (dataclasses.replace(SCORES, dtype="int32"),)},
        r"output `scores` is int32 in the engine, but float32\[N, 4\]",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_an_engine_of_another_model_is_refused_before_anything_runs(bound: Graph, name: str) -> None:
    changes, says = MISFITS[name]
    engine = CpuEngine(dataclasses.replace(engine_of(bound).manifest, **changes), never)
    with pytest.raises(UsageError, match=f"the engine does not fit the model: {says}"):
        # The module is not imported either.
        trtdsl.verify(bound, None, "no_such_package:Net", engine=engine)
