"""Graph → graph: the optimisations that `compile` runs, each a pure function of its own.

In: a valid graph, its weights bound.  Out: a smaller one that computes the same::

    optimize(graph)                                  # the whole pipeline
    optimize(graph, skip=["fold_batch_norm"])
    optimize(graph, [*PIPELINE, my_pass])            # others, in this order
    fold_batch_norm(graph)                           # one pass alone
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError, did_you_mean
from trtdsl.ir import Graph, RefusedNode, refusals, require_valid, walk
from trtdsl.passes.compose_convolutions import compose_convolutions
from trtdsl.passes.convert_precision import convert_precision
from trtdsl.passes.declare import Pass, disorder, graph_pass, inserted
from trtdsl.passes.fold_attention_scales import fold_attention_scales
from trtdsl.passes.fold_batch_norm import fold_batch_norm
from trtdsl.passes.fold_constants import fold_constants
from trtdsl.passes.fold_scales import fold_scales
from trtdsl.passes.load import load_pass
from trtdsl.passes.merge_branches import merge_branches
from trtdsl.passes.merge_common_subexpressions import merge_common_subexpressions
from trtdsl.passes.merge_equal_weights import merge_equal_weights
from trtdsl.passes.merge_heads import merge_heads
from trtdsl.passes.merge_moves import merge_moves
from trtdsl.passes.merge_pads import merge_pads
from trtdsl.passes.merge_slices import merge_slices
from trtdsl.passes.recognise_activations import recognise_activations
from trtdsl.passes.recognise_attention import recognise_attention
from trtdsl.passes.recognise_linear import recognise_linear
from trtdsl.passes.recognise_norms import recognise_norms
from trtdsl.passes.recognise_patches import recognise_patches
from trtdsl.passes.recognise_rotary import recognise_rotary
from trtdsl.passes.remove_dead_nodes import remove_dead_nodes
from trtdsl.passes.remove_identities import remove_identities
from trtdsl.passes.simplify_arithmetic import simplify_arithmetic
from trtdsl.passes.split_convolutions import split_convolutions
from trtdsl.types import DType, TensorType, ValueRange

PIPELINE: tuple[Pass, ...] = (
    remove_identities,
    fold_constants,
    merge_equal_weights,
    merge_common_subexpressions,
    simplify_arithmetic,
    recognise_activations,
    recognise_norms,
    recognise_linear,
    recognise_attention,
    recognise_rotary,
    fold_batch_norm,
    fold_scales,
    fold_attention_scales,
    merge_branches,
    compose_convolutions,
    merge_slices,
    merge_pads,
    split_convolutions,
    merge_moves,
    recognise_patches,
    merge_heads,
    remove_dead_nodes,
)
"""The passes of `compile`, in order; each one says itself what it must stand before or after, and why."""

CONVERT_PRECISION = convert_precision(DType.FLOAT32).name
"""The pass that `--precision` asks for, and nothing else does: it runs after the pipeline."""


QUANTIZE = "quantize"
"""What a precision of int8 or float8 does between the two; :mod:`trtdsl.precision.pipeline` has it."""

FLOATS_ONLY = (recognise_patches.name, split_convolutions.name)
"""Passes that do not run where it does: layers are chosen by their channels, of which a patch embedding has
few as the convolution that it is, and stays as it is; and both parts of a sum would be rounded."""


def optimize(
    graph: Graph,
    passes: Sequence[Pass] | None = None,
    *,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    after: Callable[[str, Graph], None] | None = None,
    refused: Callable[[str, Sequence[RefusedNode]], None] | None = None,
) -> Graph:
    """Run passes, by default the pipeline, verifying the graph after each.

    ``skip`` names passes to leave out, ``only`` those to run; ``after`` sees each one's result, ``refused``
    what each one left as it was, and why.
    Raises :class:`UsageError` for an unknown name, :class:`~trtdsl.ir.InvalidGraph` for a bug.
    """
    for step in selected(skip, only, passes):
        with refusals() as heard:
            graph = _run(step, graph)
        if after:
            after(step.name, graph)
        if refused:
            refused(step.name, _standing(heard, graph))
    return graph


def _run(step: Pass, graph: Graph) -> Graph:
    """The pass's result, found valid; a mistake in a pass of somebody else's is told as that."""
    try:
        changed = step(graph)
        if not isinstance(changed, Graph):  # pyright: ignore[reportUnnecessaryIsInstance]  # whoever wrote it
            raise TypeError("it does not return a graph")
        require_valid(changed)
        if _interface(changed) != _interface(graph):
            raise TypeError("it changes the names, types or ranges of the inputs or outputs")
    except DiagnosticError:
        raise
    except (Exception, SystemExit) as error:
        if not step.source:
            raise
        text = f"the pass `{step.name}` of {step.source} failed: {type(error).__name__}: {error}"
        raise UsageError(Diagnostic(text)) from error
    return changed


def _interface(graph: Graph) -> list[tuple[str, TensorType, ValueRange | None]]:
    ends = [(output.name, output.value.type, None) for output in graph.outputs]
    return [(value.name, value.type, graph.ranges.get(value.name)) for value in graph.inputs] + ends


def _standing(heard: Sequence[RefusedNode], graph: Graph) -> list[RefusedNode]:
    """Those refusals whose nodes are still there: what one rule refuses another may rewrite."""
    left = {result for node in walk(graph) for result in node.results}
    return [each for each in heard if left.issuperset(each.node.results)]


def selected(
    skip: Collection[str] = (), only: Collection[str] | None = None, passes: Sequence[Pass] | None = None
) -> tuple[Pass, ...]:
    """The passes, by default the pipeline, that these names leave; unknown ones are refused."""
    passes = PIPELINE if passes is None else tuple(passes)
    known = [step.name for step in passes]
    for name, advice in [*((name, "leave out") for name in skip), *((name, "give") for name in only or ())]:
        if name in (CONVERT_PRECISION, QUANTIZE) and name not in known:
            which = "a precision" if name == CONVERT_PRECISION else "int8 or float8"
            text = f"`{name}` runs where {which} is asked for, and only there"
            raise UsageError(Diagnostic(text, help=(f"{advice} `--precision`",)))
        if name not in known:
            help = f"the passes are {', '.join(known)}"
            raise UsageError(Diagnostic(f"unknown pass `{name}`{did_you_mean(name, known)}", help=(help,)))
    return tuple(step for step in passes if step.name not in skip and (only is None or step.name in only))


def with_passes(added: Sequence[str]) -> tuple[Pass, ...]:
    """The pipeline and further passes by name (see :func:`load_pass`), each where it says it may stand.

    One that does not declare a place runs before the last, which removes what no longer has users.
    """
    passes = PIPELINE
    for name in added:
        step = next((each for each in PIPELINE if each.name == name), None) or load_pass(name)
        if step.name in {each.name for each in passes}:
            raise UsageError(Diagnostic(f"the pipeline has a pass `{step.name}` already"))
        try:
            passes = inserted(passes, step)
        except ValueError as error:
            raise UsageError(Diagnostic(str(error))) from error
    return passes


def operator_counts(graph: Graph) -> Counter[str]:
    """How many nodes of each operator a graph has, those of bodies included."""
    return Counter(node.op.name for node in walk(graph))


__all__ = [
    "CONVERT_PRECISION",
    "FLOATS_ONLY",
    "PIPELINE",
    "QUANTIZE",
    "Pass",
    "compose_convolutions",
    "convert_precision",
    "disorder",
    "fold_attention_scales",
    "fold_batch_norm",
    "fold_constants",
    "fold_scales",
    "graph_pass",
    "inserted",
    "load_pass",
    "merge_branches",
    "merge_common_subexpressions",
    "merge_equal_weights",
    "merge_heads",
    "merge_moves",
    "merge_pads",
    "merge_slices",
    "operator_counts",
    "optimize",
    "recognise_activations",
    "recognise_attention",
    "recognise_linear",
    "recognise_norms",
    "recognise_patches",
    "recognise_rotary",
    "remove_dead_nodes",
    "remove_identities",
    "selected",
    "simplify_arithmetic",
    "split_convolutions",
    "with_passes",
]
