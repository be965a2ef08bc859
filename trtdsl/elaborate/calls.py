"""Calls: arguments meet parameters, operators meet tensors, blocks are entered.

In: an evaluated callee with its arguments.  Out: the tensors (or the compile-time value) it gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtdsl.diagnostics import Span, did_you_mean
from trtdsl.elaborate.builder import Builder, Place, Use, refused
from trtdsl.elaborate.builtins import Unsuitable
from trtdsl.elaborate.values import (
    POISON,
    Argument,
    BlockRef,
    Builtin,
    Callee,
    Configured,
    OperatorRef,
    Poisoned,
    describe,
    is_tensor,
    mistake,
)
from trtdsl.ir import Value
from trtdsl.ops.arguments import Unfit, coerce, hints
from trtdsl.ops.base import Op, Refused
from trtdsl.types import SymbolicDim, Undecided


@dataclass(frozen=True)
class Call:
    """A callee about to be applied at a place of the model."""

    span: Span
    place: Place
    label: str | None = None
    """the state-dict path given here; "" is `_`, which adds no level"""
    hints: Sequence[str] = ()
    head: str = ""
    """how the text names the tensor that is piped in"""


EnterBlock = Callable[[BlockRef, Sequence[Argument], Sequence[Argument], Call], Any]


class Caller:
    """Applies callees; ``enter_block`` runs a block's body."""

    def __init__(self, builder: Builder, enter_block: EnterBlock) -> None:
        self.builder = builder
        self.enter_block = enter_block

    def pipe(self, callee: Any, piped: Any, arguments: Sequence[Argument] | None, call: Call) -> Any:
        """``piped -> callee(arguments)``; ``arguments`` is None where none are written."""
        tensors = _piped_arguments(piped, call.span)
        if isinstance(callee, Configured):
            if arguments is not None:
                raise mistake(
                    f"`{callee.callee.name}` is configured already; pipe into it without arguments", call.span
                )
            return self.place(callee, tensors, call)
        if isinstance(callee, BlockRef) or (isinstance(callee, OperatorRef) and callee.is_module):
            return self.place(Configured(callee, tuple(arguments or ()), call.span), tensors, call)
        return self.call(callee, [*_gathered(callee, tensors), *(arguments or ())], call)

    def call(self, callee: Any, arguments: Sequence[Argument], call: Call) -> Any:
        """``callee(arguments)`` in an expression."""
        if isinstance(callee, Builtin):
            return self._builtin(callee, arguments, call)
        if isinstance(callee, Configured):
            return self.place(callee, arguments, call)
        if isinstance(callee, OperatorRef) and not callee.is_module:
            return self._function(callee, arguments, call)
        if isinstance(callee, (OperatorRef, BlockRef)):
            configured = Configured(callee, tuple(arguments), call.span)
            return configured if _takes_tensors(callee) else self.place(configured, (), call)
        raise mistake(f"this cannot be called: it is {describe(callee)}", call.span)

    def place(self, configured: Configured, tensors: Sequence[Argument], call: Call) -> Any:
        """Apply a configured module or block to tensors."""
        callee = configured.callee
        if isinstance(callee, BlockRef):
            return self.enter_block(callee, configured.arguments, tensors, call)
        op, spans = self._construct(callee, configured.arguments, (), call)
        order = tuple(operand.name for operand in callee.op.operands)
        bound = bind(callee.name, order, None, tensors, call.span, "tensor")
        return self._apply(op, bound, spans, call)

    def _function(self, callee: OperatorRef, arguments: Sequence[Argument], call: Call) -> Any:
        operands = tuple(operand.name for operand in callee.op.operands)
        op, spans, bound = self._split(callee, arguments, operands, call)
        return self._apply(op, bound, spans, call)

    def _split(
        self, callee: OperatorRef, arguments: Sequence[Argument], operands: Sequence[str], call: Call
    ) -> tuple[Op, dict[str, Span], dict[str, Argument]]:
        order = (callee.spelling and callee.spelling.parameters) or callee.op.order
        order = order or (*operands, *callee.op.parameters)
        if operands and operands[0] not in order:
            order = (*operands, *order)
        allowed = (*order, *callee.op.parameters, *callee.op.ignored)
        bound = bind(callee.name, order, callee.op.variadic, arguments, call.span, "parameter", allowed)
        tensors = {name: argument for name, argument in bound.items() if name in operands}
        rest = {name: argument for name, argument in bound.items() if name not in operands}
        op, spans = self._instance(callee, rest, call)
        return op, spans, tensors

    def _construct(
        self, callee: OperatorRef, arguments: Sequence[Argument], _: Sequence[str], call: Call
    ) -> tuple[Op, dict[str, Span]]:
        order = (callee.spelling and callee.spelling.parameters) or callee.op.parameters
        inferred: tuple[str, ...] = getattr(callee.op, "inferred", ())
        allowed = (*order, *callee.op.parameters, *callee.op.ignored)
        for argument in arguments:
            if argument.name in inferred:
                raise mistake(
                    f"`{callee.name}` infers `{argument.name}` from its input, leave it out", argument.span
                )
            if is_tensor(argument.value):
                raise mistake(
                    f"`{callee.name}(…)` takes compile-time values, but this is {describe(argument.value)}",
                    argument.span,
                    "",
                    f"tensors go into a second list: `{callee.name}(…)(x)`, or through a pipe: `x -> {callee.name}(…)`",
                )
        bound = bind(callee.name, order, callee.op.variadic, arguments, call.span, "parameter", allowed)
        return self._instance(callee, bound, call)

    def _instance(
        self, callee: OperatorRef, bound: Mapping[str, Argument], call: Call
    ) -> tuple[Op, dict[str, Span]]:
        """The operator with these parameters, and where each stands."""
        values: dict[str, Any] = {}
        if callee.spelling:
            values |= {**callee.spelling.defaults, **callee.spelling.fixed}
        types = hints(callee.op)
        for name, argument in bound.items():
            if name in callee.op.ignored:
                continue
            if callee.spelling and name in callee.spelling.fixed:
                raise mistake(f"`{callee.name}` has no parameter `{name}`", argument.span)
            values[name] = _coerced(callee.name, name, argument, types[name])
        spans = {name: argument.span for name, argument in bound.items()}
        missing = [name for name in _required(callee.op) if name not in values]
        if missing:
            raise mistake(f"`{callee.name}` needs {_listed(missing)}", call.span)
        try:
            return callee.op(**values), spans
        except Refused as refusal:
            raise mistake(
                refusal.message, spans.get(refusal.about or "", call.span), "", refusal.help or ""
            ) from refusal

    def _apply(self, op: Op, bound: Mapping[str, Argument], spans: Mapping[str, Span], call: Call) -> Any:
        operands = self._operands(op, bound, call)
        use = Use(
            op,
            operands,
            call.span,
            call.place,
            call.label,
            call.hints,
            {**spans, **{name: argument.span for name, argument in bound.items()}},
            _note(operands, call.head),
        )
        results = self.builder.apply(use)
        return results[0] if len(results) == 1 else results

    def _operands(self, op: Op, bound: Mapping[str, Argument], call: Call) -> list[tuple[str, Value]]:
        given = {name: argument for name, argument in bound.items() if argument.value is not None}
        beside = [a.value.type for a in given.values() if is_tensor(a.value)]
        found: list[tuple[str, Value]] = []
        for operand in op.operands:
            argument = given.get(operand.name)
            if argument is None:
                if not operand.optional:
                    raise mistake(f"`{op.name}` needs the tensor `{operand.name}`", call.span)
            elif operand.variadic:
                found += [(operand.name, value) for value in self._tensor_list(op, operand.name, argument)]
            else:
                found.append((operand.name, self._tensor(op, operand.name, argument, beside, call)))
        return found

    def _tensor(self, op: Op, name: str, argument: Argument, beside: Sequence[Any], call: Call) -> Value:
        value = argument.value
        if is_tensor(value):
            return value
        if isinstance(value, (bool, int, float)) and beside:
            return self.builder.scalar(value, beside, argument.span, call.place)
        if isinstance(value, SymbolicDim):
            raise mistake(
                f"`{name}` of `{op.name}` must be a tensor, not the dynamic dimension `{value}`",
                argument.span,
            )
        raise mistake(f"`{name}` of `{op.name}` must be a tensor, not {describe(value)}", argument.span)

    def _tensor_list(self, op: Op, name: str, argument: Argument) -> Sequence[Value]:
        values = argument.value
        if is_tensor(values):
            raise mistake(
                f"`{name}` of `{op.name}` must be a list of tensors, not one tensor",
                argument.span,
                str(values.type),
            )
        if not isinstance(values, (list, tuple)) or not values:
            raise mistake(
                f"`{name}` of `{op.name}` must be a list of tensors, not {describe(values)}", argument.span
            )
        for value in values:  # pyright: ignore[reportUnknownVariableType]
            if value is POISON:
                raise Poisoned
            if not is_tensor(value):
                raise mistake(
                    f"`{name}` of `{op.name}` must hold tensors, not {describe(value)}", argument.span
                )
        return values  # pyright: ignore[reportUnknownVariableType]

    def _builtin(self, callee: Builtin, arguments: Sequence[Argument], call: Call) -> Any:
        tensors = any(_holds_tensor(argument.value) for argument in arguments)
        if callee.operator and tensors and callee.name not in ("len", "list", "reversed"):
            single = not isinstance(arguments[0].value, (list, tuple))
            if single:
                return self._function(callee.operator, arguments, call)
        if call.label:
            raise mistake(f"`{callee.name}` gives a compile-time value, which takes no label", call.span)
        positional = [argument.value for argument in arguments if argument.name is None]
        named = {argument.name: argument.value for argument in arguments if argument.name}
        try:
            return callee.function(*positional, **named)
        except Unsuitable as error:
            raise mistake(f"`{callee.name}` {error}", call.span) from error
        except Undecided as undecided:
            raise mistake(str(undecided), call.span) from undecided
        except (TypeError, ValueError, OverflowError) as error:
            given = ", ".join(describe(argument.value) for argument in arguments) or "nothing"
            raise mistake(f"`{callee.name}` does not take {given}", call.span) from error


def bind(
    callee: str,
    order: Sequence[str],
    variadic: str | None,
    arguments: Sequence[Argument],
    span: Span,
    kind: str,
    allowed: Sequence[str] = (),
) -> dict[str, Argument]:
    """Arguments by the name of what they are given to; positional ones in ``order``."""
    positional = [argument for argument in arguments if argument.name is None]
    if variadic in order:
        positional = _packed(positional, order.index(variadic or ""))
    if len(positional) > len(order):
        extra = positional[len(order)]
        most = f"at most {len(order)} {kind}{'s' if len(order) != 1 else ''}" if order else f"no {kind}s"
        raise mistake(f"`{callee}` takes {most}, {len(positional)} were given", extra.span)
    bound = dict(zip(order, positional, strict=False))
    for argument in arguments:
        if argument.name is None:
            continue
        if argument.name not in (allowed or order):
            raise mistake(
                f"`{callee}` has no {kind} `{argument.name}`{did_you_mean(argument.name, allowed or order)}",
                argument.span,
            )
        if argument.name in bound:
            raise mistake(f"`{argument.name}` of `{callee}` is given twice", argument.span)
        bound[argument.name] = argument
    for argument in bound.values():
        if argument.value is POISON:
            raise Poisoned
    return bound


def _packed(positional: Sequence[Argument], index: int) -> list[Argument]:
    """Loose sizes gathered into one tuple: ``reshape(x, 2, 3)`` is ``reshape(x, (2, 3))``."""
    rest = positional[index:]
    if not rest or (len(rest) == 1 and isinstance(rest[0].value, (list, tuple))):
        return list(positional)
    if any(isinstance(argument.value, (list, tuple)) for argument in rest):
        return list(positional)
    span = dataclasses.replace(rest[0].span, end=rest[-1].span.end)
    return [*positional[:index], Argument(tuple(argument.value for argument in rest), span)]


def _coerced(callee: str, name: str, argument: Argument, hint: Any) -> Any:
    try:
        return coerce(argument.value, hint)
    except Unfit as unfit:
        if is_tensor(argument.value):
            raise mistake(
                f"`{name}` of `{callee}` must be known at compile time, but this is a tensor",
                argument.span,
                str(argument.value.type),
            ) from unfit
        raise mistake(
            f"`{name}` of `{callee}` must be {unfit}, not {describe(argument.value)}", argument.span
        ) from unfit


def _piped_arguments(piped: Any, span: Span) -> list[Argument]:
    """The piped value as leading arguments: a tuple of tensors counts as several."""
    if piped is POISON:
        raise Poisoned
    several = isinstance(piped, tuple) and piped and all(is_tensor(item) for item in piped)  # pyright: ignore[reportUnknownVariableType]
    values: Sequence[Any] = piped if several else (piped,)
    return [Argument(value, span) for value in values]


def _gathered(callee: Any, tensors: list[Argument]) -> list[Argument]:
    """Tensors piped into a function that takes a list, such as ``cat``, as that list."""
    operator = callee.operator if isinstance(callee, Builtin) else callee
    operands = operator.op.operands if isinstance(operator, OperatorRef) else ()
    if operands and operands[0].variadic and all(is_tensor(argument.value) for argument in tensors):
        return [Argument([argument.value for argument in tensors], tensors[0].span)]
    return tensors


def _holds_tensor(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensor(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    return is_tensor(value)


def _takes_tensors(callee: OperatorRef | BlockRef) -> bool:
    return bool(callee.block.tensors if isinstance(callee, BlockRef) else callee.op.operands)


def _required(op: type[Op]) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(op)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _note(operands: Sequence[tuple[str, Value]], head: str) -> str:
    """What the operator was given, for under the caret."""
    if not operands:
        return ""
    if len(operands) == 1:
        return f"{f'`{head}`' if head else 'its input'} is {operands[0][1].type}"
    return "its inputs are " + " and ".join(str(value.type) for _, value in operands[:4])


__all__ = ["Call", "Callee", "Caller", "bind", "refused"]
