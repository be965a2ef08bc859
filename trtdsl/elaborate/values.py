"""What an expression can stand for besides a tensor: compile-time values and things to call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trtdsl.diagnostics import Diagnostic, Span
from trtdsl.ir import Value
from trtdsl.ops.arguments import describe_value
from trtdsl.ops.base import Module, Op, Spelling
from trtdsl.syntax import tree


class Mistake(Exception):
    """One mistake, on its way to the statement that reports it."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Poisoned(Exception):
    """An expression that reads a name whose definition was already reported: say nothing more."""


class _Poison:
    """The value of a name whose definition failed."""


POISON = _Poison()


@dataclass(frozen=True)
class OperatorRef:
    """An operator by one of its names; a capitalised name is called as a module."""

    op: type[Op]
    name: str
    spelling: Spelling | None = None

    @property
    def is_module(self) -> bool:
        return issubclass(self.op, Module) or self.name[:1].isupper()


@dataclass(frozen=True, eq=False)
class BlockRef:
    """A block and the file scope in which its names are looked up."""

    block: tree.Block
    globals: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return self.block.name.text


@dataclass(frozen=True)
class Builtin:
    """A compile-time function such as ``len``; ``operator`` serves when it is called on tensors."""

    name: str
    function: Callable[..., Any]
    operator: OperatorRef | None = None


@dataclass(frozen=True, eq=False)
class Argument:
    """An evaluated argument and where it stands."""

    value: Any
    span: Span
    name: str | None = None


@dataclass(frozen=True, eq=False)
class Configured:
    """A module or block with its configuration, waiting for tensors: ``Conv2d(64, 3)``."""

    callee: OperatorRef | BlockRef
    arguments: tuple[Argument, ...]
    span: Span


Callee = OperatorRef | BlockRef | Builtin | Configured


def mistake(message: str, span: Span, label: str = "", *help: str) -> Mistake:
    """A mistake at a span."""
    return Mistake(Diagnostic(message, span, label, help=tuple(text for text in help if text)))


def describe(value: object) -> str:
    """What a value is, in words, for "…, not a tensor"."""
    if isinstance(value, Value):
        return f"a tensor, {value.type}"
    if isinstance(value, OperatorRef):
        return f"the {'module' if value.is_module else 'function'} `{value.name}`"
    if isinstance(value, BlockRef):
        return f"the block `{value.name}`"
    if isinstance(value, Builtin):
        return f"the function `{value.name}`"
    if isinstance(value, Configured):
        return f"`{value.callee.name}(…)`, which was given no tensor"
    if isinstance(value, tuple) and value and all(isinstance(item, Value) for item in value):  # pyright: ignore[reportUnknownVariableType]
        return f"{len(value)} tensors"  # pyright: ignore[reportUnknownArgumentType]
    return describe_value(value)


def is_tensor(value: object) -> bool:
    return isinstance(value, Value)
