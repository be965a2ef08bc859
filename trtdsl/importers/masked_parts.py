"""Elements that a mask picks and that are written back where they were, as what is computed of the whole.

In: an exported program that reads and writes by one mask.  Out: one whose sizes depend on no value::

    part = index(x, [mask])              whole = clone(x)
    part = mul(part, 2)            ─▶    whole = mul(whole, 2)
    index_put_(y, [mask], part)          copy_(y, where(mask, whole, y))

``masked_scatter`` takes what it writes in order, whatever the mask: element number ``cumsum(mask) - 1``.
What is read by a mask in another way stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from trtdsl.importers.copies import with_own_graph
from trtdsl.importers.schemas import overload_of, unwritten, writes

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Node: TypeAlias = Any
"""A ``torch.fx.Node``, whose arguments may be anything."""

_READS, _WRITES = "index.Tensor", ("index_put", "index_put_")
_SCATTERS = ("masked_scatter", "masked_scatter_")


def without_masked_parts(exported: ExportedProgram) -> ExportedProgram:
    """The program without parts that a mask picks, as far as they are written back."""
    if not any(_is_masked(node) for node in exported.graph.nodes):
        return exported
    exported, module = with_own_graph(exported)
    _Masked(module.graph).rewrite()
    return exported


def _is_masked(node: Node) -> bool:
    name = overload_of(node.target) if node.op == "call_function" else ""
    return name in _SCATTERS or (name == _READS and _mask_of(node) is not None)


def _mask_of(node: Node) -> tuple[Node, int] | None:
    """The one mask by which elements are read or written, and the dimension that it begins at."""
    import torch

    indices = node.args[1]
    found = [(each, dim) for dim, each in enumerate(indices) if each is not None]
    is_mask = len(found) == 1 and found[0][0].meta["val"].dtype is torch.bool
    return found[0] if is_mask else None


class _Masked:
    """A graph, and of the parts that a mask picks the whole so far."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._wholes: dict[Node, tuple[Node, Node, int]] = {}
        """of a part the whole, the mask, and the dimension that the mask begins at"""
        self._firsts: dict[Any, Node] = {}
        """what computes the same as others after it, by what it computes"""
        self._same: dict[Node, Node] = {}
        """what computed the same before a node"""

    def rewrite(self) -> None:
        for node in list(self._graph.nodes):
            if node.op != "call_function":
                continue
            self._note(node)
            with self._graph.inserting_before(node):
                self._take(node)
        for node in reversed(self._wholes):
            _erase(self._graph, node)

    def _note(self, node: Node) -> None:
        """Whether a node computes what one before it did: ``x > 0`` twice is one mask."""
        import torch

        if writes(node.target) and node.args[0] not in self._wholes:
            self._firsts.clear()
        elif torch.Tag.pointwise in getattr(node.target, "tags", ()):
            given = torch.fx.map_arg((node.args, node.kwargs), self._first)
            self._same[node] = self._firsts.setdefault(repr((node.target, given)), node)

    def _first(self, node: Node) -> Node:
        return self._same.get(node, node)

    def _take(self, node: Node) -> None:
        import torch

        name = overload_of(node.target)
        if name == _READS and (picked := _mask_of(node)):
            whole = self._made(node, torch.ops.aten.clone.default, node.args[0])
            self._wholes[node] = (whole, self._first(picked[0]), picked[1])
        elif name in _WRITES and (picked := _mask_of(node)):
            self._put(node, *picked)
        elif name in _SCATTERS:
            self._scatter(node)
        elif torch.Tag.pointwise in getattr(node.target, "tags", ()):
            self._compute(node)

    def _compute(self, node: Node) -> None:
        """An operation on elements of parts by one mask, on the wholes."""
        import torch

        parts = [self._wholes[each] for each in node.all_input_nodes if each in self._wholes]
        if len({part[1:] for part in parts}) != 1:
            return
        whole, mask, dim = parts[0]
        behind = _rank(whole) - dim - _rank(mask)
        if any(_rank(each) > behind for each in node.all_input_nodes if each not in self._wholes):
            return
        target = unwritten(node.target) if writes(node.target) else node.target
        given: Any = torch.fx.map_arg((node.args, node.kwargs), self._whole)
        made = self._made(node, target, *given[0], **given[1])
        if made.meta["val"].dtype is not node.meta["val"].dtype:
            return
        self._wholes[node] = (made, mask, dim)
        if writes(node.target):
            self._wholes[node.args[0]] = self._wholes[node]

    def _whole(self, node: Node) -> Node:
        return self._wholes[node][0] if node in self._wholes else node

    def _put(self, node: Node, mask: Node, dim: int) -> None:
        target, _, part, *accumulates = node.args
        mask = self._first(mask)
        if any(accumulates) or self._wholes.get(part, (None, None, None))[1:] != (mask, dim):
            return
        import torch

        aten = torch.ops.aten
        after = _rank(target) - dim - _rank(mask)
        for _ in range(after):
            mask = self._made(node, aten.unsqueeze.default, mask, -1)
        self._replace(node, mask, self._wholes[part][0])

    def _scatter(self, node: Node) -> None:
        import torch

        aten = torch.ops.aten
        target, mask, source = node.args
        part = self._wholes.get(source)
        if part is not None:
            if part[1] is self._first(mask) and _rank(mask) == _rank(target) == _rank(part[0]):
                self._replace(node, mask, part[0])
            return
        if _rank(mask) > _rank(target) or target.meta["val"].shape != node.meta["val"].shape:
            return
        whole = self._made(node, aten.expand_as.default, mask, target)
        counts = self._made(node, aten.cumsum.default, self._made(node, aten.flatten.using_ints, whole), 0)
        # Before the first that is picked the number would be -1.
        number = self._made(node, aten.clamp.default, self._made(node, aten.sub.Tensor, counts, 1), 0)
        flat = self._made(node, aten.flatten.using_ints, source)
        taken = self._made(node, aten.index.Tensor, flat, [number])
        self._replace(node, mask, self._made(node, aten.view_as.default, taken, target))

    def _replace(self, node: Node, mask: Node, whole: Node) -> None:
        """What a mask picks of the whole in the place of what is written by it."""
        import torch

        aten = torch.ops.aten
        target = node.args[0]
        chosen = self._made(node, aten.where.self, mask, whole, target)
        if writes(node.target):
            chosen = self._made(node, aten.copy_.default, target, chosen)
        node.replace_all_uses_with(chosen)
        self._graph.erase_node(node)

    def _made(self, reader: Node, target: Any, *arguments: Any, **named: Any) -> Node:
        """A new node in front of the reader, from the reader's line."""
        import torch

        node = self._graph.call_function(target, arguments, named)
        mode = reader.meta["val"].fake_mode
        given: Any = torch.fx.map_arg((arguments, named), lambda each: each.meta["val"])
        with mode:
            value = target(*given[0], **given[1])
        node.meta = {**reader.meta, "val": value}
        return node


def _rank(node: Node) -> int:
    return getattr(node.meta.get("val"), "ndim", 0)


def _erase(graph: Any, node: Node) -> None:
    """Take away a part that nothing but assertions about its size read any more."""
    readers = list(_readers(node))
    if all(_is_of_size(each) for each in readers):
        for each in reversed(readers):
            graph.erase_node(each)
        graph.erase_node(node)


def _readers(node: Node) -> Iterator[Node]:
    """All that reads a node, in order, but for parts that are themselves taken away."""
    for user in node.users:
        yield user
        yield from _readers(user)


def _is_of_size(node: Node) -> bool:
    """Whether a node is a size, or a condition or an assertion of sizes."""
    return node.op == "call_function" and not hasattr(node.meta.get("val"), "shape")
