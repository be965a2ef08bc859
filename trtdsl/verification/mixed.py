"""A module that computes partly in half precision, its weights moved to one wide type.

In: a module whose ``forward`` casts, ``self.fc(x.half())``, and whose ``fc`` had weights of float16 before
they were moved.  Out: the same call, in which what PyTorch would refuse, as its operands have two types by
then, is computed in the wider one and rounded to the narrower, as the network's layer is.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn


def is_narrow(module: nn.Module) -> bool:
    """Whether a module has weights or buffers of half precision."""
    return any(
        _is_float(each) and each.dtype.itemsize < 4 for each in (*module.parameters(), *module.buffers())
    )


@contextmanager
def promoting() -> Generator[None]:
    """In the meantime functions take floats of several types, and so do recurrent layers."""
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook
    from torch.overrides import TorchFunctionMode

    class Promoting(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
        ) -> Any:
            try:
                return func(*args, **(kwargs or {}))
            except (RuntimeError, ValueError):
                changed = _of_one_type(func, args, kwargs or {})
                if changed is None:
                    raise
            result = func(*changed.args, **changed.kwargs)
            return result if changed.rounds_to is None else _cast(result, changed.rounds_to)

    def cast_for_layer(module: Any, args: tuple[Any, ...]) -> Any:
        """A recurrent layer asks for the type of what it is given before it calls any function."""
        if not isinstance(module, torch.nn.RNNBase):
            return None
        wanted = next(module.parameters()).dtype
        return None if {*_floats(args)} <= {wanted} else _cast(args, wanted)

    handle = register_module_forward_pre_hook(cast_for_layer)
    try:
        with Promoting():
            yield
    finally:
        handle.remove()


class _OneType(NamedTuple):
    """Arguments with all floats of one type, and the type that the result has where they are all narrow."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    rounds_to: Any = None


def _of_one_type(func: Any, args: Any, kwargs: Any) -> _OneType | None:
    """The arguments as a function takes them; None where they have one type already.

    One that refuses several types was given one before weights were moved: the narrowest of these. A function
    that writes to its first argument leaves that as it is.
    """
    import torch

    floats = {*_floats((args, kwargs))}
    if len(floats) < 2:
        return None
    name: str = getattr(func, "__name__", "")
    writes = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
    if writes and args and _is_float(args[0]):
        return _OneType((args[0], *_cast(args[1:], args[0].dtype)), _cast(kwargs, args[0].dtype))
    wide, narrow = reduce(torch.promote_types, floats), min(floats, key=lambda dtype: dtype.itemsize)
    return _OneType(_cast(args, wide), _cast(kwargs, wide), narrow)


def _floats(values: Any) -> list[Any]:
    """The types of the floats in these values."""
    from torch.utils import _pytree as pytree

    leaves: list[Any] = pytree.tree_leaves(values)
    return [each.dtype for each in leaves if _is_float(each)]


def _cast(values: Any, dtype: Any) -> Any:
    from torch.utils import _pytree as pytree

    return pytree.tree_map(lambda each: each.to(dtype) if _is_float(each) else each, values)


def _is_float(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point()
