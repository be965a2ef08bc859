"""Pools that ask for no number of a size while ``torch.export`` runs a module.

In: a pool of a tensor whose sizes are dynamic.  Out: an operation of the importer's own of the same name,
``trtdsl_import::max_pool2d``. PyTorch's ``max_pool1d`` asks whether the size is a certain number, and any
pool with ``ceil_mode`` whether its last window starts after the input, which it cannot decide for a range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from trtdsl.importers.schemas import NAMESPACE

_MAX = (
    "int[{n}] kernel_size, int[{n}] stride=[], int[{n}] padding=0, int[{n}] dilation=1, bool ceil_mode=False"
)
_AVG = (
    "int[{n}] kernel_size, int[{n}] stride=[], int[{n}] padding=0, bool ceil_mode=False,"
    " bool count_include_pad=True"
)
_DIVISOR = ", int? divisor_override=None"


def kept_pools() -> Mapping[Any, Callable[..., Any]]:
    """What is called in the place of each of PyTorch's pools."""
    import torch
    from torch.nn import functional

    found: dict[Any, Callable[..., Any]] = {}
    for name in _names():
        originals = [getattr(functional, name), getattr(torch, name, None)]
        for original in filter(None, originals):
            found[original] = partial(_pool, name, getattr(functional, name))
    return found


def define_pools(library: Any) -> None:
    """Define the operations in a library of PyTorch."""
    for name in _names():
        schema = (_MAX if name.startswith("max") else _AVG).format(n=_spatial(name))
        divisor = "" if name.startswith("max") or name == "avg_pool1d" else _DIVISOR
        library.define(f"{name}(Tensor self, {schema}{divisor}) -> Tensor")
        library.impl(name, _computed(name), "CPU")
        library.impl(name, partial(_shaped, name), "Meta")


def _names() -> Iterator[str]:
    for kind in ("max", "avg"):
        for spatial in (1, 2, 3):
            yield f"{kind}_pool{spatial}d"


def _spatial(name: str) -> int:
    return int(name[-2])


def _pool(name: str, original: Any, x: Any, kernel_size: Any, *args: Any, **named: Any) -> Any:
    import torch

    keys = ("stride", "padding", "dilation", "ceil_mode", "return_indices")
    if name.startswith("avg"):
        keys = ("stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    given = {**dict(zip(keys, args, strict=False)), **named}
    is_dynamic = any(isinstance(size, torch.SymInt) for size in x.shape[-_spatial(name) :])
    asks = name == "max_pool1d" or given.get("ceil_mode")
    if given.pop("return_indices", False) or not is_dynamic or not asks:
        return original(x, kernel_size, *args, **named)
    if given.get("stride") is None:
        given["stride"] = ()
    sizes = {key: _listed(given[key]) for key in ("stride", "padding", "dilation") if key in given}
    operation = getattr(getattr(torch.ops, NAMESPACE), name)
    return operation(x, _listed(kernel_size), **{**given, **sizes})


def _listed(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def _computed(name: str) -> Callable[..., Any]:
    """PyTorch's own pool."""
    from torch.nn import functional

    original = getattr(functional, name)
    return lambda x, kernel, *args, **named: original(x, kernel, *args, **named)


def _shaped(
    name: str,
    x: Any,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    *others: Any,
    **named: Any,
) -> Any:
    """The shape of what a pool gives."""
    spatial = _spatial(name)
    options: dict[str, Any] = dict(zip(("dilation", "ceil_mode"), others, strict=False))
    if name.startswith("avg"):
        options = {"ceil_mode": others[0]} if others else {}
    options |= named
    axes = zip(
        x.shape[-spatial:],
        _each(kernel, spatial),
        _each(stride or kernel, spatial),
        _each(padding, spatial),
        _each(options.get("dilation") or (1,), spatial),
        strict=True,
    )
    counts = [_count(*axis, rounds_up=bool(options.get("ceil_mode"))) for axis in axes]
    return x.new_empty((*x.shape[:-spatial], *counts))


def _each(sizes: Sequence[int], spatial: int) -> list[int]:
    return list(sizes) * spatial if len(sizes) == 1 else list(sizes)


def _count(size: Any, kernel: int, stride: int, padding: int, dilation: int, *, rounds_up: bool) -> Any:
    """How many windows there are; rounded up, those that start after the input left out."""
    reach = dilation * (kernel - 1) + 1
    # Rounding up adds up to ``stride - 1`` at the end; from there the last window must reach the input.
    behind = min(padding + stride - 1, reach - 1) if rounds_up else padding
    return (size + padding + behind - reach) // stride + 1
