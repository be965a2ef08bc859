"""A module left as it was found.

In: a module that is about to be run or exported.  Out: the same module, with all that it had before: an
export leaves behind what ``forward`` keeps, such as anchors for the last size, of tensors and sizes that mean
nothing outside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_CONTAINERS = (dict, list, set, deque)


@contextmanager
def unchanged(module: nn.Module, *, runs: bool = False) -> Generator[None]:
    """In the end the module and those inside it have the attributes, parameters, buffers, hooks and modes
    that they had; where it ``runs`` on values, also what is in the buffers.
    """
    modules = list(module.modules())
    attributes = [dict(vars(each)) for each in modules]
    # Most are empty, each module's hooks: a copy of each has Python look for cycles in the whole process.
    containers = [value for kept in attributes for value in kept.values() if isinstance(value, _CONTAINERS)]
    contents = {id(value): value.copy() for value in containers if value}
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()] if runs else []
    try:
        yield
    finally:
        for each, kept in zip(modules, attributes, strict=True):
            vars(each).clear()
            vars(each).update(kept)
        for value in containers:
            before = contents.get(id(value), ())
            if value or before:
                _refill(value, before)
        for buffer, before in buffers:
            buffer.detach().copy_(before)


def _refill(container: Any, before: Any) -> None:
    """Give a container what it held before."""
    container.clear()
    if isinstance(container, (dict, set)):
        container.update(before)
    else:
        container.extend(before)
