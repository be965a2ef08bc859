"""What a recipe asks for that cannot be had, told before anything is run.

In: an optimised graph, a recipe, the policy that is made of it, and the release of TensorRT.  Out: nothing,
or a UsageError that says what is lacking and the least that has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph, walk
from trtdsl.precision.labels import matching, parts, require_match
from trtdsl.precision.layers import WHICH, QuantisableLayer, quantisable_layers
from trtdsl.precision.placement import FIRST_INT8_CONVOLUTION, Policy, capability
from trtdsl.recipe import Recipe
from trtdsl.reference import require_torch
from trtdsl.trt.dialect import Dialect
from trtdsl.types import DType


def require_possible(
    graph: Graph, recipe: Recipe, policy: Policy, around: DType, dialect: Dialect | None
) -> None:
    """Refuse what cannot be done; UsageError."""
    _require_source(recipe, policy)
    _require_release((policy.dtype, around), dialect)
    _require_own_gpu(policy, dialect)
    _require_kept_types(recipe, around)
    _require_labels(graph, recipe)
    _require_runnable(graph, policy)


def _require_source(recipe: Recipe, policy: Policy) -> None:
    if recipe.calibrate is not None:
        require_torch("running the model over data")
    elif recipe.scales is None and policy.format.needs_ranges:
        text = f"{recipe.precision} needs the ranges of the model's tensors"
        help = "give data with `--calibrate samples.npz`, or ranges that were found with `--scales FILE`"
        raise UsageError(Diagnostic(text, help=(help,)))


def _require_release(dtypes: Sequence[DType], dialect: Dialect | None) -> None:
    """Refuse types that a release of TensorRT lacks, before anything is run."""
    for dtype in dtypes:
        if dialect is not None and dtype not in dialect.data_types:
            text = f"{dialect} has no {dtype}: TensorRT 10 and TensorRT-RTX have"
            help = "choose int8 or float16, or build with one of these; a script is for it with `--for 10.0`"
            raise UsageError(Diagnostic(text, help=(help,)))


def _require_own_gpu(policy: Policy, dialect: Dialect | None) -> None:
    """Refuse types that the GPU at hand lacks, where TensorRT builds for no other."""
    here = None if dialect is None or policy.targets else dialect.own_target
    if here and policy.dtype in _OF_HARDWARE and capability(here) < (least := policy.format.first):
        text = f"the GPU of this machine is {here}, and sm{least} is the first that has {policy.format.name}"
        help = "choose another precision, or build with tensorrt_rtx for another GPU: `--target`"
        raise UsageError(Diagnostic(text, help=(help,)))


_OF_HARDWARE = (DType.FLOAT8, DType.FLOAT4)
"""Types that a GPU has or has not, whichever TensorRT uses it."""


def _require_kept_types(recipe: Recipe, around: DType) -> None:
    """Refuse `--keep` in a type that is neither float32 nor the one around the narrow layers."""
    for dtype in recipe.keep:
        if dtype not in (around, DType.FLOAT32):
            text = f"`--keep {dtype}=…`: what is not in {recipe.precision} is computed in {around} or float32"
            raise UsageError(Diagnostic(text, help=(f"keep it in {around}, or give `--around {dtype}`",)))


def _require_labels(graph: Graph, recipe: Recipe) -> None:
    """Refuse patterns that nothing of the model is like: no label, and for float32 no operator."""
    labels = {part for node in walk(graph) if node.scope for part in parts(node.scope)}
    operators = {node.op.name for node in walk(graph)}
    for option, chosen in (("--keep", recipe.keep), ("--allow", recipe.allow)):
        for dtype, patterns in chosen.items():
            known = {*labels, *operators} if dtype is DType.FLOAT32 else labels
            require_match(f"{option} {dtype}", patterns, known, f"no label of `{graph.name}`")
    narrow = {part for layer in quantisable_layers(graph) for part in parts(layer.label)}
    for dtype, patterns in recipe.allow.items():
        for pattern in patterns:
            if narrow and matching(narrow, [pattern]) is None:
                text = f"`--allow {dtype}='{pattern}'`: what has that label is never computed in {dtype}"
                help = "convolutions and linear layers can be, outside of loops and branches"
                raise UsageError(Diagnostic(text, help=(help,)))


def _require_runnable(graph: Graph, policy: Policy) -> None:
    """Refuse a type that a target lacks, and one that no layer of the model would be computed in."""
    for target in policy.targets:
        if capability(target) < (least := policy.format.first):
            does = "compute in" if policy.format.computes else "read weights in"
            text = f"{target} does not {does} {policy.precision}: sm{least} is the first that does"
            raise UsageError(Diagnostic(text, help=("leave the target out, or choose another precision",)))
    layers = {layer.label: layer for layer in quantisable_layers(graph)}
    reasons = [policy.reason(layer) for layer in layers.values()]
    if not reasons:
        text = f"model `{graph.name}` has neither convolutions nor linear layers that could be narrow"
        raise UsageError(Diagnostic(text, help=(WHICH,)))
    if None not in reasons:
        counts = Counter(reason for reason in reasons if reason)
        told = tuple(f"{count} of {len(reasons)}: {reason}" for reason, count in counts.most_common(3))
        be = "be computed in" if policy.format.computes else "have weights in"
        text = f"no layer of `{graph.name}` would {be} {policy.precision}"
        raise UsageError(Diagnostic(text, help=(*told, *_ways_out(policy, list(layers.values())))))


def _ways_out(policy: Policy, layers: Sequence[QuantisableLayer]) -> Iterator[str]:
    """What would let one of the layers become narrow."""
    elsewhere, allowed = replace(policy, targets=()), replace(policy, allow=("*",))
    if any(elsewhere.reason(layer) is None for layer in layers):
        yield f"sm{FIRST_INT8_CONVOLUTION} is the first that computes convolutions in {policy.precision}"
    if any(allowed.reason(layer) is None for layer in layers):
        yield f"`--allow {policy.precision}='*'` lets rules of size not count"
