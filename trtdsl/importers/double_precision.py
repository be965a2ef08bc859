"""Programs that compute in float64, which TensorRT lacks.

In: a program as it was read, of a module after ``module.double()``, or with ``x.double()`` inside.  Out: one
complaint, where the numbers become float64, and what to write instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Origin
from trtdsl.importers.lacking import SHOWN, innermost_span
from trtdsl.importers.program import Operation, Program, refs
from trtdsl.importers.simplify import without_unread
from trtdsl.weights.file import listing

FLOAT64 = "float64"
OF_MODULE = "`module.float()` makes the module's parameters and buffers float32"
_OF_TENSORS = "make the tensors that the module keeps beside its buffers float32, with `.float()`"
_OF_CODE = "write `.float()` for `.double()`, and `torch.float32` for `torch.float64`"


def require_no_float64(program: Program) -> None:
    """Raises :class:`~trtdsl.diagnostics.DiagnosticError` where an output depends on float64."""
    # A number of float64 beside a tensor of fewer digits is rounded to a constant already.
    wide = {value for value, dtype in program.lacked.items() if dtype == FLOAT64} - program.constants.keys()
    if not wide:
        return
    program = without_unread(program)
    reading = [each for each in program.operations if not wide.isdisjoint(each.operands)]
    making = [each for each in program.operations if not wide.isdisjoint(each.results)]
    returned = {value for _, output in program.outputs for value in refs(output)} & wide
    if not (reading or making or returned):
        return
    begun = [each for each in making if wide.isdisjoint(each.operands)]
    help = _help(program, wide, returned, is_begun=bool(begun))
    message = "the module computes in float64, which TensorRT lacks"
    raise DiagnosticError(Diagnostic.at(message, _places(begun or reading), help))


def _help(program: Program, wide: set[str], returned: set[str], *, is_begun: bool) -> tuple[str, ...]:
    """What makes float32 of that which a module keeps, and of what it casts and makes itself."""
    made = {value for each in program.operations for value in each.results}
    read = {value for each in program.operations for value in each.operands} | returned
    stored = (read & wide) - made
    keys = [key for value, key in program.weights.items() if value in stored]
    tensors = stored - program.weights.keys()
    found: list[str] = []
    # Of a buffer no line is known that made it.
    lines = {value: program.origins[value][1] for value in tensors if value in program.origins}
    if keys or not all(lines.values()):
        found.append(OF_MODULE + (f": {listing(keys, SHOWN)}" if keys else ""))
    if tensors - program.origins.keys():
        found.append(_OF_TENSORS)
    if is_begun or any(lines.values()):
        found.append(_OF_CODE)
    return tuple(found)


def _places(operations: Sequence[Operation]) -> list[Origin]:
    """The first of the lines of these operations."""
    found: dict[tuple[str, int], Origin] = {}
    for each in operations:
        span = innermost_span(each.frames)
        if span is not None:
            found.setdefault((span.source.name, span.line), Origin(span))
        if len(found) == SHOWN:
            break
    return [*found.values()]
