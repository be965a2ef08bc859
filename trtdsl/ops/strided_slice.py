"""Slices of several dimensions at once: TensorRT's slice layer as an operator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from trtdsl.ops.base import Function
from trtdsl.ops.indexing import Slice
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import wrap_dims
from trtdsl.types import Dim, TensorType


class StridedSlice(Function):
    """Elements ``starts`` to ``ends`` (exclusive) of each of ``dims``, every ``steps``-th, as in `slice`.

    It is one `slice` for each dimension as one layer. The pass `merge_slices` makes it of these.
    """

    name = "strided_slice"
    moves = True
    examples = (
        "strided_slice((1, 2), (0, 1), (8, 8), (2, 2))(float32[N, 8, 8, 3]) -> float32[N, 4, 4, 3]",
        "strided_slice((0, -1), (1, -2), (2, 5), (1, 1))(int64[3, N, 5]) -> int64[1, N, 2]",
        "strided_slice((2, 3), (1, 0), (H, W), (2, 1))(float16[N, 3, H, W]) -> float16[N, 3, H // 2, W]",
        "strided_slice((0, 1), (0, 1), (2, 9), (1, 3))(bool[2, 4]) -> bool[2, 1]",
    )

    dims: tuple[int, ...]
    starts: tuple[Dim, ...]
    ends: tuple[Dim, ...]
    steps: tuple[int, ...]

    def slices(self, rank: int) -> Sequence[Slice]:
        """One slice for each dimension, which may be taken in any order."""
        if any(len(each) != len(self.dims) for each in (self.starts, self.ends, self.steps)):
            raise Refused("`starts`, `ends` and `steps` need one number for each of `dims`", "dims")
        dims = wrap_dims(self.dims, rank, "dims") if self.dims else ()
        parts = zip(dims, self.starts, self.ends, self.steps, strict=True)
        return [Slice(dim, start, end, step) for dim, start, end, step in parts]

    def infer(self, input: TensorType) -> TensorType:
        return reduce(lambda type, part: part.infer(type), self.slices(input.rank), input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        start: list[Dim] = [0] * input.rank
        stride = [1] * input.rank
        for part in self.slices(input.rank):
            start[part.dim], _ = part.bounds(input.shape[part.dim])
            stride[part.dim] = part.step
        return net.slice(input, start, net.result.shape, stride)

    def is_identity(self, input: TensorType) -> bool:
        return self.infer(input) == input

    def fold(self, input: Array) -> Array | None:
        for part in self.slices(input.ndim):
            found = part.fold(input)
            if found is None:
                return None
            input = found
        return input

    def reference(self, torch: Any, input: Any) -> Any:
        for part in self.slices(input.dim()):
            input = part.reference(torch, input)
        return input
