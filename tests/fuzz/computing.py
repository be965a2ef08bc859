"""What is accepted computes the same as it is written, after the passes, and as TensorRT's layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tests.closeness import Expected, IllConditioned, expected, require_outputs
from trtdsl import reference
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate, models
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.passes import PIPELINE, optimize
from trtdsl.reference import ProfilePoint
from trtdsl.trt.lower import lower
from trtdsl.types import DType

LIMIT = 1e-4
POINTS: tuple[ProfilePoint, ...] = ("min", "max")

BEGUN = ("remove_identities", "fold_constants", "merge_common_subexpressions")
"""Passes whose results the others act on: constants folded, equal nodes one."""

STIRRED = {DType.FLOAT32: 1e-6, DType.FLOAT16: 1e-3, DType.BFLOAT16: 8e-3}
"""Relative changes of inputs, some units in the last place: what they move says nothing about a pass."""


def graph_of(text: str) -> Graph:
    """The last model of a text, its weights random."""
    graph = elaborate(text, "fuzz.trtnet", models(text, "fuzz.trtnet")[-1]).graph
    return reference.random_weights(graph, 1)


def compute(text: str) -> str:
    """ "computed", or "ill-conditioned" where PyTorch's own rounding is too large to say anything."""
    graph = graph_of(text)
    optimized = optimize(graph)
    networks = (lower(graph), lower(optimized))
    for at in POINTS:
        inputs = reference.random_inputs(graph, at, 2)
        wanted = expected(graph, inputs)
        try:
            require_outputs(reference.run(optimized, inputs), wanted, LIMIT)
            for network in networks:
                require_outputs(evaluate(network.network, inputs, weights=network.weights), wanted, LIMIT)
        except IllConditioned:
            return "ill-conditioned"
    return "computed"


def compute_alone(text: str) -> Counter[str]:
    """Each pass alone keeps the values; those passes that changed something."""
    graph = graph_of(text)
    try:
        return passes_kept(graph, reference.random_inputs(graph, "opt", 2))
    except IllConditioned:
        return Counter()


def passes_kept(graph: Graph, inputs: Mapping[str, Any], *, whole: bool = False) -> Counter[str]:
    """Hold each pass alone, before and after others have begun, to the graph's values.

    With ``whole`` the pipeline too, and the network that TensorRT is given of its result. Returns how often
    each pass changed something; raises AssertionError, or :class:`IllConditioned` where the last bits of the
    inputs move what differs as well.
    """
    wanted = expected(graph, inputs)
    changed: Counter[str] = Counter()
    begun = optimize(graph, only=BEGUN)
    for step in PIPELINE:
        for before in (graph, begun):
            after = optimize(before, [step])
            if after is not before:
                changed[step.name] += 1
                _hold(step.name, reference.run(after, inputs), wanted, graph, inputs)
    if whole:
        optimized = optimize(graph)
        _hold("the pipeline", reference.run(optimized, inputs), wanted, graph, inputs)
        try:
            network = lower(optimized)
        except DiagnosticError:  # what this TensorRT lacks
            return changed
        changed["network"] += 1
        found = evaluate(network.network, inputs, weights=network.weights)
        _hold("the network", found, wanted, graph, inputs)
    return changed


def _hold(
    what: str,
    found: Mapping[str, Any],
    wanted: Mapping[str, Expected],
    graph: Graph,
    inputs: Mapping[str, Any],
) -> None:
    try:
        require_outputs(found, wanted, LIMIT)
    except IllConditioned:
        raise
    except AssertionError as error:
        if _is_unsteady(graph, inputs, wanted):
            raise IllConditioned(f"the last bits of the inputs move it as well: {error}") from error
        raise AssertionError(f"{what}: {error}") from error


def _is_unsteady(graph: Graph, inputs: Mapping[str, Any], wanted: Mapping[str, Expected]) -> bool:
    """Whether results are further off than is allowed where the inputs are so by their last bits alone."""
    for stirred in _stirred(inputs):
        try:
            require_outputs(reference.run(graph, stirred), wanted, LIMIT)
        except AssertionError:
            return True
    return False


def _stirred(inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        found: dict[str, Any] = {}
        for name, array in inputs.items():
            share = next((size for dtype, size in STIRRED.items() if dtype.numpy == array.dtype), None)
            factors = 1 + (share or 0) * rng.uniform(-1, 1, array.shape)
            found[name] = array if share is None else (array * factors).astype(array.dtype)
        yield found
