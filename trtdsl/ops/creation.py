"""Tensors from nothing: parameters of the model and constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trtdsl.ops.base import Function, Module, Refused
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.types import Dim, DType, SymbolicDim, TensorType


class Parameter(Module):
    """A tensor of the state dict; its label is its key."""

    torch = "torch.nn.Parameter"
    examples = (
        "Parameter(1, 197, 768)() -> float32[1, 197, 768]",
        "Parameter(8, dtype = float16)() -> float16[8]",
    )
    variadic = "shape"

    shape: tuple[int, ...]
    dtype: DType = DType.FLOAT32

    def weights(self) -> Mapping[str, TensorType]:
        return {"": self.infer()}

    def infer(self) -> TensorType:
        if any(size < 0 for size in self.shape):
            raise Refused("a size cannot be negative", "shape")
        return TensorType(self.dtype, self.shape)

    def lower(self, net: Network, value: Tensor) -> Tensor:
        return value

    def fold(self, value: Array) -> Array:
        return value

    def reference(self, torch: Any, value: Any) -> Any:
        return value


class Full(Function):
    """A tensor of ``size`` filled with ``fill_value``."""

    torch = "torch.full"
    examples = (
        "full((2, 3), 0.5)() -> float32[2, 3]",
        "full((), 7)() -> int64[]",
        "full((2,), true)() -> bool[2]",
        "full((2,), 1, dtype = float16)() -> float16[2]",
    )

    size: tuple[Dim, ...]
    fill_value: bool | int | float
    dtype: DType | None = None

    def infer(self) -> TensorType:
        if any(isinstance(size, int) and size < 0 for size in self.size):
            raise Refused("a size cannot be negative", "size")
        return TensorType(self.dtype or _dtype_of(self.fill_value), self.size)

    def lower(self, net: Network) -> Tensor:
        type = net.result
        small = tuple(1 if isinstance(size, SymbolicDim) else size for size in type.shape)
        constant = net.constant(np.full(small, self.fill_value, dtype=type.dtype.numpy))
        return net.expand(constant, type.shape)

    def fold(self) -> Array | None:
        type = self.infer()
        static = all(isinstance(size, int) for size in type.shape)
        return np.full(type.shape, self.fill_value, type.dtype.numpy) if static else None  # pyright: ignore[reportArgumentType, reportCallIssue]


def _dtype_of(value: bool | int | float) -> DType:
    if isinstance(value, bool):
        return DType.BOOL
    return DType.INT64 if isinstance(value, int) else DType.FLOAT32
