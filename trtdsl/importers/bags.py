"""Bags of embeddings, given as the rows of a matrix again.

In: a program.  Out: one in which ``embedding_bag`` is given the rows that PyTorch laid out one after the
other.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trtdsl.importers.program import Argument, Operation, Program, Ref


def with_bags(program: Program) -> Program:
    """The program with bags that are the rows of a matrix as that matrix."""
    made = {result: operation for operation in program.operations for result in operation.results}
    operations = [
        _with_rows(program, operation, made) if operation.name == "embedding_bag.padding_idx" else operation
        for operation in program.operations
    ]
    return msgspec.structs.replace(program, operations=tuple(operations))


_BAGS = ("sum", "mean", "max")


def _with_rows(program: Program, operation: Operation, made: Mapping[str, Operation]) -> Operation:
    """``embedding_bag(input, weight)``; the operation itself where the bags are of several lengths."""
    given = operation.arguments
    ids, scales = (_flattened(given.get(name), made) for name in ("indices", "per_sample_weights"))
    offsets = made.get(given["offsets"].value) if isinstance(given["offsets"], Ref) else None
    if ids is None or offsets is None or offsets.base != "arange" or offsets.arguments.get("start", 0) != 0:
        return operation
    rows = program.types[ids.value].shape
    if len(rows) != 2 or offsets.arguments.get("step", 1) != rows[1]:
        return operation
    mode, padding = given["mode"], given.get("padding_idx")
    assert isinstance(mode, int)
    arguments: dict[str, Argument] = {
        "input": ids,
        "weight": given["weight"],
        "mode": _BAGS[mode],
        "per_sample_weights": scales,
        "padding_idx": padding if padding != -1 else None,
    }
    return Operation("embedding_bag", arguments, operation.results[:1], operation.calls, operation.frames)


def _flattened(value: Argument, made: Mapping[str, Operation]) -> Ref | None:
    """What a tensor of one dimension was before."""
    operation = made.get(value.value) if isinstance(value, Ref) else None
    if operation is None or operation.base not in ("reshape", "view", "flatten"):
        return None
    source = operation.arguments["self"]
    return source if isinstance(source, Ref) else None
