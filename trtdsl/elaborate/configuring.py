"""The first of two lists: what configures a module, or a plugin, before it gets its tensors.

In: an operator's name and the evaluated arguments of that list.  Out: the operator with its parameters, and
where each stands in the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtdsl.diagnostics import Span
from trtdsl.elaborate.arguments import (
    coerced,
    construct,
    match_arguments,
    recall_inferred,
    require_by_name,
    require_no_tensors,
)
from trtdsl.elaborate.mistakes import Mistake, mistake
from trtdsl.elaborate.values import Argument, OperatorRef
from trtdsl.ops.arguments import hints
from trtdsl.ops.base import Module, Op
from trtdsl.ops.refused import Refused


def configure(callee: OperatorRef, arguments: Sequence[Argument], span: Span) -> tuple[Op, dict[str, Span]]:
    """A module with its configuration, and where each of its parameters stands."""
    order = (callee.spelling and callee.spelling.parameters) or callee.op.parameters
    further = callee.op.further
    order = order[:1] if further else order
    inferred = callee.op.inferred if issubclass(callee.op, Module) else ()
    for argument in arguments:
        if argument.name in inferred:
            text = f"`{callee.name}` infers `{argument.name}` from its input, leave it out"
            raise mistake(text, argument.head)
    require_no_tensors(callee.name, arguments)
    if issubclass(callee.op, Module):
        require_by_name(callee.name, callee.op, arguments)
    by_name = (*callee.op.parameters, *callee.op.ignored)
    try:
        variadic = callee.op.variadic
        bound = match_arguments(
            callee.name, order, arguments, span, "parameter", variadic, by_name, any_name=bool(further)
        )
        return construct(callee, _with_further(callee, bound) if further else bound, span)
    except Mistake as error:
        if issubclass(callee.op, Module):
            raise recall_inferred(error, callee.name, callee.op, arguments) from error
        raise


def _with_further(callee: OperatorRef, bound: Mapping[str, Argument]) -> dict[str, Argument]:
    """The arguments, those that no parameter is named like gathered into the one that keeps them."""
    op = callee.op
    further = {name: a for name, a in bound.items() if name not in (*op.parameters, *op.ignored)}
    own = {name: argument for name, argument in bound.items() if name not in further}
    listed = coerced(callee, {name: a for name, a in own.items() if name == op.further}, hints(op))
    named = [(name, argument.value, argument.span) for name, argument in further.items()]
    named += [(name, value, own[op.further].span) for name, value in listed.get(op.further, ())]
    pairs: list[tuple[str, Any]] = []
    for name, value, span in named:
        if name in dict(pairs):
            raise mistake(f"`{name}` of `{callee.name}` is given twice", span)
        try:
            pairs.append((name, op.further_value(name, value)))
        except Refused as refusal:
            raise mistake(refusal.message, span) from refusal
    if not pairs:
        return own
    span = own[op.further].span if op.further in own else named[0][2]
    return {**own, op.further: Argument(tuple(pairs), span)}
