"""Lists of tensors that grow from layer to layer, as DenseNet's.

In: a program.  Out: one in which a layer that begins by joining ever more tensors is given them joined, and
in which what was joined before is joined no second time: ``cat([a, b, c])`` after ``cat([a, b])`` is
``cat([ab, c])``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trtdsl.importers.program import Argument, Call, Operation, Program, Ref, renamed, rewritten, with_refs


def with_growing_lists(program: Program) -> Program:
    """The program with such lists joined step by step, outside the layers that read them."""
    return _joined_once(_hoisted(program))


def _hoisted(program: Program) -> Program:
    """The first operation of a call moved in front of it, where it joins what the call is given.

    That is done for classes whose calls are given different numbers of tensors.
    """
    firsts = _first_joins(program.operations)
    counts: dict[str, set[int]] = {}
    for call, operation in firsts.items():
        counts.setdefault(call.kind, set()).add(len(operation.operands))
    moved = {id(operation) for call, operation in firsts.items() if len(counts[call.kind]) > 1}
    operations = tuple(
        msgspec.structs.replace(each, calls=each.calls[:-1]) if id(each) in moved else each
        for each in program.operations
    )
    return msgspec.structs.replace(program, operations=operations)


def _first_joins(operations: Sequence[Operation]) -> dict[Call, Operation]:
    """Of each call its first operation, where that joins all that the call reads of the outside."""
    joining = {each.calls[-1] for each in operations if each.base == "cat" and each.calls}
    if not joining:
        return {}
    inside: dict[Call, list[Operation]] = {}
    for operation in operations:
        for call in joining.intersection(operation.calls):
            inside.setdefault(call, []).append(operation)
    found: dict[Call, Operation] = {}
    for call, members in inside.items():
        first = members[0]
        if first.base != "cat" or not first.calls or first.calls[-1] != call:
            continue
        made = {result for each in members for result in each.results}
        joined = set(first.operands)
        read = {value for each in members[1:] for value in each.operands}
        if joined.isdisjoint(made) and joined.isdisjoint(read):
            found[call] = first
    return found


def _joined_once(program: Program) -> Program:
    known: dict[tuple[Argument, ...], str] = {}
    names: dict[str, Argument] = {}
    operations: list[Operation] = []
    for original in program.operations:
        operation = renamed(original, names)
        tensors = original.arguments.get("tensors")
        if operation.base != "cat" or not isinstance(tensors, tuple):
            operations.append(operation)
            continue
        dim = operation.arguments.get("dim", 0)
        tensors = _without_empty(with_refs(tensors, names), program)
        operation = msgspec.structs.replace(operation, arguments={**operation.arguments, "tensors": tensors})
        if len(tensors) == 1 and isinstance(tensors[0], Ref):
            names[operation.results[0]] = tensors[0]
            continue
        before = known.get((dim, *tensors[:-1]))
        known[(dim, *tensors)] = operation.results[0]
        if before is not None and len(tensors) > 2:
            arguments = {**operation.arguments, "tensors": (Ref(before), tensors[-1])}
            operation = msgspec.structs.replace(operation, arguments=arguments)
        operations.append(operation)
    return rewritten(program, operations, names)


def _without_empty(tensors: tuple[Argument, ...], program: Program) -> tuple[Argument, ...]:
    """``cat`` takes empty tensors of one dimension beside any others, as caches begin with."""
    types = [program.types.get(each.value) if isinstance(each, Ref) else None for each in tensors]
    if all(type is None or type.rank == 1 for type in types):
        return tensors
    return tuple(
        each for each, type in zip(tensors, types, strict=True) if type is None or type.shape != (0,)
    )
