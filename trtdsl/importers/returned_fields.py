"""Dataclasses that a module returns, which ``torch.export`` does not take apart.

In: a module being exported.  Out: the same, which returns dicts of their fields in their place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def fields_returned(module: nn.Module) -> Generator[None]:
    """In the meantime the module returns ``{"logits": …}`` for a dataclass with such a field.

    Dicts of fields, such as those of `transformers`, stay: PyTorch knows them.
    """
    handle = module.register_forward_hook(lambda _module, _inputs, output: _as_dicts(output))
    try:
        yield
    finally:
        handle.remove()


def _as_dicts(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_dicts(each) for key, each in value.items()} if type(value) is dict else value
    if type(value) in (list, tuple):
        return type(value)(map(_as_dicts, value))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: _as_dicts(each) for name, each in found.items() if each is not None}
