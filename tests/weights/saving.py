"""Tensors as newer releases of torch write them, whichever is installed.

A dtype that has no class of storages (``uint16``, the floats of 8 bits) is written beside an untyped storage.
Torch 2.5 writes only some of these dtypes, though it has and reads the others.
"""

from __future__ import annotations

import io
from collections import OrderedDict

import torch
from torch._utils import _rebuild_tensor_v3  # pyright: ignore[reportPrivateUsage]  # what a file names


class WithDtype:
    """Pickled as a tensor is whose dtype stands beside its storage."""

    def __init__(self, tensor: torch.Tensor, dtype: torch.dtype | None = None) -> None:
        self.tensor = tensor
        self.dtype = dtype or tensor.dtype

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        tensor = self.tensor
        place = (tensor.storage_offset(), tuple(tensor.size()), tensor.stride())
        arguments = (tensor.untyped_storage(), *place, tensor.requires_grad, OrderedDict(), self.dtype)
        return _rebuild_tensor_v3, arguments


def savable(tensor: torch.Tensor) -> torch.Tensor | WithDtype:
    """The tensor itself where the installed torch writes its dtype."""
    try:
        torch.save(tensor, io.BytesIO())
    except KeyError:
        return WithDtype(tensor)
    return tensor
