"""Operations that the language lacks, told all at once.

In: the operations of a program that have no translation, each with the reason.  Out: one message for each
kind, with its count, the modules and the lines of the user's Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trtdsl.diagnostics import Diagnostic, Origin, Span, counted
from trtdsl.importers.places import is_inside_torch, span_of
from trtdsl.importers.program import Frame, Operation

SHOWN = 3
"""The lines of an operation that are shown; the others are counted."""
_PARAMETRIZED = re.compile(r"(?:(?P<module>.+)\.)?parametrizations\.(?P<weight>\w+)\.\d+")
"""Where `torch.nn.utils.parametrize` computes a weight: ``layers.0.parametrizations.weight.0``."""


def lacking(missing: Sequence[tuple[Operation, str]]) -> list[Diagnostic]:
    """One message for each operation that the language lacks."""
    together: dict[tuple[str, str], list[Operation]] = {}
    for operation, reason in missing:
        together.setdefault((operation.name, reason), []).append(operation)
    return [_message(name, reason, operations) for (name, reason), operations in together.items()]


def at_run_time(what: str, frames: Sequence[Frame]) -> Diagnostic:
    """That sizes or Python's own flow depend on a tensor's values, with the line where they do."""
    help = (
        "`torch.where` chooses, `masked_fill` and products with masks leave out; sizes are fixed when the"
        " network is built",
    )
    message = f"{what} depends here on a tensor's values at run time"
    return Diagnostic(message, innermost_span(frames), help=help)


def picked(what: str, frames: Sequence[Frame]) -> Diagnostic:
    """That a size is how many elements a mask picks, with the line where it picks them."""
    help = (
        "keep all elements: `torch.where(mask, x, 0)` for `x[mask]`, and for its mean"
        " `torch.where(mask, x, 0).sum() / mask.sum()`",
        "what is written back by the same mask is imported, as `x[mask] = 2 * x[mask]`",
    )
    message = f"{what} is here how many elements a mask picks, which only the running network knows"
    return Diagnostic(message, innermost_span(frames), help=help)


def not_of_sizes(size: str, frames: Sequence[Frame]) -> Diagnostic:
    """That the language cannot compute a number of sizes, with the line where it is."""
    help = ("the language has `+ - * // %`, `max` and `min` of sizes, and all of its functions of tensors",)
    return Diagnostic(f"the language cannot say the size `{size}`", innermost_span(frames), help=help)


def of_complex(name: str, frames: Sequence[Frame]) -> Diagnostic:
    """That an operation has a complex number beside it, with the line."""
    help = ("write it with the real and the imaginary parts, `torch.complex(-z.imag, z.real)` for `z * 1j`",)
    return Diagnostic(f"`{name}` with a complex number cannot be imported", innermost_span(frames), help=help)


def written_in_place(what: str, frames: Sequence[Frame]) -> Diagnostic:
    """That a write in place cannot be followed, with the line."""
    help = ("compute new tensors instead: `x = x + 1` for `x += 1`, `torch.cat` or `torch.where` for slices",)
    message = f"what the module writes in place cannot be followed: {what}"
    return Diagnostic(message, innermost_span(frames), help=help)


def in_a_map(frames: Sequence[Frame]) -> Diagnostic:
    """That taking ``torch.vmap`` apart makes a number of a dimension, with the line."""
    help = ("compute for all at once instead: `matmul` and `einsum` take dimensions in front",)
    message = "what `torch.vmap` runs here makes a number of a dimension"
    return Diagnostic(message, innermost_span(frames), help=help)


def innermost_span(frames: Sequence[Frame]) -> Span | None:
    """The innermost line outside of PyTorch."""
    own = [frame for frame in frames if not is_inside_torch(frame.file)]
    return span_of(own[-1].file, own[-1].line) if own else None


def _message(name: str, reason: str, operations: Sequence[Operation]) -> Diagnostic:
    times = "" if len(operations) == 1 else f" ({len(operations)} times)"
    message = f"`{name}`{times} cannot be imported: {reason}"
    by_line: dict[Frame | None, list[str]] = {}
    for operation in operations:
        by_line.setdefault(_frame(operation), []).append(_module(operation))
    places = [
        Origin(span, _modules(modules))
        for frame, modules in by_line.items()
        if frame is not None and (span := span_of(frame.file, frame.line)) is not None
    ]
    advice = _parametrized(operations)
    if not places:
        return Diagnostic(message, help=(*filter(None, map(_modules, by_line.values())), *advice))
    more = len(places) - SHOWN
    further = (f"and on {counted(more, 'more line')}",) if more > 0 else ()
    return Diagnostic.at(message, places[:SHOWN], (*further, *advice))


def _parametrized(operations: Sequence[Operation]) -> tuple[str, ...]:
    """How to keep a weight that is computed by what cannot be imported."""
    for operation in operations:
        for call in operation.calls:
            if match := _PARAMETRIZED.fullmatch(call.path):
                module = f'module.get_submodule("{match["module"]}")' if match["module"] else "module"
                removed = f'parametrize.remove_parametrizations({module}, "{match["weight"]}")'
                return (f"`torch.nn.utils.{removed}` keeps the weight as it is now",)
    return ()


def _modules(modules: Sequence[str]) -> str:
    """The first of the modules that came to a line, and how many others did."""
    known = list(dict.fromkeys(filter(None, modules)))
    others = f" and {len(known) - 1} more" if len(known) > 1 else ""
    return f"in {known[0]}{others}" if known else ""


def _frame(operation: Operation) -> Frame | None:
    """The innermost line outside of PyTorch."""
    own = [frame for frame in operation.frames if not is_inside_torch(frame.file)]
    return next(reversed(own), next(reversed(operation.frames), None))


def _module(operation: Operation) -> str:
    return f"`{operation.calls[-1].path}` ({operation.calls[-1].name})" if operation.calls else ""
