"""Tensors from nothing: parameters of the model and constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from trtdsl.ops.arguments import Nested
from trtdsl.ops.arithmetic_layers import cast
from trtdsl.ops.base import Function, Module
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_fit, type_of
from trtdsl.types import Dim, DType, SymbolicDim, TensorType, bounds
from trtdsl.types.arrays import np


class Parameter(Module):
    """A tensor of the state dict; its label is its key."""

    torch = "torch.nn.Parameter"
    examples = (
        "Parameter(1, 197, 768)() -> float32[1, 197, 768]",
        "Parameter(8, dtype = float16)() -> float16[8]",
    )
    variadic = "shape"
    keys = {"value": ""}
    takes_quantised = True

    shape: tuple[int, ...]
    dtype: DType = DType.FLOAT32

    def weights(self) -> Mapping[str, TensorType]:
        return {"value": self.infer()}

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


class Constant(Parameter):
    """A tensor of the text, not of the state dict: a file beside the checkpoint has its values."""

    name = "Constant"
    torch = ""
    examples = (
        "Constant(1, 1, 4, 4, dtype = bool)() -> bool[1, 1, 4, 4]",
        "Constant(8)() -> float32[8]",
        "Constant(3, dtype = int64)() -> int64[3]",
    )
    keys = {"value": ""}
    constant = True


class Full(Function):
    """A tensor of ``size`` filled with ``fill_value``."""

    torch = "torch.full"
    examples = (
        "full((2, 3), 0.5)() -> float32[2, 3]",
        "full((), 7)() -> int64[]",
        "full((2,), true)() -> bool[2]",
        "full((2,), 1, dtype = float16)() -> float16[2]",
        "full((), S)() -> int64[]",
        "full((N, 2), H * W, dtype = float32)() -> float32[N, 2]",
    )

    size: tuple[Dim, ...]
    fill_value: bool | int | float | SymbolicDim
    dtype: DType | None = None

    def infer(self) -> TensorType:
        if any(isinstance(size, int) and size < 0 for size in self.size):
            raise Refused("a size cannot be negative", "size")
        dtype = self.dtype or _dtype_of(self.fill_value)
        value = self.fill_value
        for number in bounds(value) if isinstance(value, SymbolicDim) else (value,):
            require_fit(number, dtype, "fill_value")
        return TensorType(dtype, self.size)

    def greatest(self) -> Dim | None:
        return self.fill_value if isinstance(self.fill_value, SymbolicDim) else None

    def lower(self, net: Network) -> Tensor:
        type = net.result
        if isinstance(self.fill_value, SymbolicDim):
            number = net.reshape(net.shape_tensor((self.fill_value,)), (1,) * type.rank)
            return net.expand(cast(net, number, type.dtype), type.shape)
        small = tuple(1 if isinstance(size, SymbolicDim) else size for size in type.shape)
        if math.prod(small) > LARGEST_CONSTANT:
            small = (1,) * type.rank
        return net.expand(net.filled(small, self.fill_value, type.dtype), type.shape)

    def fold(self) -> Array | None:
        type = self.infer()
        static = not any(isinstance(size, SymbolicDim) for size in (*type.shape, self.fill_value))
        return np.full(type.shape, self.fill_value, type.dtype.numpy) if static else None  # pyright: ignore[reportArgumentType, reportCallIssue]


class Listed(Function):
    """The tensor whose elements ``data`` lists, nested as its shape says."""

    torch = "torch.tensor"
    examples = (
        "tensor((1.0, 2.5))() -> float32[2]",
        "tensor(((1, 2), (3, 4)))() -> int64[2, 2]",
        "tensor((true, false))() -> bool[2]",
        "tensor((0.5, 1), dtype = float16)() -> float16[2]",
        "tensor(3)() -> int64[]",
    )

    data: Nested
    dtype: DType | None = None

    def array(self) -> Array:
        """The elements; refused where the nesting is uneven or a number does not fit."""
        try:
            array = np.array(self.data)
        except ValueError as error:
            raise Refused("the lists are not all of one length", "data") from error
        dtype = self.dtype or _DTYPES.get(array.dtype.kind, DType.FLOAT32)
        if array.dtype.kind in "Ou":  # beyond int64, some beyond uint64
            raise Refused("a number is too large", "data")
        with np.errstate(over="ignore"):
            fitted = array.astype(dtype.numpy)
        lost = np.isfinite(array) & ~np.isfinite(fitted) if dtype.is_floating else fitted != array
        if lost.any():
            raise Refused(f"a number does not fit into {dtype}", "data")
        return fitted

    def infer(self) -> TensorType:
        return type_of(self.array())

    def lower(self, net: Network) -> Tensor:
        return net.constant(self.array())

    def fold(self) -> Array:
        return self.array()

    def reference(self, torch: Any) -> Any:
        return torch.tensor(self.data, dtype=self.dtype and getattr(torch, str(self.dtype)))


_DTYPES = {"b": DType.BOOL, "i": DType.INT64, "f": DType.FLOAT32}


class Zeros(Function):
    """A tensor of ``size`` filled with 0."""

    torch = "torch.zeros"
    examples = ("zeros(2, 3)() -> float32[2, 3]", "zeros((4,), dtype = int32)() -> int32[4]")
    variadic = "size"
    value: ClassVar[int] = 0

    size: tuple[Dim, ...]
    dtype: DType | None = None

    @property
    def _full(self) -> Full:
        return Full(self.size, self.value, self.dtype or DType.FLOAT32)

    def infer(self) -> TensorType:
        return self._full.infer()

    def lower(self, net: Network) -> Tensor:
        return self._full.lower(net)

    def fold(self) -> Array | None:
        return self._full.fold()


class Ones(Zeros):
    """A tensor of ``size`` filled with 1."""

    torch = "torch.ones"
    examples = ("ones(2, 3)() -> float32[2, 3]", "ones((4,), dtype = bool)() -> bool[4]")
    value = 1


LARGEST_CONSTANT = 1 << 24
"""Elements of a constant that is written in the text, at most."""


def _dtype_of(value: bool | int | float | SymbolicDim) -> DType:
    if isinstance(value, bool):
        return DType.BOOL
    return DType.FLOAT32 if isinstance(value, float) else DType.INT64
