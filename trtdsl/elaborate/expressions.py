"""Expressions: what each form of the syntax tree stands for in a scope."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtdsl.diagnostics import Origin, Span, did_you_mean
from trtdsl.elaborate.arithmetic import TENSOR_OPERATORS, binary, negated
from trtdsl.elaborate.builder import Place, Use, join
from trtdsl.elaborate.builtins import Unsuitable, prelude
from trtdsl.elaborate.calls import Call, Caller
from trtdsl.elaborate.values import (
    POISON,
    Argument,
    BlockRef,
    Builtin,
    Configured,
    OperatorRef,
    Poisoned,
    describe,
    is_tensor,
    mistake,
)
from trtdsl.ir import Value
from trtdsl.ops.base import Refused
from trtdsl.ops.indexing import plan_index
from trtdsl.syntax import tree
from trtdsl.types import DType, SymbolicDim


@dataclass
class Scope:
    """The names visible at a point, and where in the model it is."""

    globals: Mapping[str, Any]
    place: Place = field(default_factory=Place)
    names: dict[str, Any] = field(default_factory=dict[str, Any])

    def known(self) -> list[str]:
        """Every visible name."""
        return [*self.names, *self.globals, *prelude()]

    def find(self, name: str) -> tuple[bool, Any]:
        for names in (self.names, self.globals, prelude()):
            if name in names:
                return True, names[name]
        return False, None


class Expressions:
    """Evaluates expressions; tensors operators among them become graph nodes."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.builder = caller.builder

    def value(self, expr: tree.Expr, scope: Scope, hints: Sequence[str] = ()) -> Any:
        """What the expression stands for. ``hints`` are names wished for resulting tensors."""
        match expr:
            case tree.Path():
                return self._path(expr, scope)
            case tree.Integer() | tree.Float() | tree.Boolean():
                return expr.value
            case tree.NoneLiteral():
                return None
            case tree.String():
                return self.string(expr, scope)
            case tree.ListLiteral():
                return [self.value(item, scope) for item in expr.items]
            case tree.TupleLiteral():
                return tuple(self.value(item, scope) for item in expr.items)
            case tree.Parenthesised():
                return self.value(expr.inner, scope, hints)
            case tree.Unary():
                return self._unary(expr, scope, hints)
            case tree.Binary():
                return self._binary(expr, scope, hints)
            case tree.Conditional():
                taken = expr.then if self.condition(expr.condition, scope) else expr.otherwise
                return self.value(taken, scope, hints)
            case tree.Pipe():
                return self._pipe(expr, scope, hints)
            case tree.Labelled():
                return self._labelled(expr, scope, hints)
            case tree.Call():
                return self._call(expr, scope, hints)
            case tree.Attribute():
                return _attribute(self.value(expr.value, scope), expr.name, expr.value.span)
            case tree.Index():
                return self._index(expr, scope, hints)
            case tree.Ellipsis():
                raise mistake("`...` stands only inside an index: `x[..., 0]`", expr.span)

    def condition(self, expr: tree.Expr, scope: Scope) -> bool:
        """A compile-time truth value."""
        value = self._known(expr, scope)
        if isinstance(value, bool):
            return value
        if is_tensor(value):
            raise mistake(
                "a condition must be known at compile time, but this is a tensor",
                expr.span,
                str(value.type),
                "choose between tensors at run time with `where(condition, a, b)`",
            )
        raise mistake(f"a condition must be true or false, not {describe(value)}", expr.span)

    def string(self, expr: tree.String, scope: Scope) -> str:
        """The string with every ``{expr}`` evaluated."""
        return "".join(
            part if isinstance(part, str) else self._interpolated(part, scope) for part in expr.parts
        )

    def _interpolated(self, expr: tree.Expr, scope: Scope) -> str:
        value = self._known(expr, scope)
        if isinstance(value, bool) or value is None:
            return describe(value)
        if isinstance(value, (int, float, str, SymbolicDim, DType)):
            return str(value)
        if isinstance(value, (list, tuple)):
            return str(list(value))  # pyright: ignore[reportUnknownArgumentType]
        raise mistake(f"only a compile-time value fits into a string, not {describe(value)}", expr.span)

    def _known(self, expr: tree.Expr, scope: Scope, hints: Sequence[str] = ()) -> Any:
        value = self.value(expr, scope, hints)
        if value is POISON:
            raise Poisoned
        return value

    # Names

    def _path(self, path: tree.Path, scope: Scope) -> Any:
        first, *rest = path.parts
        found, value = scope.find(first.text)
        if not found:
            raise mistake(f"unknown name `{first.text}`{did_you_mean(first.text, scope.known())}", first.span)
        span = first.span
        for part in rest:
            value = _attribute(value, part, span)
            span = dataclasses.replace(span, end=part.span.end)
        if value is POISON:
            raise Poisoned
        return value

    def _callee(self, expr: tree.Expr, scope: Scope) -> Any:
        """What a name in the place of a callee means: a tensor of that name does not hide a function."""
        if isinstance(expr, tree.Path) and len(expr.parts) == 1:
            name = expr.parts[0].text
            for names in (scope.names, scope.globals, prelude()):
                if isinstance(names.get(name), (OperatorRef, BlockRef, Builtin, Configured)):
                    return names[name]
        return self._known(expr, scope)

    # Operators

    def _unary(self, expr: tree.Unary, scope: Scope, hints: Sequence[str]) -> Any:
        if expr.operator == "not":
            value = self._known(expr.operand, scope)
            if is_tensor(value):
                return self._operator("logical_not", [value], expr.span, scope, hints)
            return not self.condition(expr.operand, scope)
        value = self._known(expr.operand, scope)
        if is_tensor(value):
            return self._operator("neg", [value], expr.span, scope, hints)
        return _calculated(negated, expr.span, value)

    def _binary(self, expr: tree.Binary, scope: Scope, hints: Sequence[str]) -> Any:
        left = self._known(expr.left, scope)
        if expr.operator in ("and", "or") and not is_tensor(left):
            return self._short_circuit(expr, scope)
        right = self._known(expr.right, scope)
        if is_tensor(left) or is_tensor(right):
            return self._tensor_binary(expr, left, right, scope, hints)
        return _calculated(binary, expr.operator_span, expr.operator, left, right)

    def _tensor_binary(
        self, expr: tree.Binary, left: Any, right: Any, scope: Scope, hints: Sequence[str]
    ) -> Any:
        if expr.operator in ("==", "!=") and (left is None or right is None):
            return expr.operator == "!="
        for value, side in ((left, expr.left), (right, expr.right)):
            if not is_tensor(value) and (
                not isinstance(value, (int, float, bool)) or isinstance(value, SymbolicDim)
            ):
                raise mistake(
                    f"`{expr.operator}` does not take {describe(left)} and {describe(right)}", side.span
                )
        return self._operator(
            TENSOR_OPERATORS[expr.operator], [left, right], expr.operator_span, scope, hints
        )

    def _short_circuit(self, expr: tree.Binary, scope: Scope) -> bool:
        left = self.condition(expr.left, scope)
        if left is (expr.operator == "or"):
            return left
        return self.condition(expr.right, scope)

    def _operator(
        self, name: str, values: Sequence[Any], span: Span, scope: Scope, hints: Sequence[str]
    ) -> Any:
        """An operator applied by its symbol; its module-like name is looked up past the scope."""
        arguments = [Argument(value, span) for value in values]
        operator = prelude()[name]
        callee = operator if isinstance(operator, OperatorRef) else operator.operator
        return self.caller.call(callee, arguments, Call(span, scope.place, hints=hints))

    # Pipes and calls

    def _pipe(self, pipe: tree.Pipe, scope: Scope, hints: Sequence[str]) -> Any:
        value = self._known(pipe.head, scope)
        head = pipe.head.parts[0].text if isinstance(pipe.head, tree.Path) else ""
        for index, stage in enumerate(pipe.stages):
            last = index == len(pipe.stages) - 1
            value = self._stage(value, stage, scope, hints if last else (), head)
            head = ""
        return value

    def _stage(
        self,
        piped: Any,
        stage: tree.Path | tree.Call | tree.Labelled,
        scope: Scope,
        hints: Sequence[str],
        head: str,
    ) -> Any:
        label = stage.label if isinstance(stage, tree.Labelled) else None
        inner = stage.value if isinstance(stage, tree.Labelled) else stage
        callee_expr = inner.callee if isinstance(inner, tree.Call) else inner
        callee = self._callee(callee_expr, scope)
        arguments = self._arguments(inner.arguments, scope) if isinstance(inner, tree.Call) else None
        call = self._placing(callee, stage, callee_expr, scope, hints, label, head)
        return self.caller.pipe(callee, piped, arguments, call)

    def _labelled(self, expr: tree.Labelled, scope: Scope, hints: Sequence[str]) -> Any:
        inner = expr.value
        callee_expr = inner.callee if isinstance(inner, tree.Call) else inner
        callee = self._callee(callee_expr, scope)
        arguments = self._arguments(inner.arguments, scope) if isinstance(inner, tree.Call) else ()
        call = self._placing(callee, expr, callee_expr, scope, hints, expr.label, "")
        result = self.caller.call(callee, arguments, call)
        if isinstance(result, Configured):
            name = result.callee.name
            raise mistake(
                f"`{name}` is placed here but given no tensor",
                call.span,
                "",
                f"pipe into it, `x -> label: {name}(…)`, or call it, `label: {name}(…)(x)`",
            )
        return result

    def _call(self, expr: tree.Call, scope: Scope, hints: Sequence[str]) -> Any:
        callee = self._callee(expr.callee, scope)
        arguments = self._arguments(expr.arguments, scope)
        call = self._placing(callee, expr, expr.callee, scope, hints, None, "")
        return self.caller.call(callee, arguments, call)

    def _placing(
        self,
        callee: Any,
        expr: tree.Path | tree.Call | tree.Labelled,
        callee_expr: tree.Expr,
        scope: Scope,
        hints: Sequence[str],
        label: tree.Label | None,
        head: str,
    ) -> Call:
        span = dataclasses.replace(expr.span, end=callee_expr.span.end)
        path = None if label is None else self.label(label, scope)
        place = scope.place
        block = callee.callee if isinstance(callee, Configured) else callee
        if isinstance(block, BlockRef):
            place = dataclasses.replace(
                place, origins=(Origin(span, placed_note(expr, scope)), *place.origins)
            )
        return Call(span, place, path, hints, head)

    def label(self, label: tree.Label, scope: Scope) -> str:
        """The path a label adds; "" for ``_``."""
        if isinstance(label.path, tree.Path):
            text = ".".join(part.text for part in label.path.parts)
        else:
            text = self.string(label.path, scope)
        if text == "_":
            return ""
        if not text or any(not part.strip() for part in text.split(".")):
            raise mistake(f'`"{text}"` is no label: its parts, between dots, must not be empty', label.span)
        return text

    def _arguments(self, arguments: Sequence[tree.Argument], scope: Scope) -> list[Argument]:
        return [
            Argument(self._known(a.value, scope), a.value.span, a.name.text if a.name else None)
            for a in arguments
        ]

    # Indexing

    def _index(self, expr: tree.Index, scope: Scope, hints: Sequence[str]) -> Any:
        value = self._known(expr.value, scope)
        subscripts = [self._subscript(subscript, scope) for subscript in expr.subscripts]
        if is_tensor(value):
            return self._tensor_index(expr, value, subscripts, scope, hints)
        if not isinstance(value, (list, tuple, str)):
            raise mistake(f"{describe(value)} cannot be indexed", expr.value.span)
        (subscript, *more) = subscripts
        if more or (not isinstance(subscript, slice) and type(subscript) is not int):
            wrong = "several subscripts" if more else describe(subscript)
            raise mistake(f"{describe(value)} is indexed by an integer, not {wrong}", expr.subscripts[0].span)
        try:
            item: Any = value[subscript]  # pyright: ignore[reportUnknownVariableType]
        except (IndexError, ValueError, TypeError) as error:
            raise mistake(
                f"there is no item {expr.subscripts[0].span.text} in a list of {len(value)}",  # pyright: ignore[reportUnknownArgumentType]
                expr.subscripts[0].span,
            ) from error
        if item is POISON:
            raise Poisoned
        return item

    def _subscript(self, subscript: tree.Expr | tree.Slice, scope: Scope) -> Any:
        if isinstance(subscript, tree.Ellipsis):
            return ...
        if not isinstance(subscript, tree.Slice):
            return self._known(subscript, scope)
        bounds = (subscript.start, subscript.stop, subscript.step)
        return slice(*(None if bound is None else self._bound(bound, scope) for bound in bounds))

    def _bound(self, expr: tree.Expr, scope: Scope) -> Any:
        value = self._known(expr, scope)
        if value is None or (isinstance(value, (int, SymbolicDim)) and not isinstance(value, bool)):
            return value
        raise mistake(f"a slice takes integers, not {describe(value)}", expr.span)

    def _tensor_index(
        self, expr: tree.Index, value: Value, subscripts: Sequence[Any], scope: Scope, hints: Sequence[str]
    ) -> Value:
        types = [item.type if is_tensor(item) else item for item in subscripts]
        try:
            plan = plan_index(value.type, types)
        except Refused as refusal:
            raise mistake(
                refusal.message, expr.span, f"indexed is {value.type}", refusal.help or ""
            ) from refusal
        indices = [item for item in subscripts if is_tensor(item)]
        for number, op in enumerate(plan):
            slots = [operand.name for operand in op.operands]
            operands = [value, *(indices if len(slots) > 1 else ())]
            wish = hints if number == len(plan) - 1 else ()
            use = Use(op, list(zip(slots, operands, strict=True)), expr.span, scope.place, hints=wish)
            (value,) = self.builder.apply(use)
        return value


def _calculated(function: Any, span: Span, *values: Any) -> Any:
    try:
        return function(*values)
    except Unsuitable as error:
        raise mistake(str(error), span) from error


def _attribute(value: Any, name: tree.Name, span: Span) -> Any:
    if value is POISON:
        raise Poisoned
    if isinstance(value, Namespace):
        if name.text in value.blocks:
            return value.blocks[name.text]
        guess = did_you_mean(name.text, value.blocks)
        raise mistake(f"`{span.text}` has no block `{name.text}`{guess}", name.span)
    if not is_tensor(value):
        raise mistake(f"{describe(value)} has no attribute `{name.text}`", name.span)
    attributes = {"shape": tuple(value.type.shape), "dtype": value.type.dtype, "rank": value.type.rank}
    if name.text in attributes:
        return attributes[name.text]
    known = did_you_mean(name.text, attributes)
    method = name.text in prelude()
    raise mistake(
        f"a tensor has no attribute `{name.text}`{'' if method else known}",
        name.span,
        "",
        f"write `{name.text}({span.text}, …)` or `{span.text} -> {name.text}(…)`" if method else "",
    )


@dataclass(frozen=True)
class Namespace:
    """An imported file under a name: ``import "…" as r``."""

    blocks: Mapping[str, BlockRef]


def placed_note(expr: object, scope: Scope) -> str:
    """ "placed here with i = 2": the compile-time names that the text at a block's use reads."""
    shown: dict[str, str] = {}
    for name in _names_in(expr):
        value = scope.names.get(name)
        if isinstance(value, (bool, int, float, str, SymbolicDim)) or (value is None and name in scope.names):
            shown[name] = describe(value).strip("`") if not isinstance(value, SymbolicDim) else str(value)
    if not shown:
        return "placed here"
    return "placed here with " + ", ".join(f"{name} = {text}" for name, text in shown.items())


def _names_in(item: object) -> Sequence[str]:
    """The first parts of all paths in a piece of the tree, in order."""
    if isinstance(item, tree.Label) and isinstance(item.path, tree.Path):
        return ()
    if isinstance(item, tree.Path):
        return (item.parts[0].text,)
    if isinstance(item, tuple):
        return [name for part in item for name in _names_in(part)]  # pyright: ignore[reportUnknownVariableType]
    if dataclasses.is_dataclass(item) and not isinstance(item, (Span, tree.Name)):
        values = (getattr(item, f.name) for f in dataclasses.fields(item) if f.name != "span")
        return [name for value in values for name in _names_in(value)]
    return ()


__all__ = ["Expressions", "Namespace", "Scope", "join", "placed_note"]
