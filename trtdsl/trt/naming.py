"""Unique names. TensorRT ignores a rename to a name that is taken or too long, so neither may happen."""

from __future__ import annotations

from collections.abc import Iterable

# TensorRT's limit is 4096 characters; the rest is room for a suffix.
_LONGEST = 4000


class Names:
    """The names taken so far."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {*reserved}
        self._next: dict[str, int] = {}

    def claim(self, wanted: str) -> str:
        """``wanted``, or the first of ``wanted_1``, ``wanted_2`` … that is free; it is taken from now on."""
        wanted = wanted[:_LONGEST]
        name = wanted
        while name in self._taken:
            self._next[wanted] = self._next.get(wanted, 0) + 1
            name = f"{wanted}_{self._next[wanted]}"
        self._taken.add(name)
        return name
