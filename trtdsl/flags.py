"""Choices declared once: a field of a dataclass that knows how the command line spells it.

In: fields of a frozen class of options, declared by :func:`choice`.  Out: the flags that are made of them::

    skip: Sequence[str] = choice((), "--skip", metavar="PASS,...", help="Leave out passes.")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from trtdsl.diagnostics import Diagnostic, UsageError

T = TypeVar("T")


class Flag(NamedTuple):
    """How the command line spells an option, and what its help says."""

    names: tuple[str, ...]
    metavar: str | None
    help: str
    repeats: bool = False
    """given once for each value, where others take several by commas"""


FLAG = "flag"


def choice(default: T, *names: str, help: str, metavar: str | None = None, repeats: bool = False) -> T:
    """A field of an options class and its flag."""
    metadata = {FLAG: Flag(names, metavar, help, repeats)}
    if isinstance(default, Mapping):
        # A dictionary cannot be a default itself, since instances would share it.
        return cast(T, dataclasses.field(default_factory=lambda: dict(default), metadata=metadata))
    return dataclasses.field(default=default, metadata=metadata)


def chosen(options: object, **values: Any) -> None:
    """Set fields of a frozen object that is being made."""
    for name, value in values.items():
        object.__setattr__(options, name, value)


def flags(options: type[Any]) -> Mapping[str, Flag]:
    """The flag of each field of an options class that has one."""
    fields = dataclasses.fields(options)
    return {field.name: field.metadata[FLAG] for field in fields if FLAG in field.metadata}


def by_name(option: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """What an option gives to names; UsageError for a name that is given twice: one would be lost."""
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(Diagnostic(f"`{option} {name}` is given twice"))
        found[name] = value
    return found
