"""The graph: what a model computes, between elaboration and TensorRT.

In: nodes with typed values.  Out: a frozen :class:`Graph` that :func:`verify` re-derives, :func:`show` prints
as a `.trtnet` file that parses back to the same graph, and :func:`rewrite` changes.
"""

from trtdsl.ir.builder import Builder
from trtdsl.ir.computation import computation_key, twins
from trtdsl.ir.constants import unusable
from trtdsl.ir.graph import (
    Graph,
    Lookup,
    Node,
    Output,
    Profile,
    Stored,
    Value,
    Weight,
    bodies_by_name,
    graphs,
    infer,
    map_graphs,
    operand_types,
    rebuild,
    walk,
    with_bodies,
)
from trtdsl.ir.in_place import misplaced
from trtdsl.ir.names import ValueNames
from trtdsl.ir.rewrite import (
    Outcome,
    Refusal,
    RefusedNode,
    Surroundings,
    merged_origins,
    refusals,
    refuse,
    rewrite,
)
from trtdsl.ir.show import difference, show, show_call
from trtdsl.ir.sums import sums_of_products
from trtdsl.ir.verify import InvalidGraph, Violation, require_valid, verify

__all__ = [
    "Builder",
    "Graph",
    "InvalidGraph",
    "Lookup",
    "Node",
    "Outcome",
    "Output",
    "Profile",
    "Refusal",
    "RefusedNode",
    "Stored",
    "Surroundings",
    "Value",
    "ValueNames",
    "Violation",
    "Weight",
    "bodies_by_name",
    "computation_key",
    "difference",
    "graphs",
    "infer",
    "map_graphs",
    "merged_origins",
    "misplaced",
    "operand_types",
    "rebuild",
    "refusals",
    "refuse",
    "require_valid",
    "rewrite",
    "show",
    "show_call",
    "sums_of_products",
    "twins",
    "unusable",
    "verify",
    "walk",
    "with_bodies",
]
