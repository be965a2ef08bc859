"""What a module's own Python says about it.

In: a ``torch.nn.Module``.  Out: the class, configuration and place of every module inside, and which keys of
the state dict hold one and the same tensor.
"""

from __future__ import annotations

import inspect
import linecache
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.importers.constructed import Constructed
from trtdsl.importers.examples import parameters_of
from trtdsl.importers.program import ModuleFacts, kind_of

if TYPE_CHECKING:
    import torch
    from torch import nn


def ties_of(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """The keys that hold one and the same tensor, by each of them."""
    places: dict[int, list[str]] = {}
    tensors = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    for key, tensor in tensors:
        places.setdefault(id(tensor), []).append(key)
    return {key: tuple(keys) for keys in places.values() if len(keys) > 1 for key in keys}


def ties_in(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, ...]]:
    """The keys of a state dict that lie at one and the same place, by each of them."""
    places: dict[tuple[Any, ...], list[str]] = {}
    for key, tensor in state.items():
        if tensor.numel():
            places.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), []).append(key)
    return {key: tuple(keys) for keys in places.values() if len(keys) > 1 for key in keys}


def facts_of(module: nn.Module, constructed: Constructed | None = None) -> dict[str, ModuleFacts]:
    """What is known of each module inside, by path; of PyTorch's own only what is read of them."""
    constructed = constructed or Constructed()
    found: dict[str, ModuleFacts] = {}
    kinds: dict[type, tuple[str, int, dict[str, Any], tuple[str, ...]]] = {}
    for path, each in module.named_modules(remove_duplicate=False):
        cls = type(each)
        if kind_of(cls).startswith("torch.nn."):
            continue
        if cls not in kinds:
            kinds[cls] = (*_place(cls), _defaults(cls), tuple(parameters_of(each)))
        file, line, defaults, tensors = kinds[cls]
        attributes = {name: value for name, value in vars(each).items() if _is_plain(name, value)}
        given = {key: value for key, value in constructed.arguments_of(each).items() if _is_plain(key, value)}
        found[path] = ModuleFacts(kind_of(cls), file, line, attributes, given, defaults, tensors)
    return found


def _is_plain(name: str, value: Any) -> bool:
    if name.startswith("_") or name == "training":
        return False
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (int, float)) for item in value)
    return isinstance(value, (bool, int, float, str))


def _place(cls: type) -> tuple[str, int]:
    """A class's file and line; nothing where it was not read from a file."""
    try:
        file = inspect.getsourcefile(cls) or ""
        lines = linecache.getlines(file, sys.modules[cls.__module__].__dict__) if file else []
        head = re.compile(rf"\s*class {re.escape(cls.__name__)}\b")
        found = [number for number, line in enumerate(lines, 1) if head.match(line)]
        if len(found) == 1 and not _is_decorated(lines, found[0]):
            return file, found[0]
        # Python reads the whole file for what can rarely be in doubt.
        return file, inspect.findsource(cls)[1] + 1
    except (OSError, TypeError, KeyError):
        return "", 0


def _is_decorated(lines: Sequence[str], number: int) -> bool:
    """Whether a decorator may stand above the line of this number, with which its class begins."""
    above = lines[number - 2].strip() if number > 1 else ""
    return above.startswith("@") or above.endswith(")")


def _defaults(cls: Any) -> dict[str, Any]:
    try:
        found = inspect.signature(cls.__init__).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {
        each.name: None if each.default is inspect.Parameter.empty else each.default
        for each in list(found)[1:]
    }
