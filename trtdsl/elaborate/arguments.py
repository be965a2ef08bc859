"""Arguments meet parameters: by position, by name, and in the form the parameter wants.

In: the evaluated arguments of a call.  Out: each under the name of what it is given to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, Span, counted, did_you_mean
from trtdsl.elaborate.mistakes import Mistake, mistake
from trtdsl.elaborate.values import Argument, OperatorRef, in_words, is_tensor
from trtdsl.ops.arguments import Unfit, coerce, hints, items_wanted, strings_in
from trtdsl.ops.base import REQUIRED, Module, Op
from trtdsl.ops.pytorch_names import NAMESAKES
from trtdsl.ops.refused import Refused
from trtdsl.ops.text import in_a_row
from trtdsl.syntax import tree
from trtdsl.types import DType, SymbolicDim


def match_arguments(
    callee: str,
    order: Sequence[str],
    arguments: Sequence[Argument],
    span: Span,
    kind: str = "parameter",
    variadic: str | None = None,
    by_name: Sequence[str] = (),
    any_name: bool = False,
) -> dict[str, Argument]:
    """Arguments by the name of what they are given to; positional ones in ``order``.

    ``kind`` is what the callee's users call these; ``by_name`` may be given in addition, by name only, as may
    ``any_name`` else.
    """
    positional = [argument for argument in arguments if argument.name is None]
    if variadic in order:
        positional = _packed(positional, order.index(variadic or ""))
    if len(positional) > len(order) and any_name:
        text = f"`{callee}` takes `{order[0]}` alone by position: give the name of what this is"
        raise mistake(text, positional[len(order)].span)
    if len(positional) > len(order):
        most = f"at most {counted(len(order), kind)}" if order else f"no {kind}s"
        text, place = f"`{callee}` takes {most}, {len(positional)} were given", positional[len(order)].span
        raise mistake(text, place, "", _piped_apart(positional, span) if place == span else "")
    bound = dict(zip(order, positional, strict=False))
    for argument in arguments:
        name = argument.name
        if name is None:
            continue
        if name not in order and name not in by_name and not any_name:
            guess = did_you_mean(name, dict.fromkeys((*order, *by_name)))
            raise mistake(f"`{callee}` has no {kind} `{name}`{guess}", argument.head)
        if name in bound:
            raise mistake(f"`{name}` of `{callee}` is given twice", argument.head)
        bound[name] = argument
    return bound


def _piped_apart(positional: Sequence[Argument], stage: Span) -> str:
    """What to write where a tuple was piped into what takes one tensor; its parts stand at the stage."""
    count = sum(argument.span == stage for argument in positional)
    return f"a tuple of {count} is piped in: name its parts, `a, b = …`, and pipe one" if count > 1 else ""


def _packed(positional: Sequence[Argument], index: int) -> list[Argument]:
    """Loose sizes gathered into one tuple: ``reshape(x, 2, 3)`` is ``reshape(x, (2, 3))``."""
    rest = positional[index:]
    if not rest or any(isinstance(argument.value, (list, tuple)) for argument in rest):
        return list(positional)
    span = rest[0].span.until(rest[-1].span.end)
    packed = Argument(tuple(argument.value for argument in rest), span, items=tuple(rest))
    return [*positional[:index], packed]


def require_no_tensors(callee: str, arguments: Sequence[Argument]) -> None:
    """A tensor among the configuration of a module or block is in the wrong list."""
    for argument in arguments:
        if is_tensor(argument.value):
            raise mistake(
                f"`{callee}(…)` is configured by compile-time values, not by {in_words(argument.value)}",
                argument.span,
                "",
                f"tensors go into a second list, `{callee}(…)(x)`, or through a pipe, `x -> {callee}(…)`",
            )


def require_by_name(callee: str, op: type[Module], arguments: Sequence[Argument]) -> None:
    """Refuse what may only be given by name, as PyTorch's first parameter makes of ``Conv2d(3, 32, 3)``."""
    taken = op.positional()
    positional = [argument for argument in arguments if argument.name is None]
    excess = positional[len(taken) :]
    if not op.inferred or not excess:
        return
    help = [_leave_out(callee, op.inferred)]
    named = list(zip(op.parameters[len(taken) :], excess, strict=False))
    if all(_may_be_meant(argument.value, hints(op)[name]) for name, argument in named):
        spelled = ", ".join(f"{name} = {argument.span.text}" for name, argument in named)
        help.append(f"or write `{spelled}` if that is what is meant")
    raise Mistake(Diagnostic(_by_name(callee, taken), excess[0].span, help=tuple(help)))


def require_at_most(
    callee: str, taken: Sequence[str], others: Sequence[str], arguments: Sequence[Argument]
) -> None:
    """Refuse more by position than the parameters that stand before a `*`; after it are the others."""
    excess = [argument for argument in arguments if argument.name is None][len(taken) :]
    if excess and others:
        help = f"write `{others[0]} = {excess[0].span.text}` if that is what is meant"
        raise mistake(_by_name(callee, taken), excess[0].span, "", help)


def _by_name(callee: str, taken: Sequence[str]) -> str:
    what = f"{in_a_row(taken)} by position, the others by name" if taken else "its parameters by name"
    return f"`{callee}` takes {what}"


def _may_be_meant(value: object, hint: Any) -> bool:
    """Whether a value suits a parameter; an integer in the place of a float is more likely a size."""
    try:
        coerce(value, hint)
    except Unfit:
        return False
    return not (hint is float and type(value) is int)


def recall_inferred(error: Mistake, callee: str, op: type[Module], arguments: Sequence[Argument]) -> Mistake:
    """The mistake, with its likely reason where PyTorch's first parameter seems to be given by position.

    So it is where a parameter is given by position and by name as well.
    """
    by_position = [argument for argument in arguments if argument.name is None]
    taken = op.parameters[: len(by_position)]
    twice = [argument.head for argument in arguments if argument.name in taken]
    if not op.inferred or error.diagnostic.span not in twice:
        return error
    return Mistake(replace(error.diagnostic, help=(_leave_out(callee, op.inferred),)), error.around)


def recall_namesake(error: Mistake, function: str) -> Mistake:
    """The mistake, with what to write where torchvision's function of that name is meant."""
    if function not in NAMESAKES:
        return error
    help = (*error.diagnostic.help, NAMESAKES[function])
    return Mistake(replace(error.diagnostic, help=help), error.around)


def unapplied(op: type[Op]) -> str:
    """How a function is written with its parameters alone, where it is a module too."""
    names = [each.name for each in op.spellings if each.parameters and each.name[:1].isupper()]
    return f"with its parameters alone, to be applied later, it is `{names[0]}(…)`" if names else ""


def recall_piped(error: Mistake, piped: Sequence[Argument], written: Sequence[Argument]) -> Mistake:
    """The mistake, with its likely reason where it is at a tensor that is piped in and written again."""
    found = next((each for each in written if each.span == error.diagnostic.span), None)
    if found is None or error.diagnostic.help or all(found.value is not each.value for each in piped):
        return error
    help = (f"`{found.span.text}` is piped in as the first argument: leave it out here",)
    return Mistake(replace(error.diagnostic, help=help), error.around)


def is_parameter(value: object) -> bool:
    """Whether a value is one that parameters have: neither a callee nor something that holds tensors."""
    items: Any = value if isinstance(value, (list, tuple)) else (value,)
    return all(isinstance(item, (int, float, SymbolicDim, DType)) for item in items)


def tensor_first(callee: OperatorRef) -> Sequence[str]:
    """How a function is written that has a parameter in the place of its first tensor."""
    first = f"the tensor comes first: `{callee.name}(x, …)`, or `x -> {callee.name}(…)`"
    return (first if callee.op.parameters else "", unapplied(callee.op))


def _leave_out(callee: str, inferred: Sequence[str]) -> str:
    them = "it" if len(inferred) == 1 else "them"
    return f"`{callee}` infers {in_a_row(inferred)} from its input, leave {them} out"


def as_string(error: Mistake, argument: tree.Argument, op: type[Op]) -> Mistake:
    """The mistake, or where an unknown name is one of the strings that an operator takes, what to write."""
    expr = argument.value
    if not isinstance(expr, tree.Path) or len(expr.parts) != 1 or error.diagnostic.span != expr.span:
        return error
    word = expr.parts[0].text
    if not any(word in strings_in(hint) for hint in hints(op).values()):
        return error
    given = f'{argument.name.text} = "{word}"' if argument.name else f'"{word}"'
    return mistake(f"unknown name `{word}`", expr.span, "", f"write `{given}` if the string is meant")


def construct(callee: OperatorRef, bound: Mapping[str, Argument], span: Span) -> tuple[Op, dict[str, Span]]:
    """The operator with these parameters, and where each stands."""
    fixed = callee.spelling.fixed if callee.spelling else {}
    values: dict[str, Any] = {**callee.spelling.defaults, **fixed} if callee.spelling else {}
    meant = {name: argument for name, argument in bound.items() if name not in callee.op.ignored}
    for name, argument in meant.items():
        if name in fixed:
            raise mistake(f"`{callee.name}` has no parameter `{name}`", argument.head)
    values |= coerced(callee, meant, hints(callee.op))
    spans = {name: argument.span for name, argument in bound.items()}
    missing = [name for name in _required(callee.op) if name not in values]
    if missing:
        listed = " and ".join(f"`{name}`" for name in missing)
        raise mistake(f"`{callee.name}` needs {listed}", span)
    try:
        return callee.op(**values), spans
    except Refused as refusal:
        place = spans.get(refusal.about or "", span)
        raise mistake(refusal.message, place, "", refusal.help or "") from refusal


def coerced(callee: OperatorRef, bound: Mapping[str, Argument], types: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters' values, each in the form that its annotation asks for."""
    takes_list = any(operand.variadic for operand in callee.op.operands) and not callee.is_module
    help = f"the tensors stand in a list: `{callee.name}([a, b])`" if takes_list else ""
    return {
        name: _coerced(callee.name, name, argument, types[name], help) for name, argument in bound.items()
    }


def _coerced(callee: str, name: str, argument: Argument, hint: Any, instead_of_tensor: str) -> Any:
    try:
        value = coerce(argument.value, hint)
        _require_number_in_range(callee, name, value, argument.span)
        return value
    except Unfit as unfit:
        found, span = argument.value, argument.span
        wanted = f"must be {unfit}"
        for item in argument.items:
            if items_wanted(hint) and not _fits(item.value, hint):
                found, span = item.value, item.span
                wanted = f"must hold {items_wanted(hint)}"
                break
        if is_tensor(found):
            raise mistake(
                f"`{name}` of `{callee}` must be known at compile time, but this is a tensor",
                span,
                str(found.type),
                instead_of_tensor,
            ) from unfit
        if isinstance(found, SymbolicDim) and found is argument.value:
            # PyTorch's names mislead: the only number of `arange` is its end, and is called start.
            text = f"`{callee}` needs a number that is known at compile time here, not {in_words(found)}"
            raise mistake(text, span) from unfit
        text = f"`{name}` of `{callee}` {wanted}, not {in_words(found)}"
        raise mistake(text, span, "", _as_dtype(found, hint)) from unfit


def _as_dtype(value: object, hint: Any) -> str:
    """What to write for a function that casts, such as ``float``, in place of a dtype."""
    if not isinstance(value, OperatorRef) or value.spelling is None:
        return ""
    dtype = value.spelling.fixed.get("dtype")
    return f"write `{dtype}`" if isinstance(dtype, DType) and hint in (DType, DType | None) else ""


def _require_number_in_range(callee: str, name: str, value: object, span: Span) -> None:
    """A number beyond the widest dtype fits no tensor."""
    if not isinstance(value, (int, float)):
        return
    widest = DType.INT64 if isinstance(value, int) else DType.FLOAT32
    if not widest.holds(value):
        raise mistake(f"`{name}` of `{callee}` does not fit {widest}: it is {in_words(value)}", span)


def _fits(item: object, hint: Any) -> bool:
    """Whether a tuple of this item alone would do."""
    try:
        coerce((item,), hint)
    except Unfit:
        return False
    return True


@cache
def _required(op: type[Op]) -> list[str]:
    return [name for name in op.parameters if op.default(name) is REQUIRED]
