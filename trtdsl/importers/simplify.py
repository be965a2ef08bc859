"""Programs made plainer: what does nothing goes, and what nobody reads.

In: a :class:`~trtdsl.importers.program.Program` as a reader gives it.  Out: one that computes the same.
"""

from __future__ import annotations

import msgspec

from trtdsl.importers.program import Argument, Operation, Program, Ref, refs, renamed, rewritten

_NOTHING = frozenset(
    {
        "alias",
        "alpha_dropout",
        "clone",
        "contiguous",
        "detach",
        "detach_",
        "dropout",
        "dropout_",
        "feature_dropout",
        "feature_alpha_dropout",
        "lift_fresh",
        "lift_fresh_copy",
        "native_dropout",
    }
)
_CASTS = frozenset({"_to_copy", "to", "type_as"})
_SHAPES = frozenset({"expand", "expand_as", "_unsafe_view", "reshape", "view", "view_as"})
_PADS = frozenset({"pad", "constant_pad_nd"})


def simplify(program: Program) -> Program:
    """The program without operations that do nothing or that nobody reads."""
    return without_unread(without_nothing(program))


def without_nothing(program: Program) -> Program:
    """Without copies, dropout, casts to the type that a tensor has, and reshapes to the shape that it has."""
    names: dict[str, Argument] = {}
    kept: list[Operation] = []
    for operation in program.operations:
        operation = renamed(operation, names)
        if _does_nothing(operation, program):
            source = next(iter(operation.arguments.values()))
            names[operation.results[0]] = source
        else:
            kept.append(operation)
    return rewritten(program, kept, names)


def _does_nothing(operation: Operation, program: Program) -> bool:
    operand = next(iter(operation.arguments.values()), None)
    if not isinstance(operand, Ref) or len(operation.results) != 1:
        return False
    if operation.base in _NOTHING:
        return not operation.arguments.get("train")
    if operation.base in _PADS:
        return not any(each != 0 for each in _padding(operation))
    if operation.base not in _CASTS | _SHAPES:
        return False
    before, after = program.types.get(operand.value), program.types.get(operation.results[0])
    return before is not None and before == after


def _padding(operation: Operation) -> tuple[Argument, ...]:
    """By how much it pads, or crops where that is negative: the size may stay where the values move."""
    found = operation.arguments["pad"]
    assert isinstance(found, tuple)
    return found


def without_unread(program: Program) -> Program:
    """Without operations, constants and weights that no output depends on."""
    read = {value for _, argument in program.outputs for value in refs(argument)}
    kept: list[Operation] = []
    for operation in reversed(program.operations):
        if not read.isdisjoint(operation.results):
            kept.append(operation)
            read |= set(operation.operands)
    made = {result for operation in kept for result in operation.results}
    return msgspec.structs.replace(
        program,
        operations=tuple(reversed(kept)),
        weights={name: key for name, key in program.weights.items() if name in read},
        constants={name: array for name, array in program.constants.items() if name in read - made},
    )
