"""What a reference returns, as named arrays.

In: whatever a module returns: tensors in lists, dicts, dataclasses, and other things among them.  Out: a
:class:`Returned`, the numbers in order with the name of each, and notes on what is not a tensor::

    {"scores": tensor, "loss": 0.5}    # scores; not compared, for it is not a tensor: `loss` (float)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.reference import to_numpy
from trtdsl.types import DType

if TYPE_CHECKING:
    import torch

Array: TypeAlias = npt.NDArray[Any]
Named: TypeAlias = list[tuple[str, Array]]
"""Arrays in order, with the name of each or an empty one."""

DTYPES = frozenset(str(dtype) for dtype in DType)

SHOWN = 5
"""How many names a note lists."""


@dataclass(frozen=True, eq=False)
class Returned:
    """The arrays, and what there is to note about how they came about."""

    arrays: Named
    notes: tuple[str, ...] = ()


def returned(value: Any, notes: Sequence[str] = ()) -> Returned:
    """The numbers in what a module returns, in their own dtypes where numpy can have them."""
    found: Named = []
    others: list[str] = []
    for index, (name, leaf) in enumerate(_leaves(value)):
        if _is_dense(leaf):
            found.append((name, _own_numbers(leaf)))
        else:
            others.append(f"{f'`{name}`' if name else f'output {index + 1}'} ({_kind(leaf)})")
    return Returned(found, (*notes, *not_tensors(others)))


def not_tensors(others: Sequence[str]) -> tuple[str, ...]:
    """A note on results that are not compared, for nobody could give the model such an output."""
    if not others:
        return ()
    listed = ", ".join(others[:SHOWN]) + (" …" if len(others) > SHOWN else "")
    kind = "it is not a plain tensor" if len(others) == 1 else "they are not plain tensors"
    return (f"not compared, for {kind}: the reference's {listed}",)


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in a tensor, list, tuple, dict or dataclass, in order."""
    return (leaf for _, leaf in _leaves(value) if _is_dense(leaf))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What is in a list, tuple, dict or dataclass, in order, with its key or field's name.

    A field left at its default None was not returned.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, str(key))
    elif isinstance(value, (list, tuple)):
        fields: Sequence[str] = getattr(value, "_fields", ())  # a NamedTuple's
        for index, item in enumerate(value):
            own = f"{name}[{index}]" if name and len(value) > 1 else name
            yield from _leaves(item, fields[index] if fields else own)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if item is not None or field.default is not None:
                yield from _leaves(item, field.name)
    else:
        yield name, value


def _is_dense(value: Any) -> bool:
    import torch

    is_tensor = isinstance(value, torch.Tensor)
    return is_tensor and value.layout is torch.strided and not (value.is_quantized or value.is_nested)


def _kind(value: Any) -> str:
    import torch

    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        if value.is_quantized or value.is_nested:
            return f"a {'quantized' if value.is_quantized else 'nested'} tensor"
        return f"a {str(value.layout).removeprefix('torch.').replace('_', ' ')} tensor"
    return type(value).__name__


def numbers(tensor: torch.Tensor) -> Array:
    """A tensor's values in numpy, floating point as float64, complex numbers as they are."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.is_complex():
        # numpy has none of two float16.
        wide = tensor.to(torch.complex64) if tensor.dtype == torch.complex32 else tensor
        return wide.resolve_conj().resolve_neg().numpy()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def _own_numbers(tensor: torch.Tensor) -> Array:
    known = str(tensor.dtype).removeprefix("torch.") in DTYPES
    return to_numpy(tensor) if known else numbers(tensor)


def is_number(array: Array) -> bool:
    """Whether an array from a file holds numbers that can be compared."""
    return array.dtype.kind in "biufc" or array.dtype.name in DTYPES


def from_runtime(names: Sequence[str], values: Sequence[Any], notes: Sequence[str]) -> Returned:
    """What onnxruntime gives for these outputs: arrays, strings, and lists of anything."""
    found: Named = []
    others: list[str] = []
    for name, value in zip(names, values, strict=True):
        if isinstance(value, np.ndarray) and is_number(value):
            found.append((name, value))
        else:
            others.append(
                f"`{name}` ({'strings' if isinstance(value, np.ndarray) else type(value).__name__})"
            )
    return Returned(found, (*notes, *not_tensors(others)))
