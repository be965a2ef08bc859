"""Graph → graph: the optimisations that `compile` runs, each a pure function of its own.

In: a valid graph, its weights bound.  Out: a smaller one that computes the same::

    optimize(graph)                                  # the whole pipeline
    optimize(graph, skip=["fold_batch_norm"])
    fold_batch_norm(graph)                           # one pass alone
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import TypeAlias

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.ir import Graph, require_valid
from trtdsl.passes.convert_precision import ConvertPrecision
from trtdsl.passes.fold_batch_norm import fold_batch_norm
from trtdsl.passes.fold_constants import fold_constants
from trtdsl.passes.merge_common_subexpressions import merge_common_subexpressions
from trtdsl.passes.remove_dead_nodes import remove_dead_nodes
from trtdsl.passes.remove_identities import remove_identities
from trtdsl.types import DType

Pass: TypeAlias = Callable[[Graph], Graph]

PIPELINE: tuple[Pass, ...] = (
    remove_identities,  # first: a dropout between a convolution and its normalisation hides the pair
    fold_constants,  # before merging: equal constants are then equal weights and values
    merge_common_subexpressions,  # before folding: a convolution placed twice has one result, used twice
    fold_batch_norm,
    remove_dead_nodes,  # last: what the others leave without users
)
"""The passes of `compile`, in order, with the reason for each one's place."""


def pass_name(step: Pass) -> str:
    """The name by which a pass is skipped, chosen and reported."""
    return step.__name__


CONVERT_PRECISION = pass_name(ConvertPrecision(DType.FLOAT32))
"""The pass that `--precision` asks for, and nothing else does: it runs after the pipeline."""


def optimize(
    graph: Graph,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    after: Callable[[str, Graph], None] | None = None,
) -> Graph:
    """Run the pipeline, verifying the graph after each pass.

    ``skip`` names passes to leave out, ``only`` those to run; ``after`` sees each one's result.
    Raises :class:`UsageError` for an unknown name, :class:`~trtdsl.ir.InvalidGraph` for a bug.
    """
    for step in selected(skip, only):
        graph = require_valid(step(graph))
        if after:
            after(pass_name(step), graph)
    return graph


def selected(skip: Collection[str] = (), only: Collection[str] | None = None) -> tuple[Pass, ...]:
    """The passes of the pipeline that these names leave; unknown ones are refused."""
    known = [pass_name(step) for step in PIPELINE]
    for name, advice in [*((name, "leave out") for name in skip), *((name, "give") for name in only or ())]:
        if name == CONVERT_PRECISION:
            text = f"`{name}` runs where a precision is asked for, and only there"
            raise UsageError(Diagnostic(text, help=(f"{advice} `--precision`",)))
        if name not in known:
            help = f"the passes are {', '.join(known)}"
            raise UsageError(Diagnostic(f"unknown pass `{name}`{did_you_mean(name, known)}", help=(help,)))
    return tuple(
        step for step in PIPELINE if pass_name(step) not in skip and (only is None or pass_name(step) in only)
    )


def operator_counts(graph: Graph) -> Counter[str]:
    """How many nodes of each operator a graph has."""
    return Counter(node.op.name for node in graph.nodes)


__all__ = [
    "CONVERT_PRECISION",
    "PIPELINE",
    "ConvertPrecision",
    "Pass",
    "fold_batch_norm",
    "fold_constants",
    "merge_common_subexpressions",
    "operator_counts",
    "optimize",
    "pass_name",
    "remove_dead_nodes",
    "remove_identities",
    "selected",
]
