"""How long a dimension must be at least for the elements to exist that are taken of it by number.

In: a captured program, in which ``select(x, 1, -2)`` takes the last element but one.  Out: of each dimension
the size from which on all of them exist, with the line.  torch.export takes every size for 2 or more, and
checks no values of indices, so it narrows no range by either; a module that is called with less fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.lacking import innermost_span
from trtdsl.importers.program import Argument, Array, Frame, Operation, Program, Ref
from trtdsl.importers.tables import KEEPING_VALUES
from trtdsl.types import Dim, Symbol, bounds, evaluate, symbols
from trtdsl.types.relations import within

_BY_NUMBER = frozenset({"select", "select_copy", "select_scatter"})
_BY_TENSOR = frozenset(
    {
        "gather", "index_add", "index_copy", "index_fill", "index_select", "scatter", "scatter_add",
        "scatter_reduce", "take_along_dim",
    }
)  # fmt: skip
_BY_TENSORS = frozenset({"index", "index_put"})
_COUNTS = frozenset({"kthvalue", "topk"})
_REORDERING = frozenset({"flatten", "permute", "repeat", "squeeze", "transpose", "unflatten"})
"""Operations whose results have the values of what they are given in other places."""
_REFLECTIONS = frozenset({"reflection_pad1d", "reflection_pad2d", "reflection_pad3d"})


class Least(msgspec.Struct, frozen=True):
    """From which size on a dimension has all that is taken of it, and the line that takes the last."""

    size: int
    frames: tuple[Frame, ...] = ()


def least_sizes(program: Program, weight: Callable[[str], Array | None]) -> dict[str, Least]:
    """The dimensions whose ranges begin too low; ``weight`` gives the integers of a state dict's key.

    Raises :class:`~trtdsl.diagnostics.DiagnosticError` where no size in range has the element.
    """
    made = {result: each for each in program.operations for result in each.results}
    found: dict[str, Least] = {}
    for operation in program.operations:
        for size, wanted in _wanted(operation, program, lambda value: _ends(value, program, made, weight)):
            own = symbols(size)
            if len(own) != 1 or bounds(size)[0] >= wanted:
                continue
            (each,) = own
            least = _least(size, each, wanted, operation)
            if each.name not in found or found[each.name].size < least:
                found[each.name] = Least(least, operation.frames)
    return found


def raised(dims: Mapping[str, Dim], least: Mapping[str, Least]) -> dict[str, Dim]:
    """The dimensions of torch's symbols in ranges that begin at these sizes."""
    every = {each for dim in dims.values() for each in symbols(dim)}
    ranges = {each.name: _range(each, least.get(each.name)) for each in every}
    return {name: within(dim, ranges) for name, dim in dims.items()}


def _range(symbol: Symbol, least: Least | None) -> tuple[int, int, int]:
    low = max(symbol.minimum, least.size if least else 0)
    return low, max(symbol.optimum, low), symbol.maximum


def _least(size: Dim, symbol: Symbol, wanted: int, operation: Operation) -> int:
    """The smallest from which on a dimension's sizes all make another large enough."""
    found = symbol.maximum + symbol.step
    while found > symbol.minimum and evaluate(size, {symbol.name: found - symbol.step}) >= wanted:
        found -= symbol.step
    if found > symbol.maximum:
        message = f"what is taken here needs a dimension of at least {wanted}, but `{size}` is at most"
        help = (f"give a range of `{symbol}` that reaches further",)
        span = innermost_span(operation.frames)
        raise DiagnosticError(Diagnostic(f"{message} {bounds(size)[1]}", span, help=help))
    return found


def _wanted(
    operation: Operation, program: Program, ends: Callable[[Argument], tuple[int, int] | None]
) -> Iterator[tuple[Dim, int]]:
    """Sizes that an operation reads, each with what it must be at least."""
    given = operation.arguments
    source = given.get("self", given.get("input"))
    type = program.types.get(source.value) if isinstance(source, Ref) else None
    if type is None or not type.shape:
        return
    axis = given.get("dim")
    # ``unsqueeze`` counts one dimension more than there are.
    size = type.shape[axis] if isinstance(axis, int) and -type.rank <= axis < type.rank else 0
    match operation.base, given:
        case base, {"index": int(index)} if base in _BY_NUMBER:
            yield size, _reach(index, index)
        case base, {"index": Ref() as index} | {"indices": Ref() as index} if base in _BY_TENSOR:
            if found := ends(index):
                yield size, _reach(*found)
        case base, {"indices": tuple(indices)} if base in _BY_TENSORS:
            for each, own in zip(indices, _indexed(indices, type.shape, program), strict=False):
                if own is not None and (found := ends(each)):
                    yield own, _reach(*found)
        case base, {"k": int(count)} if base in _COUNTS:
            yield size, count
        case "narrow", {"start": int(start), "length": int(length)} if start >= 0:
            yield size, start + length
        case base, {"pad": tuple(pads)} | {"padding": tuple(pads)} if (
            base in _REFLECTIONS or given.get("mode") == "reflect"
        ):
            for number, pad in enumerate(pads):
                if isinstance(pad, int):
                    yield type.shape[-1 - number // 2], pad + 1
        case _:
            pass


def _indexed(indices: tuple[Any, ...], shape: tuple[Dim, ...], program: Program) -> Iterator[Dim | None]:
    """The dimension that each of several indices is into; a mask has several of its own."""
    axis = 0
    for each in indices:
        type = program.types.get(each.value) if isinstance(each, Ref) else None
        is_mask = type is not None and type.dtype.is_bool
        yield None if is_mask else shape[axis]
        axis += len(type.shape) if type is not None and is_mask else 1


def _reach(low: int, high: int) -> int:
    """How long a dimension is at least that has these elements, counted from either end."""
    return max(high + 1, -low)


def _ends(
    index: Argument,
    program: Program,
    made: Mapping[str, Operation],
    weight: Callable[[str], Array | None],
) -> tuple[int, int] | None:
    """The least and the greatest number of an index; None where it has none that are known."""
    while isinstance(index, Ref):
        array = program.constants.get(index.value)
        if array is None and index.value in program.weights:
            array = weight(program.weights[index.value])
        if array is not None:
            is_index = array.size and array.dtype.kind in "iu"
            return (int(array.min()), int(array.max())) if is_index else None
        operation = made.get(index.value)
        if operation is None or operation.base not in KEEPING_VALUES | _REORDERING:
            return None
        index = operation.arguments.get("self", operation.arguments.get("input"))
    return None
