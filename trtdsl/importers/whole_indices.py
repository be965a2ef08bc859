"""Indices that take every element in order, as what they are: dimensions of size 1 between the others.

In: a program.  Out: one in which such an index is ``unsqueeze``, as masks are made by transformers::

    mask[arange(N)[:, None, None, None], arange(S)]     # mask: [N, S]
    mask.unsqueeze(1).unsqueeze(2)
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from trtdsl.importers.program import Argument, Operation, Program, Ref
from trtdsl.types import Dim, TensorType

_KEEPING = frozenset({"unsqueeze", "to", "_to_copy"})
"""What leaves the numbers of a range in their order."""


def with_whole_indices(program: Program) -> Program:
    """The program with indices by whole ranges as views."""
    made = {result: each for each in program.operations for result in each.results}
    operations: list[Operation] = []
    types = dict(program.types)
    for operation in program.operations:
        new = _new_axes(operation, program, made)
        if new is None:
            operations.append(operation)
            continue
        source = operation.arguments["self"]
        assert isinstance(source, Ref)
        value, result = source.value, operation.results[0]
        for number, axis in enumerate(new):
            shape = list(types[value].shape)
            shape.insert(axis, 1)
            name = result if number == len(new) - 1 else f"{result}_whole{number}"
            types[name] = TensorType(types[value].dtype, tuple(shape))
            operations.append(
                Operation(
                    "unsqueeze", {"self": Ref(value), "dim": axis}, (name,), operation.calls, operation.frames
                )
            )
            value = name
    return msgspec.structs.replace(program, operations=tuple(operations), types=types)


def _new_axes(operation: Operation, program: Program, made: Mapping[str, Operation]) -> list[int] | None:
    """The dimensions of size 1 that the index adds, at least one; None where it is another one."""
    indices, source = operation.arguments.get("indices"), operation.arguments.get("self")
    if operation.base != "index" or not isinstance(indices, tuple) or not isinstance(source, Ref):
        return None
    sizes = program.types[source.value].shape
    ranks = [len(program.types[each.value].shape) for each in indices if isinstance(each, Ref)]
    if len(ranks) != len(indices):
        return None
    axes: list[int] = []
    for index, size in zip(indices, sizes, strict=False):
        axis = _axis(index, size, program, made)
        if axis is None:
            return None
        axes.append(max(ranks) + axis)
    new = [axis for axis in range(max(ranks)) if axis not in axes]
    return new if new and axes == sorted({*axes}) else None


def _axis(index: Argument, size: Dim, program: Program, made: Mapping[str, Operation]) -> int | None:
    """The dimension, counted from the end, along which an index is 0, 1, … up to a size; all others are 1."""
    assert isinstance(index, Ref)
    shape = program.types[index.value].shape
    wide = [axis - len(shape) for axis, each in enumerate(shape) if each != 1]
    if len(wide) != 1 or shape[wide[0]] != size or not _counts(index, program, made):
        return None
    return wide[0]


def _counts(index: Ref, program: Program, made: Mapping[str, Operation]) -> bool:
    """Whether a tensor's numbers are 0, 1, … in order."""
    array = program.constants.get(index.value)
    if array is not None:
        return bool((array.reshape(-1) == np.arange(array.size)).all())
    operation = made.get(index.value)
    if operation is None:
        return False
    if operation.base == "arange":
        return (operation.arguments.get("start", 0), operation.arguments.get("step", 1)) == (0, 1)
    inner = operation.arguments.get("self")
    return operation.base in _KEEPING and isinstance(inner, Ref) and _counts(inner, program, made)
