"""Tensors to call a module with.

In: the types of its inputs.  Out: example tensors of sizes by which no two dimensions can be confused, and
the arguments that ``forward`` takes them as.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter
from math import lcm
from typing import TYPE_CHECKING, Any, cast

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.importers.multiples import NONE, Avoided, sizes_between
from trtdsl.importers.unchanged import unchanged
from trtdsl.types import Symbol, TensorType, ValueRange, evaluate_shape

if TYPE_CHECKING:
    import torch
    from torch import nn

STRIDE = 32
"""Sizes of images differ by multiples of this, which most networks can halve five times."""


def example_sizes(
    inputs: Mapping[str, TensorType],
    dims: Mapping[str, Symbol],
    avoid: Mapping[str, int] = {},
    grain: int = 1,
    steps: Avoided = NONE,
) -> dict[str, int]:
    """A size of each dimension inside its range, near its optimum: none is 1, none twice, none one that an
    input fixes or that is to be avoided, all multiples of ``grain``, but of none of the ``steps``, as far as
    the ranges allow.
    """
    fixed = {size for type in inputs.values() for size in type.shape if isinstance(size, int)}
    found: dict[str, int] = {}
    for name, symbol in dims.items():
        taken = {1, *fixed, *found.values(), avoid.get(name, 1)}
        near = list(sizes_between(symbol, steps[name]) if name in steps else _near(symbol, grain))
        fresh = [size for size in near if size not in taken]
        others = [size for size in near if size != avoid.get(name)]
        found[name] = next(iter([*fresh, *others, symbol.optimum]))
    return found


def _near(symbol: Symbol, grain: int) -> Iterator[int]:
    """The sizes in the range, those near the optimum first."""
    wide = symbol.optimum % STRIDE == 0 and symbol.maximum - symbol.minimum >= 2 * STRIDE
    stride = lcm(symbol.step, STRIDE if wide else grain)
    best = symbol.optimum if symbol.optimum % stride == 0 or grain == 1 else symbol.optimum // stride * stride
    for distance in range(20):
        for size in dict.fromkeys((best + distance * stride, best - distance * stride)):
            if symbol.minimum <= size <= symbol.maximum:
                yield size


def example_inputs(
    inputs: Mapping[str, TensorType], sizes: Mapping[str, int], values: Mapping[str, ValueRange] = {}
) -> dict[str, torch.Tensor]:
    """A tensor for each input: random, integers 1 or the least that the input takes."""
    import torch

    from trtdsl.reference import torch_dtype

    random = torch.Generator().manual_seed(0)
    found: dict[str, torch.Tensor] = {}
    for name, type in inputs.items():
        shape = evaluate_shape(type.shape, sizes)
        dtype = torch_dtype(type.dtype)
        if type.dtype.is_floating:
            found[name] = torch.randn(shape, generator=random).to(dtype)
        else:
            least = values[name].low if name in values else 1
            found[name] = torch.full(shape, max(least, 1), dtype=dtype)
    return found


def arranged(module: nn.Module, tensors: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Tensors as ``forward`` takes them: by name where it has all the names, else in order."""
    names = parameters_of(module)
    if all(name in names for name in tensors):
        first = 0
        positional: list[Any] = []
        while first < len(names) and names[first] in tensors:
            positional.append(tensors[names[first]])
            first += 1
        return positional, {name: value for name, value in tensors.items() if name not in names[:first]}
    return list(tensors.values()), {}


def require_names(module: nn.Module, inputs: Collection[str]) -> None:
    """Refuse names of which ``forward`` has some: the others would be taken for what stands there in order.

    Raises :class:`~trtdsl.diagnostics.UsageError`.
    """
    known = parameters_of(module)
    strange = [name for name in inputs if name not in known]
    if strange and len(strange) < len(inputs) and _taken_as(module, inputs) is None:
        listed = ", ".join(f"`{name}`" for name in known)
        text = f"`forward` takes {listed}, and no `{strange[0]}`"
        help = ("inputs have the names of `forward`, or all have others and are given in order",)
        raise UsageError(Diagnostic(text, help=help))


@contextmanager
def named(module: nn.Module, inputs: Collection[str]) -> Generator[None]:
    """In the meantime ``forward`` names the inputs that it takes as ``*args`` or ``**kwargs``.

    torch.export is told of dynamic sizes by the names of arguments, and makes numbers of all others.
    """
    kind, forward = _taken_as(module, inputs), module.forward
    if kind is None:
        yield
        return

    def called(*values: Any) -> Any:
        if kind is Parameter.VAR_POSITIONAL:
            return forward(*values)
        return forward(**dict(zip(inputs, values, strict=True)))

    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in inputs]
    cast("Any", called).__signature__ = inspect.Signature(parameters)
    with unchanged(module):
        vars(module)["forward"] = called
        yield


def _taken_as(module: nn.Module, inputs: Collection[str]) -> Any:
    """What kind of parameter takes inputs that ``forward`` does not name: ``*args`` all in order,
    ``**kwargs`` those beside named ones; None where all have a parameter, or none fits.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    kinds, known = {each.kind for each in parameters}, parameters_of(module)
    if all(name in known for name in inputs):
        return None
    if Parameter.VAR_POSITIONAL in kinds:
        places = [each.name for each in parameters if each.kind in _IN_ORDER]
        in_place = all(places[at : at + 1] == [name] for at, name in enumerate(inputs) if name in known)
        return Parameter.VAR_POSITIONAL if in_place else None
    if Parameter.VAR_KEYWORD in kinds and (not known or any(name in known for name in inputs)):
        return Parameter.VAR_KEYWORD
    return None


_IN_ORDER = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(module: nn.Module) -> list[str]:
    """What a module's ``forward`` takes."""
    kinds = (*_IN_ORDER, Parameter.KEYWORD_ONLY)
    return [name for name, each in inspect.signature(module.forward).parameters.items() if each.kind in kinds]
