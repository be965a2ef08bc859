"""Optimisation profiles that are chosen when a model is compiled, as they are written.

In: sizes of dynamic dimensions, as a text or by name.  Out: the same as numbers::

    chosen_profiles("N=1..8..32, S=128")[0].sizes  # (("N", (1, 8, 32)), ("S", (128, 128, 128)))
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from operator import index
from typing import Any, TypeAlias

from trtdsl.diagnostics import Diagnostic, UsageError

Sizes: TypeAlias = tuple[int, int, int]
"""The smallest, the typical and the largest."""

_SIZES = re.compile(r"\s*(\w+)\s*=\s*(\d+)\s*(?:\.\.\s*(\d+)\s*\.\.\s*(\d+)\s*)?")
_DIGITS = 18
"""of a size; Python does not read or print integers of thousands of digits"""
_ADVICE = 'write `N=8`, or `"N=1..8..32, S=128"`'


@dataclass(frozen=True)
class ChosenProfile:
    """The sizes that dimensions have in a profile, by name; its text is that of ``--profile``."""

    sizes: tuple[tuple[str, Sizes], ...]

    def __str__(self) -> str:
        return ",".join(f"{name}={_shown(sizes, '..')}" for name, sizes in self.sizes)

    @property
    def name(self) -> str:
        """What the profile is called in messages and in the manifest: ``N_8``, ``N_1_8_32_S_128``."""
        return "_".join(f"{name}_{_shown(sizes, '_')}" for name, sizes in self.sizes)


GivenProfile: TypeAlias = "str | Mapping[str, int | Sequence[int]] | ChosenProfile"
"""``"N=1..8..32, S=128"`` or ``{"N": (1, 8, 32), "S": 128}``."""


def chosen_profiles(given: object) -> tuple[ChosenProfile, ...]:
    """One profile, or several."""
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping)):
        return tuple(map(_chosen_profile, given))
    return (_chosen_profile(given),)


def _chosen_profile(given: object) -> ChosenProfile:
    if isinstance(given, ChosenProfile):
        return given
    if isinstance(given, str):
        found = [_read(part, given) for part in given.split(",")]
    elif isinstance(given, Mapping):
        found = [(_name(name, given), _sizes(name, value, given)) for name, value in given.items()]
    else:
        raise _unreadable(given)
    if not found:
        raise _unreadable(given)
    for name, sizes in found:
        if [each for each, _ in found].count(name) > 1:
            raise _mistake(given, f"sets `{name}` twice")
        if list(sizes) != sorted(sizes):
            raise _mistake(given, f"has a range that is not `min .. opt .. max`: {_shown(sizes, ' .. ')}")
    return ChosenProfile(tuple(found))


def _read(part: str, text: str) -> tuple[str, Sizes]:
    found = _SIZES.fullmatch(part)
    if not found or not found[1].isidentifier():
        raise _unreadable(text)
    name, *digits = found.groups()
    written = [each for each in digits if each is not None]
    if any(len(each) > _DIGITS for each in written):
        raise _too_large(name)
    return name, _sizes(name, [int(each) for each in written * (3 // len(written))], text)


def _name(name: object, given: object) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise _unreadable(given)
    return name


def _sizes(name: str, value: Any, given: object) -> Sizes:
    if isinstance(value, (bytes, bytearray, Mapping, Set)):
        raise _unreadable(given)
    try:
        sizes = list(value) if isinstance(value, Iterable) else [value] * 3
        low, best, high = map(index, sizes)
    except (TypeError, ValueError):
        raise _unreadable(given) from None
    if any(abs(each) >= 10**_DIGITS for each in (low, best, high)):
        raise _too_large(name)
    if low < 0 or any(isinstance(each, bool) for each in sizes):
        raise _unreadable(given)
    return low, best, high


def _shown(sizes: Sizes, between: str) -> str:
    return str(sizes[0]) if len({*sizes}) == 1 else between.join(map(str, sizes))


def _unreadable(given: object) -> UsageError:
    shown = given if isinstance(given, str) else repr(given)
    return UsageError(Diagnostic(f"`--profile {shown}` is not sizes by dimension", help=(_ADVICE,)))


def _mistake(given: object, text: str) -> UsageError:
    return UsageError(Diagnostic(f"`--profile {given}` {text}"))


def _too_large(name: str) -> UsageError:
    return UsageError(Diagnostic(f"`--profile` sets `{name}` to a size of more than {_DIGITS} digits"))
