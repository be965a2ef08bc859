"""Paths of layers, dtypes of numbers: the small rules of placing."""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.types import DType, SymbolicDim, TensorType


def join(path: str, label: str | None) -> str:
    """A path below another; an empty one adds no level."""
    return f"{path}.{label}" if path and label else path or label or ""


def weak_dtype(value: bool | int | float | SymbolicDim, beside: Sequence[TensorType]) -> DType:
    """PyTorch's rule: a number, or a size, takes the tensors' dtype unless its own category is higher."""
    floating = [t.dtype for t in beside if t.dtype.is_floating]
    if floating:
        return floating[0]
    if isinstance(value, float):
        return DType.FLOAT32
    integers = [t.dtype for t in beside if t.dtype.is_integer]
    if isinstance(value, bool):
        return beside[0].dtype if beside else DType.BOOL
    return integers[0] if integers else DType.INT64
