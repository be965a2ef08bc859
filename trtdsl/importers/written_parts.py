"""Writes to parts of a tensor as what they make of the whole.

In: an exported program that writes through slices of what it has computed.  Out: its graph without that::

    part = slice(x, 2, 1)          part = slice(x, 2, 1); sum = add(part, y)
    add_(part, y)            ─▶    x2 = slice_scatter(x, sum, 2, 1)
    softmax(x)                     softmax(x2)

``run_decompositions`` gives the same, and traces the whole program twice for it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeAlias

from trtdsl.importers.schemas import is_view, overload_of, unwritten, writes

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Graph

Node: TypeAlias = Any
"""A ``torch.fx.Node``, whose arguments may be anything."""

_SCATTERS = {"slice.Tensor": "slice_scatter", "select.int": "select_scatter"}
_FILLS = frozenset({"copy_", "fill_", "zero_", "masked_fill_"})
"""Operations whose result, computed anew, has the type of what they write to."""
_WRITES = _FILLS | {
    "abs_", "add_", "ceil_", "celu_", "clamp_", "clamp_max_", "clamp_min_", "cos_", "div_", "dropout_",
    "elu_", "erf_", "exp_", "floor_", "gelu_", "hardsigmoid_", "hardswish_", "hardtanh_", "leaky_relu_",
    "log_", "mish_", "mul_", "neg_", "reciprocal_", "relu6_", "relu_", "round_", "rsqrt_", "selu_",
    "sigmoid_", "sign_", "silu_", "sin_", "sqrt_", "square_", "sub_", "tan_", "tanh_",
}  # fmt: skip
"""And those of which that holds where all their tensors are of one type."""
_UNSAID_VIEWS = (
    "dropout", "alpha_dropout", "feature_", "type_as", "atleast_", "meshgrid", "broadcast_tensors", "einsum",
    "cartesian_prod",
)  # fmt: skip
"""How the names of operations begin that may give what they are given, and do not say so."""


class _Otherwise(Exception):
    """The program writes to memory in another way."""


def without_written_parts(exported: ExportedProgram) -> Graph | None:
    """The program's graph without writes; None where it writes to anything but slices of what it has
    computed.
    """
    graph = copy.deepcopy(exported.graph)
    try:
        _Parts(graph).rewrite()
    except _Otherwise:
        return None
    return graph


class _Parts:
    """What a graph's tensors are after the writes so far."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._sources: dict[Node, tuple[Any, ...]] = {}
        """of a view the arguments that it had"""
        self._roots: dict[Node, Node] = {}
        """of a view the tensor whose memory it shows"""
        self._shared: set[Node] = set()
        """tensors whose memory others may show that are not known as views"""
        self._now: dict[Node, Node] = {}
        """what stands for a tensor that was written to"""
        self._views: dict[Node, tuple[Node, Node]] = {}
        """what stands for a view, and the tensor that it is of"""
        self._written: dict[Node, Node] = {}
        """of a write what it writes to, which it gives"""

    def rewrite(self) -> None:
        """Put what each write makes of the whole in its place."""
        for node in list(self._graph.nodes):
            with self._graph.inserting_before(node):
                self._take(node)
        for node in reversed(self._written):
            self._graph.erase_node(node)
        for node in reversed(self._sources):
            if not node.users:
                self._graph.erase_node(node)

    def _take(self, node: Node) -> None:
        own: tuple[Any, ...] = node.args
        if node.op == "call_function":
            self._note(node)
        if any(each in self._written or self._root(each) in self._now for each in node.all_input_nodes):
            node.args, node.kwargs = self._current(node, node.args), self._current(node, node.kwargs)
        if node.op == "call_function" and writes(node.target):
            self._write(node, self._written.get(own[0], own[0]))
        elif node in self._roots:
            root = self._roots[node]
            self._views[node] = (node, self._now.get(root, root))

    def _note(self, node: Node) -> None:
        """What a node's result may share memory with."""
        if not hasattr(node.target, "_schema"):
            is_view_of = getattr(node.target, "__name__", "") == "getitem"
            if not is_view_of:
                self._shared.update(self._root(each) for each in node.all_input_nodes)
        elif not writes(node.target) and overload_of(node.target).startswith(_UNSAID_VIEWS):
            self._shared |= {node, *(self._root(each) for each in node.all_input_nodes)}
            return
        else:
            more = node.target._schema.arguments[1:]
            if any(each.alias_info and each.alias_info.is_write for each in more):
                raise _Otherwise
            is_view_of = is_view(node.target)
        if is_view_of and node.all_input_nodes:
            of = self._written.get(node.args[0], node.args[0])
            self._sources[node] = (of, *node.args[1:])
            self._roots[node] = self._root(of)

    def _root(self, node: Node) -> Node:
        node = self._written.get(node, node)
        return self._roots.get(node, node)

    def _current(self, reader: Node, value: Any) -> Any:
        import torch

        return torch.fx.map_arg(value, lambda each: self._as_it_is(reader, each))

    def _as_it_is(self, reader: Node, node: Node) -> Node:
        """What a tensor is when the reader runs."""
        node = self._written.get(node, node)
        root = self._root(node)
        if root not in self._now:
            return node
        now = self._now[root]
        if node is root:
            return now
        found, of = self._views[node]
        if of is not now:
            source, *rest = self._slice(node)
            arguments = (self._as_it_is(reader, source), *rest)
            found = self._made(reader, node.target, arguments, node)
            self._views[node] = (found, now)
        return found

    def _slice(self, node: Node) -> tuple[Any, ...]:
        if overload_of(node.target) not in _SCATTERS or node.kwargs:
            raise _Otherwise
        return self._sources[node]

    def _write(self, node: Node, target: Node) -> None:
        import torch

        base = str(node.target).removeprefix("aten.").partition(".")[0]
        root = self._root(target)
        if base not in _WRITES or root.op != "call_function" or root in self._shared:
            raise _Otherwise
        values = [each.meta["val"] for each in node.all_input_nodes]
        dtypes = {each.dtype for each in values if hasattr(each, "dtype")}
        if len(dtypes) > 1 and base not in _FILLS:
            raise _Otherwise
        operations: Any = torch.ops.aten
        value, view = self._made(node, unwritten(node.target), node.args, target, node.kwargs), target
        while view is not root:
            source, *rest = self._slice(view)
            scatter = getattr(operations, _SCATTERS[overload_of(view.target)]).default
            value = self._made(node, scatter, (self._as_it_is(node, source), value, *rest), source)
            view = source
        self._written[node] = target
        self._now[root] = value
        self._as_it_is(node, target)

    def _made(
        self, reader: Node, target: Any, arguments: tuple[Any, ...], like: Node, named: Any = None
    ) -> Node:
        """A new node in front of the reader, from the reader's line, of the type of another."""
        node = self._graph.call_function(target, arguments, named)
        node.meta = {**reader.meta, "val": like.meta["val"]}
        return node
