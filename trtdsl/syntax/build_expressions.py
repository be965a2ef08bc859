"""What a rule of the grammar for expressions makes of its parts.

``make_RULE(span, *children)`` is called for a rule that becomes a node, ``list_RULE(*children)`` for one that
becomes a tuple of nodes; a child is a :class:`lark.Token` or what was made of a rule. Nothing is checked here
but the inside of numbers and strings, which the terminals leave open; mistakes in them are collected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from lark import Token

from trtdsl.diagnostics import Diagnostic, Source, Span
from trtdsl.syntax import tree
from trtdsl.syntax.tree import Expr, Name

_STRING_PIECE = re.compile(
    r"[^\\{}]+|\\(?P<escape>.)|(?P<brace>\{\{|\}\})|\{(?P<inner>[^{}]*)\}|.", re.DOTALL
)
LONGEST_STRING = 100_000
"""Characters of a string's value, and of what is written between its quotes."""

_ESCAPES = {"\\": "\\", '"': '"', "n": "\n", "t": "\t"}


class ExpressionBuilder:
    """Makes the nodes of expressions; their places count from an offset of the source."""

    def __init__(
        self,
        source: Source,
        expression: Callable[[int, int], Expr | None],
        diagnostics: list[Diagnostic],
        offset: int,
    ) -> None:
        self.source = source
        self.diagnostics = diagnostics
        self._expression = expression
        self._offset = offset

    def _name(self, token: Token) -> Name:
        return Name(self._place(token), token.value)

    def _place(self, token: Token) -> Span:
        start = self._offset + (token.start_pos or 0)
        return Span(self.source, start, start + len(token))

    def _between(self, first: Span, last: Span) -> Span:
        return Span(self.source, first.start, last.end)

    def list_names(self, *names: Token) -> tuple[Name, ...]:
        return tuple(map(self._name, names[::2]))

    def list_targets(self, first: Token, *more: Any) -> tuple[tree.Target, ...]:
        return (self._name(first), *self.list_loop_targets(*more))

    def list_loop_targets(self, *targets: Any) -> tuple[tree.Target, ...]:
        """The names, and what was made of the targets in parentheses."""
        found = (t for t in targets if not isinstance(t, Token) or t.type == "NAME")
        return tuple(self._name(t) if isinstance(t, Token) else t for t in found)

    def make_nested_targets(self, span: Span, *targets: Any) -> tree.NestedTargets:
        return tree.NestedTargets(span, self.list_loop_targets(*targets))

    def make_pipe(self, span: Span, head: Expr, *children: Any) -> tree.Pipe:
        return tree.Pipe(span, head, nodes(children))

    def make_label(self, span: Span, path: tree.Path | tree.String) -> tree.Label:
        return tree.Label(span, path)

    def make_numbered_label(self, span: Span, first: Token, *rest: Token) -> tree.Label:
        """``0.1.conv: …`` begins with two numbers that were read as one."""
        begin = self._place(first).start
        numbers = [
            Name(Span(self.source, begin + found.start(), begin + found.end()), found[0])
            for found in re.finditer("[0-9]+", first)
        ]
        return tree.Label(span, tree.Path(span, (*numbers, *map(self._name, rest[1::2]))))

    def make_labelled(
        self, span: Span, label: tree.Label, _colon: Token, value: tree.Path | tree.Call
    ) -> tree.Labelled:
        return tree.Labelled(span, label, value)

    def make_stage_call(
        self,
        span: Span,
        callee: tree.Path,
        _open: Token,
        arguments: tuple[tree.Argument, ...],
        _close: Token,
    ) -> tree.Path | tree.Call:
        """``-> relu()`` is ``-> relu``."""
        return tree.Call(span, callee, arguments) if arguments else callee

    def make_stage_calls(
        self,
        span: Span,
        callee: tree.Path,
        opening: Token,
        configuration: tuple[tree.Argument, ...],
        closing: Token,
        _open: Token,
        tensors: tuple[tree.Argument, ...],
        _close: Token,
    ) -> tree.Path | tree.Call:
        """``-> Linear(4)(weight = w)``; without further tensors the second list is none."""
        inner = span.until(self._place(closing).end)
        if not tensors:
            return self.make_stage_call(inner, callee, opening, configuration, closing)
        return tree.Call(span, tree.Call(inner, callee, configuration), tensors)

    def make_conditional(
        self, span: Span, then: Expr, _if: Token, condition: Expr, _else: Token, otherwise: Expr
    ) -> tree.Conditional:
        return tree.Conditional(span, then, condition, otherwise)

    def make_binary(self, span: Span, left: Expr, operator: Token, right: Expr) -> tree.Binary:
        return tree.Binary(span, operator.value, left, right, self._place(operator))

    def make_not_in(self, span: Span, left: Expr, first: Token, last: Token, right: Expr) -> tree.Binary:
        place = self._between(self._place(first), self._place(last))
        return tree.Binary(span, "not in", left, right, place)

    def make_unary(self, span: Span, operator: Token, operand: Expr) -> tree.Unary:
        return tree.Unary(span, operator.value, operand)

    def make_call(
        self, span: Span, callee: Expr, _open: Token, arguments: tuple[tree.Argument, ...], _close: Token
    ) -> tree.Call:
        return tree.Call(span, callee, arguments)

    def make_positional(self, span: Span, value: Expr) -> tree.Argument:
        return tree.Argument(span, None, value)

    def make_keyword(self, span: Span, name: Token, _equal: Token, value: Expr) -> tree.Argument:
        return tree.Argument(span, self._name(name), value)

    def make_index(self, span: Span, value: Expr, _open: Token, *children: Any) -> tree.Index:
        return tree.Index(span, value, nodes(children))

    def make_attribute(self, span: Span, value: Expr, _dot: Token, name: Token) -> tree.Attribute:
        return tree.Attribute(span, value, self._name(name))

    def make_slice(self, span: Span, *children: Any) -> tree.Slice:
        bounds: list[Expr | None] = [None, None, None]
        part = 0
        for child in children:
            if isinstance(child, Token):
                part += 1
            else:
                bounds[part] = child
        return tree.Slice(span, *bounds)

    def make_ellipsis(self, span: Span, _dots: Token) -> tree.Ellipsis:
        return tree.Ellipsis(span)

    def make_list(self, span: Span, *children: Any) -> tree.ListLiteral:
        return tree.ListLiteral(span, nodes(children))

    def make_comprehended(
        self,
        span: Span,
        _for: Token,
        targets: tuple[tree.Target, ...],
        _in: Token,
        iterable: Expr,
        *conditions: Any,
    ) -> tree.Comprehended:
        return tree.Comprehended(span, targets, iterable, nodes(conditions))

    def make_comprehension(self, span: Span, _open: Token, element: Expr, *loops: Any) -> tree.Comprehension:
        return tree.Comprehension(span, element, nodes(loops))

    def make_tuple(self, span: Span, *children: Any) -> tree.TupleLiteral:
        return tree.TupleLiteral(span, nodes(children))

    def make_parenthesised(self, span: Span, _open: Token, inner: Expr, _close: Token) -> tree.Parenthesised:
        return tree.Parenthesised(span, inner)

    def make_path(self, span: Span, *names: Token) -> tree.Path:
        return tree.Path(span, self.list_names(*names))

    def make_true(self, span: Span, _word: Token) -> tree.Boolean:
        return tree.Boolean(span, True)

    def make_false(self, span: Span, _word: Token) -> tree.Boolean:
        return tree.Boolean(span, False)

    def make_none(self, span: Span, _word: Token) -> tree.NoneLiteral:
        return tree.NoneLiteral(span)

    def make_integer(self, span: Span, digits: Token) -> tree.Integer:
        if len(digits.value) > 30:
            self.diagnostics.append(Diagnostic("this integer is too large", span, "no tensor is that big"))
            return tree.Integer(span, 0)
        return tree.Integer(span, int(digits.value))

    def make_float(self, span: Span, digits: Token) -> tree.Float:
        value = float(digits.value)
        if math.isinf(value):
            message = f"`{digits.value}` is too large for a float"
            self.diagnostics.append(Diagnostic(message, span, help=("infinity is written `inf`",)))
        return tree.Float(span, value, digits.value)

    def make_string(self, span: Span, token: Token) -> tree.String:
        if len(token) - 2 > LONGEST_STRING:
            message = f"the string is too long: it has more than {LONGEST_STRING} characters"
            self.diagnostics.append(Diagnostic(message, Span(self.source, span.start, span.start + 1)))
            return tree.String(span, (), token.value)
        parts: list[str | Expr] = []
        for piece in _STRING_PIECE.finditer(self.source.text, span.start + 1, span.end - 1):
            part = self._string_part(piece)
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            elif part is not None:
                parts.append(part)
        return tree.String(span, tuple(parts), token.value)

    def _string_part(self, piece: re.Match[str]) -> str | Expr | None:
        if (inner := piece["inner"]) is not None:
            return self._interpolated(piece, inner)
        if piece["brace"]:
            return piece["brace"][0]
        place = Span(self.source, *piece.span())
        if (escape := piece["escape"]) is not None:
            if escape not in _ESCAPES:
                self._refuse(
                    f"`{piece[0]}` is not an escape", place, r"the escapes are `\\`, `\"`, `\n` and `\t`"
                )
            return _ESCAPES.get(escape, "")
        if piece[0] in "{}":
            advice = f"write `{piece[0] * 2}` for a brace itself"
            self._refuse(f"this `{piece[0]}` has no partner", place, advice)
        return piece[0]

    def _interpolated(self, piece: re.Match[str], inner: str) -> Expr | None:
        if inner.strip():
            return self._expression(*piece.span("inner"))
        place = Span(self.source, *piece.span())
        self._refuse("nothing stands between these braces", place, "write `{{}}` for the braces themselves")
        return None

    def _refuse(self, message: str, place: Span, advice: str) -> None:
        self.diagnostics.append(Diagnostic(message, place, help=(advice,)))


def nodes(children: Sequence[Any]) -> tuple[Any, ...]:
    """The children that are not punctuation."""
    return tuple([child for child in children if type(child) is not Token])
