"""How long a sequence may be whose positions are looked up in a table.

In: torch's graph of an exported program, in which ``embedding(wpe, arange(s77))`` looks up as many rows as
the sequence is long.  Out: of ``s77`` the greatest value for which the table has them all.  torch.export
checks no values, and so asks nothing of the length; a module that is called with more fails.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from trtdsl.importers.schemas import overload_of

if TYPE_CHECKING:
    from torch.fx import Graph

Node: TypeAlias = Any

KEEPING_VALUES = frozenset(
    {"_to_copy", "clone", "contiguous", "detach", "expand", "expand_as", "reshape", "to", "unsqueeze", "view"}
)
"""Operations whose results have the values of what they are given first."""


def longest(graph: Graph, largest: Mapping[str, int]) -> dict[str, int]:
    """The greatest value of each symbol that a table limits; ``largest`` are those that they may have."""
    found: dict[str, int] = {}
    for rows, indices in _lookups(graph):
        last = _last(indices)
        symbols = last.free_symbols if last is not None else ()
        if last is None or len(symbols) != 1:
            continue
        (symbol,) = symbols
        # Positions grow with the length.
        fits = range(1, found.get(str(symbol), largest.get(str(symbol), 0)) + 1)
        found[str(symbol)] = bisect_left(fits, True, key=lambda size: bool(last.subs(symbol, size) >= rows))
    return {name: most for name, most in found.items() if 0 < most < largest.get(name, 0)}


def _lookups(graph: Graph) -> Iterator[tuple[int, Node]]:
    """The rows of each table, and the node of what is looked up in it."""
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        match overload_of(node.target).partition(".")[0], node.args:
            case "embedding", (table, indices, *_):
                pass
            case "index", (table, (indices,)):
                pass
            case "index_select", (table, 0, indices):
                pass
            case _:
                continue
        rows = table.meta["val"].shape[0]
        if isinstance(rows, int):
            yield rows, indices


def _last(node: Node) -> Any:
    """The greatest of the numbers that a node gives, an expression of sizes; None where it is not known."""
    if getattr(node, "op", "") != "call_function":
        return None
    name = overload_of(node.target).partition(".")[0]
    if name == "arange":
        start, step = _starts(node)
        count: Any = node.meta["val"].shape[0]
        is_known = isinstance(start, int) and isinstance(step, int) and step > 0
        return start + (count.node.expr - 1) * step if is_known and not isinstance(count, int) else None
    if name in KEEPING_VALUES:
        return _last(node.args[0])
    if name == "add" and len(node.args) == 2 and isinstance(node.args[1], int):
        before = _last(node.args[0])
        return None if before is None else before + node.args[1]
    return None


def _starts(node: Node) -> tuple[Any, Any]:
    """Where an ``arange`` starts, and its step."""
    match len(node.args):
        case 1:
            return 0, 1
        case 2:
            return node.args[0], 1
        case _:
            return node.args[0], node.args[2]
