"""What is accepted computes the same as it is written, after the passes, and as TensorRT's layers."""

from __future__ import annotations

from collections import Counter

from tests.closeness import IllConditioned, expected, require_outputs
from trtdsl import reference
from trtdsl.elaborate import elaborate, models
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph
from trtdsl.passes import PIPELINE, optimize
from trtdsl.reference import ProfilePoint
from trtdsl.trt.lower import lower

LIMIT = 1e-4
POINTS: tuple[ProfilePoint, ...] = ("min", "max")


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
    """Each pass alone keeps the values; those passes that changed something.

    They act on what the others leave them: constants folded, equal nodes one.
    """
    graph = graph_of(text)
    begun = optimize(graph, only=["remove_identities", "fold_constants", "merge_common_subexpressions"])
    found: Counter[str] = Counter()
    inputs = reference.random_inputs(graph, "opt", 2)
    wanted = expected(graph, inputs)
    for step in PIPELINE:
        for before in (graph, begun):
            changed = optimize(before, [step])
            found[step.name] += changed is not before
            try:
                require_outputs(reference.run(changed, inputs), wanted, LIMIT)
            except IllConditioned:
                return Counter()
    return found
