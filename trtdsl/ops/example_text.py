"""The operators' examples as statements of the language, which can be typed in.

In: ``to(float16)(float32[N, 8]) -> float16[N, 8]``, as a class states it.  Out::

    input x: float32[N, 8]
    y = to(x, float16)  # float16[N, 8]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from trtdsl.ops.base import Module, Op

_TYPE = re.compile(r"\b\w+\[[^\]]*\]")


def statements(op: type[Op], example: str) -> list[str]:
    """An example of an operator: its inputs, and the call with the types of its results after it."""
    name, parameters, operands, results = _split(example)
    inputs, values = _inputs(operands)
    given = list(_arguments(op, values))
    if op.in_two_lists:
        call = f"{name}({parameters})({', '.join(given)})"
    elif issubclass(op, Module):
        call = f"layer: {name}({parameters})" + (f"({', '.join(given)})" if given else "")
    else:
        call = f"{name}({', '.join(filter(None, [*given, parameters]))})"
    return [*inputs, _result(call, results)]


def function_statements(example: str) -> list[str]:
    """An example of a function that takes a module's weights: a call with types in place of tensors."""
    call, _, results = example.partition(" -> ")
    inputs, (called,) = _inputs([call])
    return [*inputs, _result(called, results)]


def _split(example: str) -> tuple[str, str, list[str], str]:
    """The name, the parameters as they are written, each operand, and the results."""
    call, _, results = example.partition(" -> ")
    name, lists = call.partition("(")[0], _parts(call[call.index("(") :], ")", with_end=True)
    first, *second = [each.strip()[1:-1] for each in lists]
    parameters, operands = (first, second[0]) if second else ("", first)
    return name, parameters, [each.strip() for each in _parts(operands, ",") if each.strip()], results


def _parts(text: str, end: str, with_end: bool = False) -> list[str]:
    """The text cut at a character that stands outside of, or closes, all brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([") - (char in ")]")
        if char == end and depth == 0:
            parts[-1] += char if with_end else ""
            parts.append("")
        else:
            parts[-1] += char
    return [part for part in parts if part] if with_end else parts


def _inputs(operands: Sequence[str]) -> tuple[list[str], list[str]]:
    """A declaration for each type in the operands, and the operands with names in place of types."""
    types = [type for operand in operands for type in _TYPE.findall(operand)]
    names = ["x"] if len(types) == 1 else [chr(ord("a") + index) for index in range(len(types))]
    left = iter(names)
    values = [_TYPE.sub(lambda _: next(left), operand) for operand in operands]
    return [f"input {name}: {type}" for name, type in zip(names, types, strict=True)], values


def _arguments(op: type[Op], values: Sequence[str]) -> Iterator[str]:
    """The tensors as arguments: by name where parameters stand between them, or one is left out."""
    by_name = bool(op.order)
    for index, operand in enumerate(op.operands):
        given = values[index : index + 1]
        if operand.variadic and given and not op.in_two_lists:
            listed = given[0].startswith(("[", "("))
            given = [f"[{given[0][1:-1]}]" if listed else f"[{', '.join(values[index:])}]"]
        if not given or given[0] in ("none", "[]"):
            by_name = True
            continue
        yield f"{operand.name} = {given[0]}" if by_name else given[0]


def _result(call: str, results: str) -> str:
    count = len(_TYPE.findall(results))
    names = ["y"] if count == 1 else [f"y{index}" for index in range(count)]
    return f"{', '.join(names)} = {call}  # {results.removeprefix('(').removesuffix(')')}"
