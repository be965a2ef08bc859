"""How far apart two right computations may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph, Node, walk
from trtdsl.trt.manifest import Manifest
from trtdsl.types import DType

Floats: TypeAlias = Literal["float32", "float64"]

TOLERANCES: Mapping[Floats, float] = {"float32": 1e-4, "float64": 1e-6}
"""Relative L2 error by evaluation precision. float32 sums of some thousand terms in another order differ by
1e-6, and a hundred layers may enlarge that tenfold. In float64 what remains is that folding rounds weights
to their own float32 once, 6e-8."""

ROUNDED_TOLERANCES: Mapping[DType, float] = {DType.FLOAT16: 2e-3, DType.BFLOAT16: 1.6e-2}
"""Relative L2 error on the CPU of a model with weights of these dtypes, and after what the network rounds to
one of them, if that is more. Folding rounds weights to their own dtype once more, by 5e-4 at most in float16
and 4e-3 in bfloat16; after up to 155 layers with BatchNorm, in torchvision's ResNets and DenseNet-121, 1.2e-3
and 1.1e-2 were seen. A cast rounds by as much, and to the other neighbour where both sides are a little
apart."""

ENGINE_TOLERANCES: Mapping[str, float] = {
    "float32": 1e-4,
    "float32 with TF32": 2e-3,
    "float16": 1e-2,
    "bfloat16": 8e-2,
}
"""Relative L2 error by the engine's arithmetic, as its manifest records it. float16 rounds to 11 bits, by
5e-4 at most, and what the layers add to that grows with their number: the engines in benchmarks/gpu.md are
2e-4 to 6e-3 from float64, and only VGG-16 with random weights, 1.4e-2, goes beyond 1e-2. bfloat16 has 3 bits
less, so eight times the error. TF32 rounds the operands of products as float16 does, but nothing else, which
leaves a fifth of it. float32 without TF32 (5e-6 at most in benchmarks/gpu.md) is held to what the CPU is."""


def engine_tolerance(manifest: Manifest) -> float:
    """What an engine is held to.

    One with narrow layers may be off by twice as much as the sample of its data that was furthest
    off, beside what the type around is allowed: other inputs than those that its ranges were found with are
    cut off. UsageError where the manifest does not say how much that was.
    """
    if manifest.recipe is None:
        return ENGINE_TOLERANCES[manifest.arithmetic]
    error = manifest.recipe.get("worst_error")
    if not isinstance(error, float):
        text = f"the engine is in {manifest.precision}, and its manifest does not say how far off that is"
        help = "give `--tolerance`, or compile it with data, `--calibrate`"
        raise UsageError(Diagnostic(text, help=(help,)))
    return ENGINE_TOLERANCES[manifest.around or manifest.precision] + 2 * error


def cpu_tolerance(graph: Graph, dtype: Floats) -> float:
    """What a model with such weights is held to on the CPU, and one that asks for a type it has already."""
    narrow = {weight.type.dtype for weight in graph.weights}.union(*map(_asked_for, walk(graph)))
    return max([TOLERANCES[dtype], *(ROUNDED_TOLERANCES.get(each, 0.0) for each in narrow)])


def _asked_for(node: Node) -> set[DType]:
    """The types of a node's operands that its own text names, as ``to(x, float16)`` of float16 does.

    Nothing is cast in the network there, but a module whose floats were moved to a wide type rounds.
    """
    parameters = (getattr(node.op, name) for name in node.op.parameters)
    named = {value for value in parameters if isinstance(value, DType)}
    return named & {value.type.dtype for value in node.operands}
