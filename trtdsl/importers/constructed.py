"""What modules were constructed with.

In: code that makes modules.  Out: of each module the arguments of its constructor by name, which the module
itself need not keep: a ``BasicBlock`` of torchvision does not know its ``planes``.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Arguments = Mapping[str, Any]


class Constructed:
    """The arguments of every constructor that ran while this was recording."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[nn.Module, dict[str, Any]]] = {}

    def arguments_of(self, module: nn.Module) -> Arguments:
        """The constructor's arguments of a module; none where it was not recorded."""
        kept = self._found.get(id(module))
        return kept[1] if kept and kept[0] is module else {}

    def note(self, module: nn.Module, arguments: dict[str, Any]) -> None:
        """Keep the first arguments noted, those of the module's own class."""
        # The module is kept too, so that no other takes its identity.
        self._found.setdefault(id(module), (module, arguments))


@contextmanager
def recording() -> Generator[Constructed, None, None]:
    """Record constructors' arguments, read off the frames in which they begin."""
    from torch import nn

    found = Constructed()
    before = sys.getprofile()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or frame.f_code.co_name != "__init__":
            return
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        own = frame.f_locals.get(names[0]) if names else None
        if isinstance(own, nn.Module) and code is _initialiser(type(own)):
            found.note(own, {name: frame.f_locals.get(name) for name in names[1:]})

    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(before)


def _initialiser(cls: type) -> Any:
    return getattr(cls.__init__, "__code__", None)
