"""What is accepted computes the same as it is written, after the passes, and as TensorRT's layers."""

from __future__ import annotations

from tests.closeness import IllConditioned, expected, require_outputs
from trtdsl import reference
from trtdsl.elaborate import elaborate, models
from trtdsl.evaluate import evaluate
from trtdsl.passes import optimize
from trtdsl.reference import ProfilePoint
from trtdsl.trt.lower import lower

LIMIT = 1e-4
POINTS: tuple[ProfilePoint, ...] = ("min", "max")


def compute(text: str) -> str:
    """ "computed", or "ill-conditioned" where PyTorch's own rounding is too large to say anything."""
    graph = elaborate(text, "fuzz.trtnet", models(text, "fuzz.trtnet")[-1]).graph
    graph = reference.random_weights(graph, 1)
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
