"""Pads that run only where there is something to pad.

In: the line of the user's that decided about a size.  Out: whether it is the condition of such a pad::

    if pad > 0:
        x = F.pad(x, (0, 0, 0, pad))

An import decides that once, by the example's size, and keeps the sizes for which it is decided so.  Without
the condition the network pads each size by what it needs, which may be 0.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from trtdsl.importers.places import span_of

_PADS = re.compile(r"_*(pad.*|(constant|reflection|replication|circular|zero)_?pad\w*)", re.IGNORECASE)


def pads_if_needed(place: tuple[str, int]) -> bool:
    """Whether a line is the condition of a pad that has nothing else with it."""
    span = span_of(*place)
    return span is not None and any(place[1] in lines for lines in _conditions(span.source.text))


def without_condition(size: str) -> str:
    """What to write instead, as a line of help."""
    return (
        "padding by 0 changes nothing: pad without the `if`, by an amount that is 0 where there is nothing to"
        f" pad, such as `-{size} % 32` or `max(100 - {size}, 0)`, and every size stays"
    )


@lru_cache(maxsize=64)
def _conditions(text: str) -> tuple[range, ...]:
    """The lines of each condition of a pad in a file."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ()
    return tuple(_found(tree))


def _found(tree: ast.AST) -> Iterator[range]:
    for node in ast.walk(tree):
        match node:
            case ast.If(test, body, orelse=[]) if _only_pads(body):
                yield _lines(test)
            case ast.IfExp(_, ast.Call() as padded, ast.Name()) | ast.IfExp(
                _, ast.Name(), ast.Call() as padded
            ):
                if _is_pad(padded):
                    yield _lines(node)
            case _:
                pass


def _lines(node: ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _only_pads(body: Sequence[ast.stmt]) -> bool:
    """Whether statements compute amounts and pad by them."""
    values = [each.value for each in body if isinstance(each, ast.Assign | ast.Return)]
    return len(values) == len(body) and any(value is not None and _is_pad(value) for value in values)


def _is_pad(value: ast.expr) -> bool:
    """Whether an expression is a call such as ``F.pad(x, …)`` or ``nn.ZeroPad2d(…)(x)``."""
    if not isinstance(value, ast.Call):
        return False
    match value.func:
        case ast.Name(name) | ast.Attribute(attr=name):
            return _PADS.fullmatch(name) is not None
        case inner:
            return _is_pad(inner)
