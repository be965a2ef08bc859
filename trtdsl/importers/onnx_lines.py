"""What the line of the source says of an operation that export has in other words.

In: an operation of a file of PyTorch's exporter, as export has it.  Out: the operation as the line has it,
which computes the same::

    y = x.reshape(batch, -1, width)     view(x, (N, 32, 16))     reshape(x, (N, -1, 16))
    y = x.flatten(0, 1)                 view(x, (2 * N, 16))     flatten(x, 0, 1)
    a, b = x.chunk(2, dim = 1)          split(x, 4, 1)           chunk(x, 2, 1)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trtdsl.importers.program import Argument, Operation, Ref
from trtdsl.types import Dim, TensorType, product

Types = Mapping[str, TensorType]


def as_written(operation: Operation, types: Types) -> Operation:
    """The operation in the words of its line."""
    given = operation.arguments
    if operation.name == "split.Tensor" and _is_chunked(operation, types):
        chunks: dict[str, Argument] = {"chunks": len(operation.results), "dim": given["dim"]}
        return _said(operation, "chunk", {"self": given["self"], **chunks})
    if operation.name == "avg_pool2d" and _is_divided(operation, types):
        size = types[operation.results[0]].shape[2:]
        return _said(operation, "adaptive_avg_pool2d", {"self": given["self"], "output_size": size})
    if operation.name == "as_strided":
        shape = types[operation.results[0]].shape
        operation = _said(operation, "reshape", {"self": given["self"], "shape": shape})
    if operation.base in _RESHAPES:
        flat = _flattened(operation, types)
        return _with_open_size(operation) if flat is None else _said(operation, "flatten", flat)
    return operation


def line_of(operation: Operation) -> str:
    """The line of the source that an operation is on."""
    return operation.frames[-1].code if operation.frames else ""


def _said(operation: Operation, name: str, arguments: Mapping[str, Argument]) -> Operation:
    return msgspec.structs.replace(operation, name=name, arguments=arguments)


# --- Pieces and pools -------------------------------------------------------------------------------------


def _is_chunked(operation: Operation, types: Types) -> bool:
    """Whether what export has as pieces of a size is what the source calls a number of them."""
    given = operation.arguments
    source, dim, size = given["self"], given["dim"], given["split_size"]
    if "chunk(" not in line_of(operation) or not isinstance(source, Ref) or not isinstance(dim, int):
        return False
    whole, count = types[source.value].shape[dim], len(operation.results)
    return isinstance(whole, int) and isinstance(size, int) and -(-whole // count) == size


def _is_divided(operation: Operation, types: Types) -> bool:
    """Whether a pool's windows lie side by side over a whole image, as export has an adaptive pool."""
    pool = operation.arguments
    kernel, source = pool["kernel_size"], pool["self"]
    if "adaptive_avg_pool2d(" not in line_of(operation) or not isinstance(kernel, tuple):
        return False
    if pool["stride"] not in ((), kernel) or pool["padding"] != (0, 0) or not isinstance(source, Ref):
        return False
    sizes = zip(types[source.value].shape[2:], types[operation.results[0]].shape[2:], kernel, strict=True)
    return all(before == after * length for before, after, length in sizes)


# --- Dimensions that are made one ---------------------------------------------------------------------------


def _flattened(operation: Operation, types: Types) -> Mapping[str, Argument] | None:
    """The arguments of the ``flatten`` that a reshape was: one that its line has, or a usual one where no
    line has a reshape."""
    source, result = operation.arguments["self"], types.get(operation.results[0])
    if not isinstance(source, Ref) or source.value not in types or result is None:
        return None
    shape, line = types[source.value].shape, line_of(operation)
    last = len(shape) - 1
    fits = [
        (start, end)
        for end in range(last, 0, -1)
        for start in range(end)
        if (*shape[:start], product(shape[start : end + 1]), *shape[end + 1 :]) == result.shape
    ]
    said = [each for call in _calls_of("flatten", line) if (each := _ends(call, len(shape))) in fits]
    if not said and "flatten(" in line:
        said = fits
    elif not said and not re.search(r"\b(reshape|view)", line) and -1 not in _sizes(operation):
        said = [(start, end) for start, end in fits if end == last and start < 2]
    if not said:
        return None
    start, end = said[0]
    return {"self": source, "start_dim": start, "end_dim": end if end < last else -1}


def _sizes(operation: Operation) -> tuple[Any, ...]:
    found = operation.arguments[_RESHAPES[operation.base]]
    return found if isinstance(found, tuple) else ()


def _ends(call: ast.Call, rank: int) -> tuple[int, int] | None:
    """The first and last dimension that a call of ``flatten`` names, which may be given the tensor too."""
    given = [_number(each) for each in call.args]
    given = given[1:] if given[:1] == [None] else given
    slots = dict(zip(("start_dim", "end_dim"), given, strict=False))
    slots |= {each.arg or "": _number(each.value) for each in call.keywords}
    start, end = slots.get("start_dim", 0), slots.get("end_dim", -1)
    if start is None or end is None or not (-rank <= start < rank and -rank <= end < rank):
        return None
    return start % rank, end % rank


# --- Sizes that are left open -----------------------------------------------------------------------------

_RESHAPES: Mapping[str, str] = {"view": "size", "_unsafe_view": "size", "reshape": "shape"}


def _with_open_size(operation: Operation) -> Operation:
    """A reshape with the -1 of its line, for which export has the size that it stands for."""
    slot = _RESHAPES[operation.base]
    sizes = _sizes(operation)
    if not sizes or -1 in sizes or 0 in sizes:
        return operation
    places = {_open_place(each, sizes) for each in _reshapes_of(line_of(operation)) if _fits(each, sizes)}
    place = places.pop() if len(places) == 1 else None
    if place is None:
        return operation
    opened = (*sizes[:place], -1, *sizes[place + 1 :])
    return _said(operation, operation.name, {**operation.arguments, slot: opened})


def _reshapes_of(line: str) -> Iterator[Sequence[ast.expr]]:
    """The sizes that each reshape of a line is given, where the line has it as a whole."""
    for call in _calls_of("reshape|view", line):
        match call.args:
            case [*_, ast.Tuple(elts) | ast.List(elts)]:
                yield elts
            case found:
                yield found


def _calls_of(names: str, line: str) -> Iterator[ast.Call]:
    """The arguments of each call of a line of something of these names, as a call, where the line has it as a
    whole."""
    for match in re.finditer(rf"\b(?:{names})\(", line):
        depth = 1
        for stop in range(match.end(), len(line)):
            depth += {"(": 1, ")": -1}.get(line[stop], 0)
            if depth == 0:
                try:
                    call = ast.parse(f"f({line[match.end() : stop]})", mode="eval").body
                except SyntaxError:
                    break
                assert isinstance(call, ast.Call)
                yield call
                break


def _number(expression: ast.expr) -> int | None:
    try:
        found = ast.literal_eval(expression)
    except ValueError:
        return None
    return found if isinstance(found, int) else None


def _places(sizes: Sequence[ast.expr], rank: int) -> Iterator[tuple[int, ast.expr]]:
    """The dimension of each size that stands before or after the one that is several."""
    several = next((place for place, each in enumerate(sizes) if isinstance(each, ast.Starred)), len(sizes))
    for place, each in enumerate(sizes):
        if not isinstance(each, ast.Starred):
            yield place if place < several else place - len(sizes) + rank, each


def _fits(written: Sequence[ast.expr], sizes: Sequence[Dim]) -> bool:
    """Whether sizes may be those that are written."""
    several = [each for each in written if isinstance(each, ast.Starred)]
    rank = len(sizes)
    if len(several) > 1 or (len(written) != rank if not several else len(written) > rank + 1):
        return False
    numbers = [(place, _number(each)) for place, each in _places(written, rank)]
    return all(each in (None, -1, sizes[place]) for place, each in numbers)


def _open_place(written: Sequence[ast.expr], sizes: Sequence[Dim]) -> int | None:
    return next((place for place, each in _places(written, len(sizes)) if _number(each) == -1), None)
