"""An expression of a text as it reads where nothing around it is known.

In: ``cat(["l.{i}.q", "l.{i}.k"],  dim = axis)`` where i is 2 and axis 0.  Out: the same on one line, with
what the names stand for: ``cat(["l.2.q", "l.2.k"], dim = 0)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from trtdsl.elaborate.expressions import Expressions
from trtdsl.elaborate.scope import Scope
from trtdsl.ops.text import literal, quoted
from trtdsl.syntax import tree
from trtdsl.types import DType

_PIECES = re.compile(r'"(?:\\.|[^"\\])*"|#[^\n]*|\s+|[^"#\s]+')


def written(expr: tree.Expr, scope: Scope, expressions: Expressions, star: str = "") -> str:
    """The expression on one line; ``star`` is what ``*`` stands for in its strings."""
    source, start, end = expr.span.source.text, expr.span.start, expr.span.end
    text = ""
    for first, last, replacement in sorted(_replaced(expr, scope, expressions, star)):
        text += source[start:first] + replacement
        start = last
    return _on_one_line(text + source[start:end])


def names_of(item: object) -> Iterator[tree.Name]:
    """The names that a part of the tree reads as values, but for what a comprehension in it binds.

    Those that are called are not among them: what a name is bound to does not hide a function.
    """
    own = {name for each in _find(item, tree.Comprehension) for name in _bound(each)}
    called = {id(path) for each in _find(item, (tree.Call, tree.Pipe)) for path in _callees(each)}
    for path in _find(item, tree.Path):
        if path.parts[0].text not in own and id(path) not in called:
            yield path.parts[0]


def _callees(item: tree.Node) -> tuple[tree.Path, ...]:
    """The names that a call or the stages of a pipe call."""
    found = (item.callee,) if isinstance(item, tree.Call) else ()
    found = item.stages if isinstance(item, tree.Pipe) else found
    return tuple(each for each in found if isinstance(each, tree.Path))


def strings_of(item: object) -> Iterator[tree.String]:
    """The strings in a part of the tree."""
    yield from _find(item, tree.String)


def _bound(item: tree.Comprehension) -> set[str]:
    """The names that a comprehension binds."""
    return {name.text for loop in item.loops for name in _find(loop.targets, tree.Name)}


def _find(item: object, kind: Any) -> Iterator[Any]:
    if isinstance(item, kind):
        yield item
    if isinstance(item, tuple):
        for part in item:  # pyright: ignore[reportUnknownVariableType]
            yield from _find(part, kind)
    elif isinstance(item, tree.Node):
        for field in item.__struct_fields__:
            yield from _find(getattr(item, field), kind)


def _replaced(
    item: object, scope: Scope, expressions: Expressions, star: str, tight: bool = False
) -> Iterator[tuple[int, int, str]]:
    """The pieces of the text that read otherwise, by their first and last offset.

    A minus sign is bracketed where the piece is ``tight``, an operand of something.
    """
    if isinstance(item, tree.String):
        yield item.span.start, item.span.end, _string(item, scope, expressions, star)
    elif isinstance(item, tree.Path):
        name = item.parts[0].text
        if len(item.parts) == 1 and name in scope.names and _has_literal(scope.names[name]):
            text = _literal(scope.names[name])
            yield item.span.start, item.span.end, f"({text})" if tight and text[0] == "-" else text
    elif isinstance(item, tuple):
        for part in item:  # pyright: ignore[reportUnknownVariableType]
            yield from _replaced(part, scope, expressions, star, tight)
    elif isinstance(item, tree.Node):
        if (end := _last_comma(item)) is not None:
            yield end, item.span.end - 1, ""
        if isinstance(item, tree.Comprehension):
            own = _bound(item)
            known = {name: value for name, value in scope.names.items() if name not in own}
            scope = replace(scope, names=known)
        tight = isinstance(item, (tree.Binary, tree.Unary))
        called = _callees(item)
        for field in item.__struct_fields__:
            part = getattr(item, field)
            if isinstance(part, tuple):
                part = tuple(each for each in part if each not in called)  # pyright: ignore[reportUnknownVariableType]
            if part not in called:
                yield from _replaced(part, scope, expressions, star, tight)


def _last_comma(item: tree.Node) -> int | None:
    """Where the comma after the last of several elements begins, which means nothing."""
    match item:
        case tree.Call(arguments=(*_, last)) | tree.ListLiteral(items=(*_, last)):
            return last.span.end
        case tree.TupleLiteral(items=(_, *_, last)):
            return last.span.end
        case _:
            return None


def _string(item: tree.String, scope: Scope, expressions: Expressions, star: str) -> str:
    """A string whose braces are filled in, but for what a comprehension around it binds."""
    text = ""
    for part in item.parts:
        if isinstance(part, str):
            text += quoted(part.replace("*", star))[1:-1]
        elif all(name.text in scope.names for name in names_of(part)):
            text += quoted(expressions.string(tree.String(item.span, (part,), ""), scope))[1:-1]
        else:
            text += f"{{{written(part, scope, expressions)}}}"
    return f'"{text}"'


def _has_literal(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_has_literal, value))  # pyright: ignore[reportUnknownArgumentType]
    return value is None or isinstance(value, (bool, int, float, str, DType))


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"  # pyright: ignore[reportUnknownArgumentType]
    return literal(value)


def _on_one_line(text: str) -> str:
    """The text without comments and breaks."""
    joined = ""
    for piece in _PIECES.findall(text):
        if piece[0] not in "# \t\r\n\f":
            joined = joined.rstrip(" ") if piece[0] in ")]" else joined
            joined += piece
        elif joined and joined[-1] not in " ([":
            joined += " "
    return joined.rstrip()
