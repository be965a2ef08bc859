"""What an expression can stand for besides a tensor: compile-time values and things to call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from trtdsl.diagnostics import Span, counted
from trtdsl.elaborate.placing import Place
from trtdsl.ir import Value
from trtdsl.ops.arguments import describe_value
from trtdsl.ops.base import Op, Spelling
from trtdsl.syntax import tree


class OperatorRef(msgspec.Struct, frozen=True):
    """An operator by one of its names; a capitalised name is called as a module, and so are a few others."""

    op: type[Op]
    name: str
    spelling: Spelling | None = None

    @property
    def is_module(self) -> bool:
        return self.name[:1].isupper() or self.op.in_two_lists


class Names(dict[str, Any]):
    """What the blocks, defs and models of a file see, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.models: set[str] = set()
        """of the file and of those that it imports: nothing can call them"""


class BlockRef(msgspec.Struct, frozen=True, eq=False):
    """A block and the file scope in which its names are looked up."""

    block: tree.Block
    globals: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"BlockRef({self.name})"

    @property
    def declared(self) -> tree.Block:
        return self.block

    @property
    def name(self) -> str:
        return self.block.name.text


class DefRef(msgspec.Struct, frozen=True, eq=False):
    """A def and the file scope in which its names are looked up."""

    declared: tree.Def
    globals: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"DefRef({self.name})"

    @property
    def name(self) -> str:
        return self.declared.name.text


class Builtin(msgspec.Struct, frozen=True):
    """A compile-time function such as ``len``; ``operator`` serves when it is called on tensors."""

    name: str
    function: Callable[..., Any]
    operator: OperatorRef | None = None


class Namespace(msgspec.Struct, frozen=True):
    """An imported file under a name: ``import "…" as r``."""

    name: str
    items: Mapping[str, BlockRef | DefRef]


class Argument(msgspec.Struct, frozen=True, eq=False):
    """An evaluated argument and where it stands; ``items`` are those packed into a tuple."""

    value: Any
    span: Span
    name: str | None = None
    name_span: Span | None = None
    items: tuple[Argument, ...] = ()

    @property
    def head(self) -> Span:
        """Its name's place, or its own where it has no name."""
        return self.name_span or self.span


class Configured(msgspec.Struct, frozen=True, eq=False):
    """A module or block with its configuration, waiting for tensors: ``Conv2d(64, 3)``.

    ``label`` is the path of one that has its label already, below that of ``home``: one that is bound to a
    name, or that an operator is given to run itself, as `cond` is.
    """

    callee: OperatorRef | BlockRef
    arguments: tuple[Argument, ...]
    span: Span
    label: str | None = None
    home: Place | None = None


Callee: TypeAlias = OperatorRef | BlockRef | DefRef | Builtin | Configured
_MOST_SHOWN = 4
CALLEES = (OperatorRef, BlockRef, DefRef, Builtin, Configured)


def is_tensor(value: object) -> bool:
    return isinstance(value, Value)


def in_words(value: object) -> str:
    """What a value is, in words, for "…, not a list"."""
    match value:
        case Value():
            return f"{_article(str(value.type))} {value.type} tensor"
        case OperatorRef():
            return f"the {'module' if value.is_module else 'function'} `{value.name}`"
        case BlockRef():
            return f"the block `{value.name}`"
        case DefRef():
            return f"the def `{value.name}`"
        case Builtin():
            return f"the function `{value.name}`"
        case Namespace():
            return f"the imported file `{value.name}`"
        case Configured():
            return f"`{value.callee.name}(…)` without a tensor"
        case list() | tuple() if value and all(map(is_tensor, value)):
            many = counted(len(value), "tensor")
            return f"a list of {many}" if isinstance(value, list) else many
        case _:
            return describe_value(value)


def instead_of(value: object, place: Span) -> str:
    """What to write where this stands in the place of one tensor, or nothing."""
    if isinstance(value, str) and (number := _NUMBERS_IN_WORDS.get(value.lower().lstrip("+"))):
        return f"this number is written `{number}`"
    if isinstance(value, Configured):
        return "pipe a tensor into it, `x -> …`, or call it with one, `…(x)`"
    if isinstance(value, (list, tuple)) and value and all(map(is_tensor, value)):
        name = place.text
        first = f", `{name}[0]`" if name.isidentifier() else ""
        return f"take one of them{first}, or name each: `a, b = …`"
    if isinstance(value, (list, tuple)) and value and all(isinstance(each, (int, float)) for each in value):
        return f"a tensor of these numbers is `tensor({place.text})`" if place.text[:1] in "[(" else ""
    return ""


_NUMBERS_IN_WORDS = {"inf": "inf", "infinity": "inf", "-inf": "-inf", "-infinity": "-inf", "nan": "nan"}
"""What Python's `float` makes of strings, as the language writes it."""


def types_in_words(values: Sequence[Any]) -> str:
    """ "float32[N, 8] and int64[N]" for a few tensors; "" for anything else."""
    types = [str(value.type) for value in values if is_tensor(value)]
    if not 0 < len(types) == len(values) <= _MOST_SHOWN:
        return ""
    *rest, last = types
    return f"{', '.join(rest)} and {last}" if rest else last


def _article(word: str) -> str:
    return "an" if word.startswith("int") else "a"
