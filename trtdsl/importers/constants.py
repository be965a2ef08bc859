"""Tensors that no state dict holds: written where they are short, else in a file beside the text.

In: a program with the values of what depends on neither inputs nor weights.  Out: a program whose
operations make those values where few operators do it, and constants for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from trtdsl.importers.program import Array, Operation, Program, refs

LONGEST_EXPRESSION = 4
"""Operations that may make a constant in the text; what takes more is in the file beside it."""

_MAKERS = frozenset({"arange", "full", "ones", "zeros", "linspace", "eye", "tril", "triu", "scalar_tensor"})


def place_constants(program: Program, translatable: Iterable[str]) -> Program:
    """Drop the operations that make each constant that is given by its values, and the values of the others.

    ``translatable`` are the names of the operations that the language has.
    """
    known = program.constants
    made = {result: operation for operation in program.operations for result in operation.results}
    names = frozenset(translatable)
    constant = {*program.origins, *program.constants}
    wanted = [value for value in _read_by_others(program, constant) if value in known]
    kept: dict[str, Array] = {}
    for value in wanted:
        cone = _cone(value, made)
        if value not in made or not _is_short(cone, known, names):
            kept[value] = known[value]
    operations = [operation for operation in program.operations if kept.keys().isdisjoint(operation.results)]
    sources = {value: array for value, array in known.items() if value not in made}
    return msgspec.structs.replace(program, operations=tuple(operations), constants={**sources, **kept})


def _read_by_others(program: Program, constant: set[str]) -> list[str]:
    """The constants that something else reads, or an output."""
    found = dict.fromkeys(value for _, argument in program.outputs for value in refs(argument))
    for operation in program.operations:
        if not constant.issuperset(operation.results):
            found |= dict.fromkeys(operation.operands)
    return [value for value in found if value in constant]


def _cone(value: str, made: Mapping[str, Operation]) -> list[Operation]:
    """The operations that make a value."""
    found: dict[str, Operation] = {}
    waiting = [value]
    while waiting:
        operation = made.get(waiting.pop())
        if operation and operation.results[0] not in found:
            found[operation.results[0]] = operation
            waiting += operation.operands
    return list(found.values())


def _is_short(cone: list[Operation], known: Mapping[str, Array], names: frozenset[str]) -> bool:
    makers = [operation for operation in cone if not operation.operands]
    return (
        len(cone) <= LONGEST_EXPRESSION
        and all(operation.base in names and not operation.base.endswith("_") for operation in cone)
        and all(operation.base in _MAKERS for operation in makers)
        and all(value in {r for o in cone for r in o.results} for o in cone for value in o.operands)
    )
