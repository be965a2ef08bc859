"""The graph: what a model computes, between elaboration and TensorRT.

In: nodes with typed values.  Out: a frozen :class:`Graph` that :func:`verify` re-derives and
:func:`show` prints as a `.trtnet` file that parses back to the same graph.
"""

from trtdsl.ir.graph import Graph, Node, Output, Profile, Value, Weight, rebuild, walk
from trtdsl.ir.show import difference, show, show_call
from trtdsl.ir.verify import InvalidGraph, Violation, require_valid, verify

__all__ = [
    "Graph",
    "InvalidGraph",
    "Node",
    "Output",
    "Profile",
    "Value",
    "Violation",
    "Weight",
    "difference",
    "rebuild",
    "require_valid",
    "show",
    "show_call",
    "verify",
    "walk",
]
