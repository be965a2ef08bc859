"""Operations that the language lacks, told all at once.

In: the operations of a program that have no translation, each with the reason.  Out: one message for each
kind, with its count, the modules and the lines of the user's Python.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.diagnostics import Diagnostic, Origin
from trtdsl.importers.places import is_inside_torch, span_of
from trtdsl.importers.program import Frame, Operation

SHOWN = 3
"""The places of an operation that are shown; the others are counted."""


def lacking(missing: Sequence[tuple[Operation, str]]) -> list[Diagnostic]:
    """One message for each operation that the language lacks."""
    together: dict[tuple[str, str], list[Operation]] = {}
    for operation, reason in missing:
        together.setdefault((operation.name, reason), []).append(operation)
    return [_message(name, reason, operations) for (name, reason), operations in together.items()]


def at_run_time(what: str, frames: Sequence[Frame]) -> Diagnostic:
    """That sizes or Python's own flow depend on a tensor's values, with the line where they do."""
    own = [frame for frame in frames if not is_inside_torch(frame.file)]
    span = span_of(own[-1].file, own[-1].line) if own else None
    help = (
        "`torch.where` chooses, `masked_fill` and products with masks leave out; sizes are fixed when the"
        " network is built",
    )
    return Diagnostic(f"{what} depends here on a tensor's values at run time", span, help=help)


def _message(name: str, reason: str, operations: Sequence[Operation]) -> Diagnostic:
    times = "" if len(operations) == 1 else f" ({len(operations)} times)"
    message = f"`{name}`{times} cannot be imported: {reason}"
    places = list(dict.fromkeys((_frame(each), _module(each)) for each in operations))
    shown = [
        Origin(span, module)
        for frame, module in places[:SHOWN]
        if frame is not None and (span := span_of(frame.file, frame.line)) is not None
    ]
    modules = [module for _, module in places if module]
    help = () if shown else tuple(modules[:SHOWN])
    if len(places) > SHOWN:
        help = (*help, f"and at {len(places) - SHOWN} more places")
    return Diagnostic.at(message, shown, help) if shown else Diagnostic(message, help=help)


def _frame(operation: Operation) -> Frame | None:
    """The innermost line outside of PyTorch."""
    own = [frame for frame in operation.frames if not is_inside_torch(frame.file)]
    return next(reversed(own), next(reversed(operation.frames), None))


def _module(operation: Operation) -> str:
    return f"in `{operation.calls[-1].path}`, {operation.calls[-1].name}" if operation.calls else ""
