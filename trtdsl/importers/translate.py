"""A program's operations as statements of the language.

In: a simplified program.  Out: its statements in order.  An operation whose weights lie where a module of
torch.nn has them is that module, whatever class it ran in; most others have an operator of the same name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import zip_longest

import msgspec
import numpy as np

from trtdsl.importers import rules_moving
from trtdsl.importers.modules import WEIGHTED, module_of
from trtdsl.importers.names import assigned, numbered
from trtdsl.importers.placed import with_own_labels
from trtdsl.importers.program import Array, Call, Operation, Program, common_start, refs
from trtdsl.importers.rules import RULES, Missing, write
from trtdsl.importers.sketch import Apply, Cut, Expression, Items, Literal, Statement, Subscript, Use, uses
from trtdsl.ops.base import OPERATORS, SPELLINGS
from trtdsl.types import DType, shortest

_FAMILIES = (rules_moving,)
"""Where more rules are: importing them registers them."""

LONGEST_LITERAL = 16
"""Numbers of a constant that is written out."""


class Untranslated(Exception):
    """Operations that the language does not have, each with the reason."""

    def __init__(self, missing: list[tuple[Operation, str]]) -> None:
        super().__init__(", ".join(sorted({operation.name for operation, _ in missing})))
        self.missing = missing


def translatable() -> frozenset[str]:
    """The operations that may have a translation, by their names without overload."""
    return frozenset({*RULES, *WEIGHTED, *OPERATORS, *SPELLINGS})


def translate(program: Program) -> list[Statement]:
    """The statements; raises :class:`Untranslated` with all that the language lacks at once."""
    statements: list[Statement] = []
    missing: list[tuple[Operation, str]] = []
    known = {*program.inputs, *program.weights, *program.constants}
    for operation in program.operations:
        known.update(operation.results)
        try:
            expression = _expression(operation, program)
            if not known.issuperset(uses(expression)):
                raise Missing("it reads a tensor of a dtype that TensorRT lacks")
        except Missing as error:
            missing.append((operation, str(error)))
            continue
        statements.append(Statement(operation.results, expression, operation.calls, operation.frames))
    if missing:
        raise Untranslated(missing)
    return _with_sources(_with_joint_slices(with_own_labels(statements, program), program), program)


def _with_joint_slices(statements: list[Statement], program: Program) -> list[Statement]:
    """``x[:S, :S]`` in the place of ``x[:S][:, :S]``, where nothing else reads what stands between."""
    read = Counter(value for each in statements for value in uses(each.expression))
    read.update(value for _, output in program.outputs for value in refs(output))
    sliced: dict[str, int] = {}
    found: list[Statement | None] = []
    for statement in statements:
        match statement:
            case Statement(results=(str(result),), expression=Subscript(Use(value), items)):
                before = found[sliced[value]] if value in sliced and read[value] == 1 else None
                joint = _joint(before, items) if before and before.calls == statement.calls else None
                if joint:
                    found[sliced[value]] = None
                    statement = msgspec.structs.replace(statement, expression=joint)
                sliced[result] = len(found)
            case _:
                pass
        found.append(statement)
    return [each for each in found if each is not None]


def _joint(before: Statement, items: tuple[Expression, ...]) -> Subscript | None:
    """One subscript for two of slices, of which each dimension has one."""
    assert isinstance(before.expression, Subscript)
    pairs = list(zip_longest(before.expression.items, items, fillvalue=Cut()))
    if not all(isinstance(each, Cut) for pair in pairs for each in pair):
        return None
    if any(Cut() not in pair for pair in pairs):
        return None
    both = tuple(first if second == Cut() else second for first, second in pairs)
    return Subscript(before.expression.value, both)


def _expression(operation: Operation, program: Program) -> Expression:
    if operation.base in WEIGHTED:
        return module_of(operation, program)
    found = write(operation, program)
    operator = OPERATORS.get(found.function) if isinstance(found, Apply) else None
    if operator is not None and operator.gives_tuple and len(operation.results) == 1:
        return Subscript(found, (Literal(0),))
    return found


def _with_sources(statements: list[Statement], program: Program) -> list[Statement]:
    """With a statement for each weight and constant that is read as a tensor, in front of its first
    reader.
    """
    readers: dict[str, list[int]] = {}
    for number, statement in enumerate(statements):
        for value in uses(statement.expression):
            readers.setdefault(value, []).append(number)
    in_front: dict[int, list[Statement]] = {}
    keys = {*program.weights.values()}
    taken = keys | {key.rpartition(".")[0] for key in keys}
    sources = sorted(_sources(program).items(), key=lambda each: readers.get(each[0], [])[:1])
    for value, expression in sources:  # in the order of their readers, which numbers what has one name
        numbers = readers.get(value, [])
        if numbers:
            calls = common_start([statements[number].calls for number in numbers])
            in_front.setdefault(numbers[0], []).append(_source(value, expression, calls, taken))
        elif any(value in refs(output) for _, output in program.outputs):
            in_front.setdefault(len(statements), []).append(_source(value, expression, (), taken))
    found: list[Statement] = []
    for number, statement in enumerate([*statements, None]):
        found += in_front.get(number, [])
        if statement is not None:
            found.append(statement)
    return found


def _source(value: str, expression: Expression, calls: tuple[Call, ...], taken: set[str]) -> Statement:
    """A weight in the innermost call around its readers whose path is above its key; a constant right
    there.
    """
    if isinstance(expression, Apply) and isinstance(expression.label, str):
        if expression.function == "Constant":
            path = calls[-1].path if calls else ""
            wish = ".".join(part for part in (path, expression.label) if part)
            label = next(each for each in numbered(wish) if each not in taken)
            taken.add(label)
            expression = msgspec.structs.replace(expression, label=label)
        else:
            while calls and not expression.label.startswith(f"{calls[-1].path}."):
                calls = calls[:-1]
    return Statement((value,), expression, calls)


def _sources(program: Program) -> Mapping[str, Expression]:
    weights = {name: stored("Parameter", program, name, key) for name, key in program.weights.items()}
    constants = {
        name: written(array) or stored("Constant", program, name, _constant_name(name, program))
        for name, array in program.constants.items()
    }
    return {**constants, **weights}


def _constant_name(name: str, program: Program) -> str:
    """What a constant is called below the call that reads it: what the source calls it, or what makes it."""
    called, frames = program.origins.get(name, ("", ()))
    return called or assigned(frames) or re.sub(r"(_\d+)+$", "", name)


def stored(function: str, program: Program, name: str, key: str) -> Expression:
    """A tensor that a file has: ``key: Parameter(8, 8)``."""
    type = program.types[name]
    arguments: list[tuple[str, Expression]] = [("", Literal(size)) for size in type.shape]
    if not arguments:
        arguments = [("shape", Items(()))]
    if type.dtype is not DType.FLOAT32:
        arguments.append(("dtype", Literal(type.dtype)))
    positional = sum(not name for name, _ in arguments)
    return Apply(function, tuple(arguments), positional, is_module=True, label=key)


def written(array: Array) -> Expression | None:
    """A short or regular array as an expression; None for any other."""
    dtype = DType.of_numpy(array.dtype)
    named: tuple[tuple[str, Expression], ...] = (("dtype", Literal(dtype)),)
    flat = array.reshape(-1)
    if array.size > 1 and (flat == flat[0]).all():
        value = _number(flat[0], dtype)
        size = Items(tuple(Literal(each) for each in array.shape))
        natural = dtype is DType.FLOAT32
        return Apply("full", (("", size), ("", Literal(value)), *(() if natural else named)))
    if dtype is DType.INT64 and array.ndim == 1 and array.size > 2 and (array == np.arange(array.size)).all():
        return Apply("arange", (("", Literal(array.size)),))
    if array.size > LONGEST_LITERAL or array.size == 0:
        return None
    natural = dtype in (DType.FLOAT32, DType.INT64, DType.BOOL)
    return Apply("tensor", (("", _nested(array, dtype)), *(() if natural else named)))


def _nested(array: Array, dtype: DType) -> Expression:
    if array.ndim == 0:
        return Literal(_number(array, dtype))
    return Items(tuple(_nested(each, dtype) for each in array), brackets=True)


def _number(value: Array, dtype: DType) -> bool | int | float:
    """A number that reads back as the same one; the shortest, ``0.1`` of a float32."""
    if dtype is DType.BOOL:
        return bool(value)
    if not dtype.is_floating:
        return int(value)
    if dtype is not DType.FLOAT32:
        return float(value)
    return shortest(value)


def constants_of(statements: list[Statement], program: Program) -> dict[str, Array]:
    """The arrays of the file beside the text, by their labels."""
    return {
        each.expression.label: program.constants[value]
        for each in statements
        for value in each.results
        if isinstance(each.expression, Apply)
        and each.expression.function == "Constant"
        and isinstance(each.expression.label, str)
        and value is not None
    }
