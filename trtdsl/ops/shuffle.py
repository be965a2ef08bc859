"""TensorRT's shuffle layer as an operator: what a reshape between two permutations does, in one layer."""

from __future__ import annotations

from typing import Any

from trtdsl.ops.base import Function
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import wrap_dims
from trtdsl.ops.shape import inferred_shape
from trtdsl.types import Dim, TensorType


class Shuffle(Function):
    """The dimensions in the order ``first_transpose``, then in the shape ``reshape_dims``, of which one may
    be -1, then in the order ``second_transpose``.

    It is ``permute``, ``reshape`` and ``permute`` as one layer: attention splits its heads by one, and joins
    them by another. The pass `merge_moves` makes it of these.
    """

    name = "shuffle"
    moves = True
    takes_quantised = True
    examples = (
        "shuffle((0, 1, 2), (N, S, 4, 2), (0, 2, 1, 3))(float32[N, S, 8]) -> float32[N, 4, S, 2]",
        "shuffle((0, 2, 1, 3), (N, S, 8), (0, 1, 2))(float32[N, 4, S, 2]) -> float32[N, S, 8]",
        "shuffle((1, 0), (-1, 2, 4), (2, 0, 1))(float16[N, 8]) -> float16[4, N, 2]",
        "shuffle((2, 0, 1), (3 * N, 5), (1, 0))(int64[N, 5, 3]) -> int64[5, 3 * N]",
        "shuffle((), (1,), (0,))(bool[]) -> bool[1]",
    )

    first_transpose: tuple[int, ...]
    reshape_dims: tuple[Dim, ...]
    second_transpose: tuple[int, ...]

    def infer(self, input: TensorType) -> TensorType:
        first = _order(self.first_transpose, input.rank, "first_transpose")
        turned = input.with_shape(tuple(input.shape[axis] for axis in first))
        shape = inferred_shape(turned, self.reshape_dims, "reshape_dims")
        second = _order(self.second_transpose, len(shape), "second_transpose")
        return input.with_shape(tuple(shape[axis] for axis in second))

    def orders(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Both permutations, without negative dimensions, of an input of this rank."""
        first = _order(self.first_transpose, rank, "first_transpose")
        return first, _order(self.second_transpose, len(self.reshape_dims), "second_transpose")

    def lower(self, net: Network, input: Tensor) -> Tensor:
        first, second = self.orders(input.rank)
        result = net.result.shape
        shape = [result[second.index(axis)] for axis in range(len(second))]
        return net.shuffle(input, first, shape, second)

    def is_identity(self, input: TensorType) -> bool:
        first, second = self.orders(input.rank)
        return first == tuple(range(input.rank)) and second == first and self.infer(input) == input

    def fold(self, input: Array) -> Array | None:
        sizes = [dim for dim in self.reshape_dims if isinstance(dim, int)]
        if len(sizes) != len(self.reshape_dims):
            return None
        return input.transpose(self.first_transpose).reshape(sizes).transpose(self.second_transpose)

    def reference(self, torch: Any, input: Any) -> Any:
        return input.permute(self.first_transpose).reshape(self.reshape_dims).permute(self.second_transpose)


def _order(dims: tuple[int, ...], rank: int, about: str) -> tuple[int, ...]:
    order = wrap_dims(dims, rank, about) if dims else ()
    if len(order) != rank:
        raise Refused(f"`{about}` names every dimension, {rank} of them, not {len(order)}", about)
    return order
