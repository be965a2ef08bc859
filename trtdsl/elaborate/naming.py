"""Names of values, paths of layers, dtypes of numbers: the small rules of placing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from trtdsl.syntax.lexer import lexicon
from trtdsl.types import DType, TensorType


def join(path: str, label: str | None) -> str:
    """A path below another; an empty one adds no level."""
    return f"{path}.{label}" if path and label else path or label or ""


_NOT_IDENTIFIER = re.compile(r"[^0-9A-Za-z_]+")


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    """Words that a value is better not called: a printed graph must parse back."""
    return frozenset(["_", *(word for word in lexicon().literals if word.isidentifier()), *map(str, DType)])


def identifier(text: str) -> str:
    """The text as a name that the language accepts and that hides nothing."""
    name = _NOT_IDENTIFIER.sub("_", text).strip("_") or "value"
    return name if name not in _words() and lexicon().name.fullmatch(name) else f"_{name}"


@dataclass
class Names:
    """The names that values have so far."""

    taken: set[str] = field(default_factory=set[str])
    """also those that only inputs may have, which keep their own names"""
    _counters: dict[str, int] = field(default_factory=dict[str, int])

    def unique(self, wish: str) -> str:
        """``wish`` as an identifier that no other value has."""
        wish = identifier(wish)
        name = wish
        while name in self.taken:
            self._counters[wish] = self._counters.get(wish, 0) + 1
            name = f"{wish}_{self._counters[wish]}"
        self.taken.add(name)
        return name


def weak_dtype(value: bool | int | float, beside: Sequence[TensorType]) -> DType:
    """PyTorch's rule: a number takes the tensors' dtype unless its own category is higher."""
    floating = [t.dtype for t in beside if t.dtype.is_floating]
    if floating:
        return floating[0]
    if isinstance(value, float):
        return DType.FLOAT32
    integers = [t.dtype for t in beside if t.dtype.is_integer]
    if isinstance(value, bool):
        return beside[0].dtype if beside else DType.BOOL
    return integers[0] if integers else DType.INT64
