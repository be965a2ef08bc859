"""Tensor types: an element type and a shape."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from trtdsl.types.dim import Dim, bounds, product
from trtdsl.types.dtype import DType

LARGEST_DIM = 2**31 - 1
"""TensorRT keeps a tensor below this many elements along a dimension."""
LARGEST_SIZE = 2**40
"""Elements of a tensor at most: TensorRT-RTX refuses inputs beyond (``kMAX_HUGE_TENSOR_VOLUME``)."""


class TensorType(msgspec.Struct, frozen=True):
    """Element type and shape of a tensor, printed as ``float32[N, 3, 224, 224]``."""

    dtype: DType
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        return all(isinstance(dim, int) for dim in self.shape)

    @property
    def size(self) -> Dim:
        """Number of elements."""
        return product(self.shape)

    @property
    def excess(self) -> str:
        """Why it is too large for TensorRT whatever the dynamic dimensions are; "" where it may fit."""
        sizes = [dim if isinstance(dim, int) else bounds(dim)[0] for dim in self.shape]
        for dim, size in zip(self.shape, sizes, strict=True):
            if size > LARGEST_DIM:
                return f"its dimension {dim} is larger than {LARGEST_DIM}"
        elements = math.prod(sizes)
        return f"its {elements} elements are more than {LARGEST_SIZE}" if elements > LARGEST_SIZE else ""

    def with_shape(self, shape: Iterable[Dim]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"
