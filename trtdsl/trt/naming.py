"""Unique names for layers and tensors, and the way back from a layer to the text.

TensorRT ignores a rename to a name that is taken or too long, so neither may happen.
"""

from __future__ import annotations

from collections.abc import Iterable

from trtdsl.ir import Node
from trtdsl.ops.base import Module

# TensorRT's limit is 4096 characters, for metadata too; the rest is room for what is added.
_LONGEST = 4000


class TensorRTNames:
    """The names taken so far."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {*reserved}
        self._next: dict[str, int] = {}

    def claim(self, wanted: str) -> str:
        """``wanted``, or the first of ``wanted_1``, ``wanted_2`` … that is free; it is taken from now on."""
        wanted = wanted[:_LONGEST]
        name = wanted
        while name in self._taken:
            self._next[wanted] = self._next.get(wanted, 0) + 1
            name = f"{wanted}_{self._next[wanted]}"
        self._taken.add(name)
        return name


def node_name(node: Node) -> str:
    """What a node's layers are called: a module's label path, a function below the path it stands at."""
    if isinstance(node.op, Module) and node.scope:
        return node.scope
    return f"{node.scope}.{node.op.name}" if node.scope else node.op.name


def source_of(node: Node) -> str:
    """``file:line:column`` of the operator in the text, or nothing."""
    return node.origins[0].source if node.origins else ""


def metadata_of(node: Node) -> str:
    """What inspectors and profilers show of a layer: the state-dict path and the place in the text."""
    return f"{node.scope[:_LONGEST]} {source_of(node)}".strip()
