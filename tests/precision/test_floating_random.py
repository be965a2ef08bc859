"""Random programs by the policy: valid graphs, with as few casts, that compute what float64 does."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fuzz.programs import valid
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate, models
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, rebuild, verify, walk
from trtdsl.passes import convert_precision, optimize
from trtdsl.passes.convert_precision import convert, is_cast
from trtdsl.precision.lower_floats import PRODUCTS, casts, lower_floats
from trtdsl.reference import random_inputs, random_weights, run
from trtdsl.trt.lower import lower
from trtdsl.types import DType
from trtdsl.verification.roundings import LOSSES, allowed
from trtdsl.verification.tolerances import TOLERANCES

ILL_CONDITIONED = 0.05
"""Programs that are further off than this when only their inputs and weights are rounded say nothing."""


@pytest.fixture(autouse=True)
def keep_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports are relative to the folder of the fuzzed texts."""
    monkeypatch.chdir(Path(__file__).parents[1] / "fuzz")


def programs() -> Iterator[tuple[int, Graph]]:
    """Programs by their seeds; one is refused where its section names a layer that is not taken."""
    for seed in range(60):
        text, *_ = valid(random.Random(seed))
        try:
            graph = elaborate(text, "fuzz.trtnet", models(text, "fuzz.trtnet")[-1]).graph
        except DiagnosticError:
            continue
        yield seed, optimize(random_weights(graph, seed=1))


def rounded_sources(graph: Graph, inputs: Mapping[str, Any], dtype: DType) -> tuple[Graph, dict[str, Any]]:
    """The graph and inputs whose numbers are rounded to a type, and nothing else."""

    def round_to(array: Any) -> Any:
        floats = np.asarray(array).dtype == np.float32
        return np.asarray(array).astype(dtype.numpy).astype(np.float32) if floats else array

    new = {w: w.replace(data=round_to(w.data)) for w in graph.weights if w.data is not None}
    return rebuild(graph, graph.nodes, new), {name: round_to(array) for name, array in inputs.items()}  # pyright: ignore[reportArgumentType]


def computed(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The outputs as TensorRT computes them."""
    network = lower(graph)
    return evaluate(network.network, inputs, weights=network.weights)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    difference, size = (found.double() - wanted.double()).norm(), wanted.double().norm()
    return float(difference / size) if size else float(difference > 0)


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16], ids=str)
def test_random_programs(dtype: DType) -> None:
    compared = within = 0
    for seed, graph in programs():
        found = lower_floats(graph, dtype)
        assert verify(found.graph, "bound") == (), seed
        inputs = random_inputs(graph, seed=2)
        wanted = run(graph, inputs, in_float64=True)
        source, given = rounded_sources(graph, inputs, dtype)
        near = run(source, given, in_float64=True)
        results = computed(found.graph, inputs)
        throughout = computed(convert_precision(dtype)(graph), inputs)
        bounds = allowed(found.graph)
        for output in found.graph.outputs:
            unavoidable = error(near[output.name], wanted[output.name])
            if not output.value.type.dtype.is_floating or unavoidable > ILL_CONDITIONED:
                continue
            enlarged = max(1.0, unavoidable / LOSSES[dtype])
            limit = enlarged * max(bounds.get(output.value, 0.0), TOLERANCES["float32"])
            # What cancels is no better in any narrow type; but it must not be worse for the policy.
            cancelled = error(throughout[output.name], wanted[output.name])
            is_right = error(results[output.name], wanted[output.name]) <= max(limit, 1.5 * cancelled)
            assert is_right, (seed, output.name)
            within += error(results[output.name], wanted[output.name]) <= limit
            compared += 1
    assert compared >= 40
    assert within >= 0.97 * compared


def test_casts_of_random_programs_are_fewest() -> None:
    """No operator that became narrow would have made casts fewer by staying float32."""
    tried = 0
    for seed, graph in programs():
        found = lower_floats(graph, DType.FLOAT16)
        wide = {
            node.results[0].name
            for node in walk(found.graph)
            if any(value.type.dtype is DType.FLOAT32 for value in (*node.operands, *node.results))
        }
        stay = {node for node in walk(graph) if not is_cast(node) and node.results[0].name in wide}
        if not found.stayed:
            assert not stay, seed
            continue
        fewest = casts(convert(graph, DType.FLOAT16, stay))
        assert fewest == casts(found.graph), seed
        others = [
            node
            for node in graph.nodes
            if node not in stay and not node.bodies and node.op.name not in PRODUCTS
        ]
        for node in others:
            assert casts(convert(graph, DType.FLOAT16, {*stay, node})) >= fewest, (seed, node.op.name)
            tried += 1
    assert tried >= 50
