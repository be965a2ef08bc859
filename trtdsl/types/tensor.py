"""Tensor types: an element type and a shape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trtdsl.types.dim import Dim, product
from trtdsl.types.dtype import DType


@dataclass(frozen=True, slots=True)
class TensorType:
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

    def with_shape(self, shape: Iterable[Dim]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"
