"""What a rule of the grammar makes of its parts: a node of the tree.

lark's tree comes in, every token in it. ``make_RULE(span, *children)`` is called for a rule that becomes a
node, ``list_RULE(*children)`` for one that becomes a tuple of nodes; a child is a :class:`lark.Token` or
what was made of a rule. Nothing is checked here but the inside of numbers and strings, which the terminals
leave open, and the depth; mistakes in them are collected, not raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from lark import Token, Tree
from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, Source, Span
from trtdsl.syntax import tree
from trtdsl.syntax.build_expressions import ExpressionBuilder, nodes
from trtdsl.syntax.tree import Expr, Name, Statement

Body: TypeAlias = "tuple[Statement, ...]"


_BLANK = " \t\r\n\f\ufeff"


class Glued(tree.Node, frozen=True):
    """``a if c { … }``: the end of one statement and the `if` that follows it."""

    value: Expr
    following: tree.If


class _TooDeep(Exception):
    """A part of the tree is further from the root than what follows may recurse."""

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.start = start


class TreeBuilder(ExpressionBuilder):
    """Makes the nodes of one text, or of the expression that stands at an offset of one."""

    def __init__(
        self,
        source: Source,
        expression: Callable[[int, int], Expr | None],
        diagnostics: list[Diagnostic],
        maximum_depth: int,
        offset: int = 0,
    ) -> None:
        super().__init__(source, expression, diagnostics, offset)
        self._maximum_depth = maximum_depth

    def file(self, branch: Tree[Token]) -> tree.File:
        """The tree of a file."""
        items = self._each(branch.children, 1)
        return tree.File(Span(self.source, 0, len(self.source.text)), tuple(items))

    def lines(self, branch: Tree[Token]) -> tuple[tree.Line, ...]:
        """The lines of a weights map."""
        return tuple(self._each(branch.children, 1))

    def expression(self, branch: Tree[Token]) -> Expr | None:
        """The tree of an expression; None where it nests too deeply."""
        (found,) = self._each([branch], 0) or [None]
        return found

    def _each(self, branches: Sequence[Tree[Token] | Token], depth: int) -> list[Any]:
        """What independent branches become, without those that nest too deeply."""
        values: list[Any] = []
        for branch in branches:
            try:
                values.append(branch if isinstance(branch, Token) else self._build(branch, depth))
            except _TooDeep as deep:
                place = Span(self.source, deep.start, deep.start + 1)
                help = (
                    f"{self._maximum_depth} levels at most: an argument in a call is two, anything else one;"
                    " give a part of it a name of its own",
                )
                self.diagnostics.append(Diagnostic("this nests too deeply", place, help=help))
        return values

    def _build(self, branch: Any, depth: int) -> Any:
        children: list[Any] = branch.children
        if branch.data == "body":
            return self.list_body(*self._each(children, depth))
        make_list = LISTS.get(branch.data)
        if make_list is not None:
            return make_list(self, *[c if type(c) is Token else self._build(c, depth) for c in children])
        first = children[0]
        while type(first) is not Token:
            first = first.children[0]
        start = self._offset + (first.start_pos or 0)
        depth += 1
        if depth > self._maximum_depth:
            raise _TooDeep(start)
        last = children[-1]
        while type(last) is not Token:
            last = last.children[-1]
        end = min(self._offset + (last.start_pos or 0) + len(last), len(self.source.text))
        values = [c if type(c) is Token else self._build(c, depth) for c in children]
        return MAKERS[branch.data](self, Span(self.source, start, end), *values)

    def _above(self, span: Span) -> str:
        """The ``##`` lines that stand directly above the line that this begins."""
        text = self.source.text
        end = text.rfind("\n", 0, span.start) + 1
        if text[end : span.start].strip(_BLANK):
            return ""
        lines: list[str] = []
        while end:
            start = text.rfind("\n", 0, end - 1) + 1
            line = text[start:end].strip(_BLANK)
            if not line.startswith("##"):
                break
            # No string spans lines, so that it is a comment.
            lines.append(line[2:].strip())
            end = start
        return "\n".join(reversed(lines))

    # Top level

    def make_import(
        self,
        span: Span,
        _import: Token,
        path: tree.String,
        _as: Token | None = None,
        alias: Token | None = None,
    ) -> tree.Import:
        return tree.Import(span, path, self._name(alias) if alias else None)

    def make_block(
        self,
        span: Span,
        _block: Token,
        name: Token,
        _open: Token,
        parameters: tuple[tree.Parameter, ...],
        _between: Token,
        _open_tensors: Token,
        tensors: tuple[tree.TensorParameter, ...],
        _close: Token,
        body: Body,
    ) -> tree.Block:
        return tree.Block(span, self._name(name), parameters, tensors, body, self._above(span))

    def make_def(
        self,
        span: Span,
        _def: Token,
        name: Token,
        _open: Token,
        parameters: tuple[tree.Parameter, ...],
        _close: Token,
        body: Body,
    ) -> tree.Def:
        return tree.Def(span, self._name(name), parameters, body, self._above(span))

    def make_model(
        self,
        span: Span,
        _model: Token,
        name: Token,
        _open: Token,
        parameters: tuple[tree.Parameter, ...],
        _close: Token,
        body: Body,
    ) -> tree.Model:
        return tree.Model(span, self._name(name), parameters, body, self._above(span))

    def make_plain_model(self, span: Span, _model: Token, name: Token, body: Body) -> tree.Model:
        return tree.Model(span, self._name(name), (), body, self._above(span))

    def make_derived_model(
        self,
        span: Span,
        _model: Token,
        name: Token,
        _equal: Token,
        base: tree.Path,
        _open: Token,
        arguments: tuple[tree.Argument, ...],
        _close: Token,
    ) -> tree.DerivedModel:
        return tree.DerivedModel(span, self._name(name), base, arguments, self._above(span))

    def make_required(self, span: Span, name: Token) -> tree.Parameter:
        return tree.Parameter(span, self._name(name), None)

    def make_optional(self, span: Span, name: Token, _equal: Token, default: Expr) -> tree.Parameter:
        return tree.Parameter(span, self._name(name), default)

    def make_untyped(self, span: Span, name: Token) -> tree.TensorParameter:
        return tree.TensorParameter(span, self._name(name), None, None)

    def make_typed(
        self,
        span: Span,
        name: Token,
        _colon: Token,
        kind: tree.TypeExpr,
        _equal: Token | None = None,
        default: Expr | None = None,
    ) -> tree.TensorParameter:
        return tree.TensorParameter(span, self._name(name), kind, default)

    make_typed_default = make_typed

    def make_untyped_default(
        self, span: Span, name: Token, _equal: Token, default: Expr
    ) -> tree.TensorParameter:
        return tree.TensorParameter(span, self._name(name), None, default)

    def make_type(self, span: Span, dtype: Token, shape: tuple[Expr, ...]) -> tree.TypeExpr:
        return tree.TypeExpr(span, self._name(dtype), shape)

    def make_untyped_shape(self, span: Span, shape: tuple[Expr, ...]) -> tree.TypeExpr:
        return tree.TypeExpr(span, None, shape)

    # Statements

    def list_body(self, *children: Any) -> Body:
        flat: list[Statement] = []
        for statement in nodes(children):
            flat.extend(statement if isinstance(statement, tuple) else (statement,))
        return tuple(flat)

    def _ending(
        self, span: Span, value: Expr | Glued, make: Callable[[Span, Expr], Statement]
    ) -> Statement | Body:
        """A statement that ends in ``value``; two where an `if` was read along with it."""
        if isinstance(value, Glued):
            return make(self._between(span, value.value.span), value.value), value.following
        return make(span, value)

    def make_glued_if(
        self,
        span: Span,
        value: Expr,
        keyword: Token,
        condition: Expr,
        body: Body,
        _else: Token | None = None,
        otherwise: Body = (),
    ) -> Glued:
        following = tree.If(self._between(self._place(keyword), span), condition, body, otherwise)
        return Glued(span, value, following)

    def make_glued_ternary(
        self, span: Span, then: Expr, _if: Token, condition: Expr, _else: Token, rest: Glued
    ) -> Glued:
        whole = self._between(then.span, rest.value.span)
        return Glued(span, tree.Conditional(whole, then, condition, rest.value), rest.following)

    def make_assign(
        self, span: Span, targets: tuple[tree.Target, ...], _equal: Token, value: Expr | Glued
    ) -> Statement | Body:
        return self._ending(span, value, lambda place, end: tree.Assign(place, targets, end))

    def make_dim(
        self, span: Span, _dim: Token, name: Token, _equal: Token, value: Expr | Glued
    ) -> Statement | Body:
        return self._ending(span, value, lambda place, end: tree.Dim(place, self._name(name), end))

    def make_output(
        self, span: Span, _output: Token, name: Token, _equal: Token, value: Expr | Glued
    ) -> Statement | Body:
        names, text = (self._name(name),), self._above(span)
        return self._ending(span, value, lambda place, end: tree.Output(place, names, end, text))

    def make_emit(
        self, span: Span, _emit: Token, name: Token, _equal: Token, value: Expr | Glued
    ) -> Statement | Body:
        return self._ending(span, value, lambda place, end: tree.Emit(place, self._name(name), end))

    def make_return(self, span: Span, _return: Token, *children: Any) -> Statement | Body:
        *first, last = nodes(children)
        return self._ending(span, last, lambda place, end: tree.Return(place, (*first, end)))

    def make_assert(self, span: Span, _assert: Token, condition: Expr | Glued) -> Statement | Body:
        return self._ending(span, condition, lambda place, end: tree.Assert(place, end, None))

    def make_assert_message(
        self, span: Span, _assert: Token, condition: Expr, _comma: Token, message: tree.String
    ) -> tree.Assert:
        return tree.Assert(span, condition, message)

    def make_dim_range(
        self, span: Span, _dim: Token, name: Token, _equal: Token, value: tree.Range, *step: Any
    ) -> tree.Dim:
        return tree.Dim(span, self._name(name), value, step[-1] if step else None)

    def make_range(
        self, span: Span, minimum: Expr, _first: Token, optimum: Expr, _second: Token, maximum: Expr
    ) -> tree.Range:
        return tree.Range(span, minimum, optimum, maximum)

    def make_profile(
        self, span: Span, _profile: Token, name: Token, _open: Token, *children: Any
    ) -> tree.Profile:
        return tree.Profile(span, self._name(name), nodes(children))

    def list_entry(
        self, name: Token, _equal: Token, value: tree.Range | Expr
    ) -> tuple[Name, tree.Range | Expr]:
        return self._name(name), value

    def make_input(
        self, span: Span, _input: Token, name: Token, _colon: Token, kind: tree.TypeExpr, *values: Any
    ) -> tree.Input:
        return tree.Input(span, self._name(name), kind, self._above(span), values[-1] if values else None)

    def make_values(self, span: Span, low: Expr, _range: Token, high: Expr) -> tree.ValueRange:
        return tree.ValueRange(span, low, high)

    def make_output_names(self, span: Span, _output: Token, *names: Token) -> tree.Output:
        return tree.Output(span, self.list_names(*names), None, self._above(span))

    def make_for(
        self,
        span: Span,
        _for: Token,
        targets: tuple[tree.Target, ...],
        _in: Token,
        iterable: Expr,
        body: Body,
    ) -> tree.For:
        return tree.For(span, targets, iterable, body)

    def make_if(
        self,
        span: Span,
        _if: Token,
        condition: Expr,
        body: Body,
        _else: Token | None = None,
        otherwise: Body = (),
    ) -> tree.If:
        return tree.If(span, condition, body, otherwise)

    def list_else_if(self, nested: tree.If) -> tuple[tree.If]:
        return (nested,)

    def make_scan(
        self,
        span: Span,
        _scan: Token,
        targets: tuple[Name, ...],
        _in: Token,
        arguments: tuple[tree.Argument, ...],
        *carried_and_body: Any,
    ) -> tree.Scan:
        *carried, body = carried_and_body
        return tree.Scan(
            span,
            targets,
            sequences=tuple(argument.value for argument in arguments if argument.name is None),
            options=tuple(argument for argument in arguments if argument.name is not None),
            carried=carried[1] if carried else (),
            body=body,
        )

    def list_carry(self, name: Token, _equal: Token, value: Expr) -> tuple[Name, Expr]:
        return self._name(name), value

    def make_weights(self, span: Span, _weights: Token, _open: Token, *children: Any) -> tree.Weights:
        return tree.Weights(span, nodes(children))

    def list_rename(self, key: tree.String, _equal: Token, value: Expr) -> tree.Line:
        return key, value

    def list_arguments(self, *children: Any) -> tuple[Any, ...]:
        return nodes(children)

    def list_parameters(self, *children: Any) -> tuple[tree.Parameter, ...]:
        """The parameters; those after a `*` say so."""
        found: list[tree.Parameter] = []
        by_name = False
        for child in children:
            if type(child) is not Token:
                found.append(replace(child, by_name=True) if by_name else child)
            by_name = by_name or (type(child) is Token and child.type == "TIMES")
        return tuple(found)

    list_tensors = list_dimensions = list_sequences = list_carried = list_arguments


def _named(prefix: str) -> dict[str, Callable[..., Any]]:
    found = {**vars(ExpressionBuilder), **vars(TreeBuilder)}.items()
    return {name.removeprefix(prefix): make for name, make in found if name.startswith(prefix)}


MAKERS = _named("make_")
LISTS = _named("list_")
