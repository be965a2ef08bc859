"""What of a program is known before it runs.

In: its nodes in order.  Out: the values of those that depend on neither inputs nor weights, as torch computes
them, in-place operations included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.importers.program import Argument, Array, Frame, Ref
from trtdsl.importers.schemas import overload_of
from trtdsl.types import DType

if TYPE_CHECKING:
    import torch

SHAPED_LIKE = ("new_", "zeros_like", "ones_like", "full_like")
"""How the names of operations begin that read nothing but the dtype and the size of a tensor."""


class WritesThroughViews(Exception):
    """The program writes to memory that it reads by another name; export decomposes that."""

    frames: tuple[Frame, ...] = ()
    """the lines that led to the write, or to what reads after it"""


class KnownValues:
    """The values of nodes that depend on neither inputs nor weights, computed by torch as they come."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._read: dict[str, Any] = {}
        self._versions: dict[str, int] = {}
        """of what is read, how often its memory was written to before"""

    def give(self, name: str, value: torch.Tensor) -> None:
        self._values[name] = value.detach().clone()

    def alias(self, name: str, other: str) -> None:
        if other in self._values:
            self._values[name] = self._values[other]

    def compute(self, node: Any, made: Mapping[str, Argument]) -> bool:
        """Whether a node's value is known; computes it then."""
        import torch

        known = {each: self._value(each, made) for each in node.all_input_nodes}
        like = node.args[0] if overload_of(node.target).startswith(SHAPED_LIKE) else None
        if like is not None and known[like] is _MISSING:
            known[like] = _stand_in(like, node.meta["val"])
        if any(each is _MISSING for each in known.values()) or _is_random(node):
            return False
        arguments, named = torch.fx.map_arg((node.args, node.kwargs), lambda each: known[each])
        with torch.no_grad():
            target: Any = node.target
            result = target(*arguments, **named)
        if isinstance(result, torch.Tensor):
            self._values[node.name] = result
        else:
            self._values |= {f"{node.name}_{number}": each for number, each in enumerate(result)}
        return True

    def _value(self, node: Any, made: Mapping[str, Argument]) -> Any:
        if node.name in self._values:
            return self._values[node.name]
        number = made.get(node.name)
        if isinstance(number, Ref):
            return self._values.get(number.value, _MISSING)
        return number if isinstance(number, (int, float, bool)) else _MISSING

    def number(self, node: Any) -> Any:
        """The number that a node reads of a known tensor, or computes of known numbers; None where it is
        not.
        """
        target: Any = node.target
        arguments = [
            self._values.get(each.name, each) if hasattr(each, "name") else each for each in node.args
        ]
        if any(hasattr(each, "op") for each in arguments):
            return None
        found = target(*arguments)
        self._values[node.name] = found
        return found

    def read(self, name: str, dtype: Any = None) -> None:
        """An operation of unknown values, whose result is of a dtype, reads it: what it is now is what the
        program needs. A float64 number beside a tensor of fewer digits is rounded to float32.
        """
        if name not in self._values:
            return
        value = self._values[name]
        if self._versions.setdefault(name, value._version) != value._version:
            raise WritesThroughViews(f"`{name}` is read before and after it is written to")
        if name not in self._read:
            is_number = value.ndim == 0 and str(value.dtype) == "torch.float64" != str(dtype)
            self._read[name] = value.detach().float() if is_number else value.detach().clone()

    def arrays(self) -> dict[str, Array]:
        from trtdsl.reference import to_numpy

        names = {f"torch.{dtype}" for dtype in DType}
        return {name: to_numpy(value) for name, value in self._read.items() if str(value.dtype) in names}


_MISSING = object()
"""What stands for a value that is not known before the program runs."""


def _stand_in(node: Any, result: Any) -> Any:
    """A tensor in the place of one of which only the dtype and a size that is fixed matter."""
    import torch

    if not all(isinstance(size, int) for size in result.shape):
        return _MISSING
    return torch.empty(result.shape, dtype=node.meta["val"].dtype)


def _is_random(node: Any) -> bool:
    import torch

    tags: Sequence[Any] = getattr(node.target, "tags", ())
    return torch.Tag.nondeterministic_seeded in tags and "dropout" not in str(node.target)
