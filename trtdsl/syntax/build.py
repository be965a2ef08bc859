"""What a rule of the grammar makes of its parts: a node of the tree.

``make_RULE(span, *children)`` is called for every reduction. Nothing is checked here but the inside of
numbers and strings, which the terminals leave open; mistakes in them are collected, not raised.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from trtdsl.diagnostics import Diagnostic, Source, Span
from trtdsl.syntax import tree
from trtdsl.syntax.tree import Expr, Name, Statement

Bound: TypeAlias = "Expr | None"

_STRING_PIECE = re.compile(
    r"[^\\{}]+|\\(?P<escape>.)|(?P<brace>\{\{|\}\})|\{(?P<inner>[^{}]*)\}|.", re.DOTALL
)
_ESCAPES = {"\\": "\\", '"': '"', "n": "\n", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Glued:
    """``a if c { … }``: the end of one statement and the `if` that follows it."""

    value: Expr
    following: tree.If


class TreeBuilder:
    """Makes the nodes of one file."""

    def __init__(
        self,
        source: Source,
        comments: Sequence[tree.Comment],
        expression: Callable[[int, int], Expr | None],
    ) -> None:
        self.source = source
        self.comments = tuple(comments)
        self.diagnostics: list[Diagnostic] = []
        self._expression = expression
        self._documentation = {
            comment.span.line: comment.text[2:].strip()
            for comment in comments
            if comment.text.startswith("##") and not comment.trailing
        }

    def _between(self, first: Span, last: Span) -> Span:
        return Span(self.source, first.start, last.end)

    def _above(self, span: Span) -> str:
        """The ``##`` lines that stand directly above the line that this begins."""
        if not self._documentation:
            return ""
        text = self.source.text
        if text[text.rfind("\n", 0, span.start) + 1 : span.start].strip():
            return ""
        lines: list[str] = []
        number = span.line - 1
        while number in self._documentation:
            lines.insert(0, self._documentation[number])
            number -= 1
        return "\n".join(lines)

    # Top level

    def make_file(self, span: Span, *items: tree.Item) -> tree.File:
        return tree.File(Span(self.source, 0, len(self.source.text)), items, self.comments)

    def make_import(self, span: Span, path: tree.String, alias: Name | None = None) -> tree.Import:
        return tree.Import(span, path, alias)

    def make_block(
        self,
        span: Span,
        name: Name,
        parameters: tuple[tree.Parameter, ...],
        tensors: tuple[tree.TensorParameter, ...],
        body: tuple[Statement, ...],
    ) -> tree.Block:
        return tree.Block(span, name, parameters, tensors, body, self._above(span))

    def make_model(
        self, span: Span, name: Name, parameters: tuple[tree.Parameter, ...], body: tuple[Statement, ...]
    ) -> tree.Model:
        return tree.Model(span, name, parameters, body, self._above(span))

    def make_parameters(self, span: Span, *parameters: tree.Parameter) -> tuple[tree.Parameter, ...]:
        return parameters

    def make_required(self, span: Span, name: Name) -> tree.Parameter:
        return tree.Parameter(span, name, None)

    def make_optional(self, span: Span, name: Name, default: Expr) -> tree.Parameter:
        return tree.Parameter(span, name, default)

    def make_tensors(self, span: Span, *tensors: tree.TensorParameter) -> tuple[tree.TensorParameter, ...]:
        return tensors

    def make_untyped(self, span: Span, name: Name) -> tree.TensorParameter:
        return tree.TensorParameter(span, name, None, None)

    def make_typed(self, span: Span, name: Name, kind: tree.TypeExpr) -> tree.TensorParameter:
        return tree.TensorParameter(span, name, kind, None)

    def make_untyped_default(self, span: Span, name: Name, default: Expr) -> tree.TensorParameter:
        return tree.TensorParameter(span, name, None, default)

    def make_typed_default(
        self, span: Span, name: Name, kind: tree.TypeExpr, default: Expr
    ) -> tree.TensorParameter:
        return tree.TensorParameter(span, name, kind, default)

    def make_type(self, span: Span, dtype: Name, shape: tuple[Expr, ...]) -> tree.TypeExpr:
        return tree.TypeExpr(span, dtype, shape)

    def make_untyped_shape(self, span: Span, shape: tuple[Expr, ...]) -> tree.TypeExpr:
        return tree.TypeExpr(span, None, shape)

    def make_dimensions(self, span: Span, *sizes: Expr) -> tuple[Expr, ...]:
        return sizes

    # Statements

    def make_body(self, span: Span, *statements: Statement | tuple[Statement, ...]) -> tuple[Statement, ...]:
        flat: list[Statement] = []
        for statement in statements:
            flat.extend(statement if isinstance(statement, tuple) else (statement,))
        return tuple(flat)

    def _ending(
        self, span: Span, value: Expr | Glued, make: Callable[[Span, Expr], Statement]
    ) -> Statement | tuple[Statement, ...]:
        """A statement that ends in ``value``; two where an `if` was read along with it."""
        if isinstance(value, Glued):
            return make(self._between(span, value.value.span), value.value), value.following
        return make(span, value)

    def make_glued_if(
        self,
        span: Span,
        value: Expr,
        keyword: Name,
        condition: Expr,
        body: tuple[Statement, ...],
        otherwise: tuple[Statement, ...] = (),
    ) -> Glued:
        return Glued(value, tree.If(self._between(keyword.span, span), condition, body, otherwise))

    def make_glued_ternary(self, span: Span, then: Expr, condition: Expr, rest: Glued) -> Glued:
        whole = self._between(then.span, rest.value.span)
        return Glued(tree.Conditional(whole, then, condition, rest.value), rest.following)

    def make_assign(
        self, span: Span, targets: tuple[Name, ...], value: Expr | Glued
    ) -> Statement | tuple[Statement, ...]:
        return self._ending(span, value, lambda place, end: tree.Assign(place, targets, end))

    def make_dim(self, span: Span, name: Name, value: Expr | Glued) -> Statement | tuple[Statement, ...]:
        return self._ending(span, value, lambda place, end: tree.Dim(place, name, end))

    def make_output(self, span: Span, name: Name, value: Expr | Glued) -> Statement | tuple[Statement, ...]:
        text = self._above(span)
        return self._ending(span, value, lambda place, end: tree.Output(place, (name,), end, text))

    def make_emit(self, span: Span, name: Name, value: Expr | Glued) -> Statement | tuple[Statement, ...]:
        return self._ending(span, value, lambda place, end: tree.Emit(place, name, end))

    def make_return(self, span: Span, *values: Expr | Glued) -> Statement | tuple[Statement, ...]:
        *first, last = values
        return self._ending(span, last, lambda place, end: tree.Return(place, (*_plain(first), end)))

    def make_assert(self, span: Span, condition: Expr | Glued) -> Statement | tuple[Statement, ...]:
        return self._ending(span, condition, lambda place, end: tree.Assert(place, end, None))

    def make_assert_message(self, span: Span, condition: Expr, message: tree.String) -> tree.Assert:
        return tree.Assert(span, condition, message)

    def make_dim_range(self, span: Span, name: Name, value: tree.Range) -> tree.Dim:
        return tree.Dim(span, name, value)

    def make_range(self, span: Span, minimum: Expr, optimum: Expr, maximum: Expr) -> tree.Range:
        return tree.Range(span, minimum, optimum, maximum)

    def make_profile(self, span: Span, name: Name, *ranges: tuple[Name, tree.Range | Expr]) -> tree.Profile:
        return tree.Profile(span, name, ranges)

    def make_entry(self, span: Span, name: Name, value: tree.Range | Expr) -> tuple[Name, tree.Range | Expr]:
        return name, value

    def make_input(self, span: Span, name: Name, kind: tree.TypeExpr) -> tree.Input:
        return tree.Input(span, name, kind, self._above(span))

    def make_output_names(self, span: Span, *names: Name) -> tree.Output:
        return tree.Output(span, names, None, self._above(span))

    def make_for(
        self, span: Span, targets: tuple[Name, ...], iterable: Expr, body: tuple[Statement, ...]
    ) -> tree.For:
        return tree.For(span, targets, iterable, body)

    def make_if(
        self,
        span: Span,
        condition: Expr,
        body: tuple[Statement, ...],
        otherwise: tuple[Statement, ...] = (),
    ) -> tree.If:
        return tree.If(span, condition, body, otherwise)

    def make_else_if(self, span: Span, nested: tree.If) -> tuple[tree.If]:
        return (nested,)

    def make_scan(
        self,
        span: Span,
        targets: tuple[Name, ...],
        arguments: tuple[tree.Argument, ...],
        *carried_and_body: tuple[object, ...],
    ) -> tree.Scan:
        *carried, body = carried_and_body
        return tree.Scan(
            span,
            targets,
            sequences=tuple(argument.value for argument in arguments if argument.name is None),
            options=tuple(argument for argument in arguments if argument.name is not None),
            carried=carried[0] if carried else (),  # pyright: ignore[reportArgumentType]
            body=body,  # pyright: ignore[reportArgumentType]
        )

    def make_sequences(self, span: Span, *arguments: tree.Argument) -> tuple[tree.Argument, ...]:
        return arguments

    def make_carried(self, span: Span, *pairs: tuple[Name, Expr]) -> tuple[tuple[Name, Expr], ...]:
        return pairs

    def make_carry(self, span: Span, name: Name, value: Expr) -> tuple[Name, Expr]:
        return name, value

    def make_weights(self, span: Span, *entries: tuple[tree.String, Expr]) -> tree.Weights:
        return tree.Weights(span, entries)

    def make_rename(self, span: Span, key: tree.String, value: Expr) -> tuple[tree.String, Expr]:
        return key, value

    def make_targets(self, span: Span, *names: Name) -> tuple[Name, ...]:
        return names

    make_names = make_targets

    # Expressions

    def make_pipe(self, span: Span, head: Expr, *stages: tree.Path | tree.Call | tree.Labelled) -> tree.Pipe:
        return tree.Pipe(span, head, stages)

    def make_label(self, span: Span, path: tree.Path | tree.String) -> tree.Label:
        return tree.Label(span, path)

    def make_numbered_label(self, span: Span, first: Name, *rest: Name) -> tree.Label:
        """``0.1.conv: …`` begins with two numbers that were read as one."""
        begin = first.span.start
        numbers = [
            Name(Span(self.source, begin + found.start(), begin + found.end()), found[0])
            for found in re.finditer("[0-9]+", first.text)
        ]
        return tree.Label(span, tree.Path(span, (*numbers, *rest)))

    def make_labelled(self, span: Span, label: tree.Label, value: tree.Path | tree.Call) -> tree.Labelled:
        return tree.Labelled(span, label, value)

    def make_stage_call(
        self, span: Span, callee: tree.Path, arguments: tuple[tree.Argument, ...]
    ) -> tree.Path | tree.Call:
        """``-> relu()`` is ``-> relu``."""
        return tree.Call(span, callee, arguments) if arguments else callee

    def make_stage_labelled_call(
        self, span: Span, label: tree.Label, callee: tree.Path, arguments: tuple[tree.Argument, ...]
    ) -> tree.Labelled:
        value = self.make_stage_call(self._between(callee.span, span), callee, arguments)
        return tree.Labelled(span, label, value)

    def make_conditional(self, span: Span, then: Expr, condition: Expr, otherwise: Expr) -> tree.Conditional:
        return tree.Conditional(span, then, condition, otherwise)

    def make_binary(self, span: Span, left: Expr, operator: Name, right: Expr) -> tree.Binary:
        return tree.Binary(span, operator.text, left, right, operator.span)

    def make_unary(self, span: Span, operator: Name, operand: Expr) -> tree.Unary:
        return tree.Unary(span, operator.text, operand)

    def make_call(self, span: Span, callee: Expr, arguments: tuple[tree.Argument, ...]) -> tree.Call:
        return tree.Call(span, callee, arguments)

    def make_arguments(self, span: Span, *arguments: tree.Argument) -> tuple[tree.Argument, ...]:
        return arguments

    def make_positional(self, span: Span, value: Expr) -> tree.Argument:
        return tree.Argument(span, None, value)

    def make_keyword(self, span: Span, name: Name, value: Expr) -> tree.Argument:
        return tree.Argument(span, name, value)

    def make_index(self, span: Span, value: Expr, *subscripts: Expr | tree.Slice) -> tree.Index:
        return tree.Index(span, value, subscripts)

    def make_attribute(self, span: Span, value: Expr, name: Name) -> tree.Attribute:
        return tree.Attribute(span, value, name)

    def make_slice(self, span: Span, start: Bound, stop: Bound, step: Bound = None) -> tree.Slice:
        return tree.Slice(span, start, stop, step)

    def make_bound(self, span: Span, value: Bound = None) -> Bound:
        return value

    def make_ellipsis(self, span: Span) -> tree.Ellipsis:
        return tree.Ellipsis(span)

    def make_list(self, span: Span, *items: Expr) -> tree.ListLiteral:
        return tree.ListLiteral(span, items)

    def make_tuple(self, span: Span, *items: Expr) -> tree.TupleLiteral:
        return tree.TupleLiteral(span, items)

    def make_parenthesised(self, span: Span, inner: Expr) -> tree.Parenthesised:
        return tree.Parenthesised(span, inner)

    def make_path(self, span: Span, *parts: Name) -> tree.Path:
        return tree.Path(span, parts)

    def make_true(self, span: Span) -> tree.Boolean:
        return tree.Boolean(span, True)

    def make_false(self, span: Span) -> tree.Boolean:
        return tree.Boolean(span, False)

    def make_none(self, span: Span) -> tree.NoneLiteral:
        return tree.NoneLiteral(span)

    def make_integer(self, span: Span, digits: Name) -> tree.Integer:
        if len(digits.text) > 30:
            self.diagnostics.append(Diagnostic("this integer is too large", span, "no tensor is that big"))
            return tree.Integer(span, 0)
        return tree.Integer(span, int(digits.text))

    def make_float(self, span: Span, digits: Name) -> tree.Float:
        value = float(digits.text)
        if math.isinf(value):
            message = f"`{digits.text}` is too large for a float"
            self.diagnostics.append(Diagnostic(message, span, help=("infinity is written `1e308 * 10`",)))
        return tree.Float(span, value, digits.text)

    def make_string(self, span: Span, token: Name) -> tree.String:
        parts: list[str | Expr] = []
        for piece in _STRING_PIECE.finditer(self.source.text, span.start + 1, span.end - 1):
            part = self._string_part(piece)
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            elif part is not None:
                parts.append(part)
        return tree.String(span, tuple(parts), token.text)

    def _string_part(self, piece: re.Match[str]) -> str | Expr | None:
        if (inner := piece["inner"]) is not None:
            return self._interpolated(piece, inner)
        if piece["brace"]:
            return piece["brace"][0]
        place = Span(self.source, *piece.span())
        if (escape := piece["escape"]) is not None:
            if escape not in _ESCAPES:
                self._refuse(
                    f"`{piece[0]}` is no escape", place, r"the escapes are `\\`, `\"`, `\n` and `\t`"
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


def _plain(values: Sequence[Expr | Glued]) -> list[Expr]:
    """All values but a statement's last are expressions of their own."""
    return [value for value in values if not isinstance(value, Glued)]
