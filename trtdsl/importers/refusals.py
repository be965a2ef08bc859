"""Operations that the language has, and refuses as they are used.

In: a program whose text is wrong.  Out: those of its operations that are wrong each by itself, with what the
language says of them: `adaptive_avg_pool2d` to a size that depends on the input's, say.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate
from trtdsl.importers.flat import flat
from trtdsl.importers.program import Operation, Program, Ref
from trtdsl.importers.translate import translate
from trtdsl.importers.write import write
from trtdsl.types import DType, TensorType, symbol


def refused(program: Program) -> Iterator[tuple[Operation, str]]:
    """Each operation that the language refuses, with its reason."""
    for operation in program.operations:
        reason = _reason(_alone(program, operation))
        if reason:
            yield operation, reason


def _alone(program: Program, operation: Operation) -> Program:
    """A program of one operation, which is given all that it reads but weights and constants."""
    stored = {*program.weights, *program.constants}
    given = [value for value in dict.fromkeys(operation.operands) if value not in stored]
    types = {value: program.types[value] for value in given}
    results = [value for value in operation.results if value in program.types]
    outputs = tuple((f"output{number}", Ref(value)) for number, value in enumerate(results))
    names = {value: f"operand{number}" for number, value in enumerate(given)}
    for each in program.symbols:
        # Of ``H // 4`` alone nobody knows what H is, and an argument may be a size that no operand has.
        dim = symbol(each.name, each.minimum, each.optimum, each.maximum, each.step)
        types[f"size of {each.name}"] = TensorType(DType.FLOAT32, (dim,))
        names[f"size of {each.name}"] = f"size_{each.name}"
    return msgspec.structs.replace(
        program,
        inputs=types,
        operations=(operation,),
        outputs=outputs,
        input_names=names,
        values={},
    )


def _reason(program: Program) -> str:
    """What the language says against a program."""
    try:
        elaborate(write(flat(program, translate(program))), "<operation>")
    except DiagnosticError as error:
        return next((each.message for each in error.diagnostics if each.severity == "error"), "")
    return ""
