"""Sequences of a file, whose tensors are each a value of the program.

In: a node that makes a sequence, changes it or takes of it.  Out: what it gives; a sequence is a
:class:`~trtdsl.importers.program.Ref` under a name that no tensor has, so that loops and branches, which are
written out, hand it on as they do tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from trtdsl.importers.onnx_node import Node, Results, Value, known
from trtdsl.importers.onnx_rules_moving import pieces_of
from trtdsl.importers.program import Ref
from trtdsl.ops.refused import Refused

_HAND_ON = frozenset({"Identity", "If", "Loop", "Scan"})
"""Operators that give a sequence as they were given it."""

Items: TypeAlias = "tuple[Value, ...]"


class Lists:
    """The sequences so far."""

    def __init__(self) -> None:
        self._items: dict[str, Items] = {}

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Ref) and value.value in self._items

    def handles(self, node: Node) -> bool:
        """Whether a node is to be translated here; raises :class:`Refused` for what takes no sequence."""
        if node.op in (*_MAKING, *_CHANGING, *_TAKING):
            return True
        if node.op not in _HAND_ON and any(each in self for each in node.inputs):
            raise Refused("it reads a sequence, which the language does not have")
        return False

    def translated(self, node: Node) -> Results:
        """What a node gives."""
        if node.op in _MAKING:
            return self._new(_MAKING[node.op](node))
        if node[0] not in self:
            raise Refused("it reads a sequence, which the language does not have")
        items = self._items[node.tensor(0).value]
        if node.op in _CHANGING:
            return self._new(_CHANGING[node.op](node, items))
        return _TAKING[node.op](node, items)

    def _new(self, items: Items) -> Ref:
        found = Ref(f"sequence {len(self._items)}")
        self._items[found.value] = items
        return found


def _inserted(node: Node, items: Items) -> Items:
    place = _place(node, 2, len(items) + 1) if node.has(2) else len(items)
    return (*items[:place], node.tensor(1), *items[place:])


def _erased(node: Node, items: Items) -> Items:
    place = _place(node, 1, len(items)) if node.has(1) else len(items) - 1
    return (*items[:place], *items[place + 1 :])


def _item(node: Node, items: Items) -> Value:
    return items[_place(node, 1, len(items))]


def _joined(node: Node, items: Items) -> Ref:
    if not items:
        raise Refused("it joins a sequence of no tensors")
    axis, is_new = node.attribute("axis"), node.attribute("new_axis", 0)
    rank = node.type(items[0]).rank + bool(is_new)
    tensors = tuple(map(node.tensor, items))
    return node.one("stack" if is_new else "cat", tensors=tensors, dim=axis % rank)


def _length(node: Node, items: Items) -> Value:
    return known(np.array(len(items), np.int64))


def _place(node: Node, index: int, count: int) -> int:
    found = node.scalar(index, "which one it takes")
    if not isinstance(found, int) or not -count <= found < count:
        raise Refused("it takes a tensor of a sequence that there is not")
    return found % count


def _none(node: Node) -> Items:
    return ()


_MAKING: Mapping[str, Callable[[Node], Items]] = {
    "SequenceEmpty": _none,
    "SequenceConstruct": Node.tensors,
    "SplitToSequence": pieces_of,
}
_CHANGING: Mapping[str, Callable[[Node, Items], Items]] = {
    "SequenceInsert": _inserted,
    "SequenceErase": _erased,
}
_TAKING: Mapping[str, Callable[[Node, Items], Results]] = {
    "SequenceAt": _item,
    "SequenceLength": _length,
    "ConcatFromSequence": _joined,
}
