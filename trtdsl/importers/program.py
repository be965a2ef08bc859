"""A captured program: operations by PyTorch's names, each with the module that it ran in.

In: what a reader found in an exported program or a file.  Out: a :class:`Program`, all that the importer
knows; it holds neither torch nor onnx objects.  Values are named by strings, each made once: by an input, a
weight, a constant or an operation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from trtdsl.types import DType, Symbol, SymbolicDim, TensorType, ValueRange

Array: TypeAlias = npt.NDArray[Any]


class Ref(msgspec.Struct, frozen=True):
    """A value as an argument."""

    value: str


Argument: TypeAlias = Ref | int | float | bool | str | SymbolicDim | DType | tuple[Any, ...] | None
"""What an operation is given; tuples hold further arguments."""


class Call(msgspec.Struct, frozen=True):
    """One call of a module: where the module is, which class it has, and the how-manieth call it is."""

    path: str
    kind: str
    number: int = 0

    @property
    def name(self) -> str:
        """The class without its module: ``BasicBlock``."""
        return self.kind.rpartition(".")[2]


def kind_of(kind: type | str) -> str:
    """A class by its module and name; of a script only its name, for its module has none."""
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return re.sub(r"^(__main__|.*\.py)\.", "", name)


class Frame(msgspec.Struct, frozen=True):
    """A line of the user's source that was running."""

    file: str
    line: int
    function: str
    code: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


_FRAME = re.compile(
    r'^[ \t]*File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>\S+).*(?=(?:\n(?P<code>.*))?)',
    re.M,
)


@lru_cache(maxsize=4096)
def frames_of_trace(trace: str) -> tuple[Frame, ...]:
    """The lines of a stack trace as Python prints it, from the outermost."""
    return tuple(_frame(*parts) for parts in _FRAME.findall(trace))


@lru_cache(maxsize=4096)
def _frame(file: str, line: str, function: str, code: str) -> Frame:
    """One for all the traces that it stands in."""
    return Frame(file, int(line), function, code.strip())


class Operation(msgspec.Struct, frozen=True):
    """One operation, by PyTorch's name for it and its overload: ``conv2d``, ``add.Tensor``."""

    name: str
    arguments: Mapping[str, Argument]
    results: tuple[str, ...]
    calls: tuple[Call, ...] = ()
    """the module calls that it ran in, from the outermost"""
    frames: tuple[Frame, ...] = ()
    """the lines that led to it, from the outermost"""

    @property
    def base(self) -> str:
        """The name without the overload."""
        return self.name.partition(".")[0]

    @property
    def operands(self) -> list[str]:
        """The values it reads, in order."""
        return [value for argument in self.arguments.values() for value in refs(argument)]


class ModuleFacts(msgspec.Struct, frozen=True):
    """What is known of a module of the source: its class, its place in the source, its configuration."""

    kind: str
    file: str = ""
    line: int = 0
    attributes: Mapping[str, Argument] = {}
    """numbers, strings and tuples of them that the module keeps"""
    parameters: Mapping[str, Argument] = {}
    """those of its constructor, where they are known"""
    defaults: Mapping[str, Argument] = {}
    """the constructor's defaults"""
    tensors: tuple[str, ...] = ()
    """the parameters of its ``forward``"""


class Program(msgspec.Struct, frozen=True):
    """A program and all that it refers to."""

    name: str
    symbols: tuple[Symbol, ...]
    inputs: Mapping[str, TensorType]
    weights: Mapping[str, str]
    """the state-dict key of each value that is a parameter or a buffer"""
    constants: Mapping[str, Array]
    """tensors that no state dict holds"""
    operations: tuple[Operation, ...]
    outputs: tuple[tuple[str, Argument], ...]
    """name and value"""
    types: Mapping[str, TensorType]
    """of every value but those of dtypes that the language lacks"""
    lacked: Mapping[str, str] = {}
    """the dtype of each of those"""
    modules: Mapping[str, ModuleFacts] = {}
    """by path"""
    ties: Mapping[str, tuple[str, ...]] = {}
    """the keys under which the state dict has a weight, by each of them"""
    origins: Mapping[str, tuple[str, tuple[Frame, ...]]] = {}
    """of every value that is constant what the source calls it, if it does, and the lines that made it"""
    input_names: Mapping[str, str] = {}
    """what the user calls an input"""
    values: Mapping[str, ValueRange] = {}
    """what an input takes, where the user says so"""
    source: str = ""
    """what was imported, for people"""


def common_start(sequences: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """What all of these begin with."""
    if not sequences:
        return ()
    start = tuple(sequences[0])
    for each in sequences:
        while each[: len(start)] != start:
            start = start[:-1]
    return start


def refs(argument: Argument) -> Sequence[str]:
    """The values in an argument."""
    if isinstance(argument, Ref):
        return (argument.value,)
    if isinstance(argument, tuple):
        return [value for item in argument for value in refs(item)]
    return ()


def with_refs(argument: Any, names: Mapping[str, Argument]) -> Any:
    """An argument in which some values are replaced by others, or by constants."""
    if isinstance(argument, Ref):
        return names.get(argument.value, argument)
    if isinstance(argument, tuple):
        return tuple(with_refs(item, names) for item in argument)
    return argument


def renamed(operation: Operation, names: Mapping[str, Argument]) -> Operation:
    """An operation that reads other values; itself where nothing changes."""
    if not names or not any(value in names for value in operation.operands):
        return operation
    arguments = {name: with_refs(argument, names) for name, argument in operation.arguments.items()}
    return msgspec.structs.replace(operation, arguments=arguments)


def rewritten(program: Program, operations: Sequence[Operation], names: Mapping[str, Argument]) -> Program:
    """The program with other operations, its outputs reading what stands for values that are gone."""
    outputs = tuple((name, with_refs(value, names)) for name, value in program.outputs)
    return msgspec.structs.replace(program, operations=tuple(operations), outputs=outputs)


def type_of_array(array: Array) -> TensorType | None:
    """The type of a constant; None where the language has no such dtype."""
    name = np.dtype(array.dtype).name
    names = {dtype.value for dtype in DType}
    return TensorType(DType(name), array.shape) if name in names else None
