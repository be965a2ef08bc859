"""Tensors of one number, in another tensor's shape or dtype: ``zeros_like``, ``new_zeros`` and their kin."""

from __future__ import annotations

from typing import ClassVar

from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.creation import Full
from trtdsl.types import Dim, DType, SymbolicDim


class FullLike(Composed):
    """A tensor of the input's shape, and its dtype unless one is given, filled with ``fill_value``."""

    torch = "torch.full_like"
    examples = (
        "full_like(0.5)(float16[N, 3]) -> float16[N, 3]",
        "full_like(2)(float32[2, 3]) -> float32[2, 3]",
        "full_like(1, dtype = int64)(bool[S]) -> int64[S]",
    )

    fill_value: bool | int | float | SymbolicDim
    dtype: DType | None = None

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Full(input.shape, self.fill_value, self.dtype or input.dtype))


class ZerosLike(Composed):
    """A tensor of the input's shape, and its dtype unless one is given, filled with 0."""

    torch = "torch.zeros_like"
    examples = (
        "zeros_like()(float32[N, S]) -> float32[N, S]",
        "zeros_like(dtype = int32)(float16[2]) -> int32[2]",
    )
    value: ClassVar[int] = 0

    dtype: DType | None = None

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Full(input.shape, self.value, self.dtype or input.dtype))


class OnesLike(ZerosLike):
    """A tensor of the input's shape, and its dtype unless one is given, filled with 1."""

    torch = "torch.ones_like"
    examples = (
        "ones_like()(int64[N, S]) -> int64[N, S]",
        "ones_like(dtype = bool)(float32[N]) -> bool[N]",
    )
    value = 1


class NewFull(Composed):
    """A tensor of ``size``, in the input's dtype unless one is given, filled with ``fill_value``."""

    torch = "torch.Tensor.new_full"
    examples = (
        "new_full((N, 2), 0.5)(float16[N, 3]) -> float16[N, 2]",
        "new_full((), 3, dtype = int64)(float32[2]) -> int64[]",
    )

    size: tuple[Dim, ...]
    fill_value: bool | int | float | SymbolicDim
    dtype: DType | None = None

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Full(self.size, self.fill_value, self.dtype or input.dtype))


class NewZeros(Composed):
    """A tensor of ``size``, in the input's dtype unless one is given, filled with 0."""

    torch = "torch.Tensor.new_zeros"
    examples = (
        "new_zeros((N, 4))(float16[N, 3]) -> float16[N, 4]",
        "new_zeros((2,), dtype = bool)(float32[3]) -> bool[2]",
    )
    variadic = "size"
    value: ClassVar[int] = 0

    size: tuple[Dim, ...]
    dtype: DType | None = None

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Full(self.size, self.value, self.dtype or input.dtype))


class NewOnes(NewZeros):
    """A tensor of ``size``, in the input's dtype unless one is given, filled with 1."""

    torch = "torch.Tensor.new_ones"
    examples = (
        "new_ones((S,))(int64[S, 2]) -> int64[S]",
        "new_ones((), dtype = float16)(bool[3]) -> float16[]",
    )
    value = 1
