"""Numbers found among others by comparison: ``one_hot``, ``bucketize``, ``searchsorted``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from trtdsl.ops.arithmetic_layers import computed, less_equal, negate, numeric
from trtdsl.ops.base import Function
from trtdsl.ops.gathering import Gather
from trtdsl.ops.positions import Positions, count_up, require_int64
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import promote, promote_in_order, require_rank, same_dim
from trtdsl.types import DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class OneHot(Function):
    """For each number of the input ``num_classes`` numbers, 1 at its place and else 0."""

    torch = "torch.nn.functional.one_hot"
    examples = (
        "one_hot(5)(int64[N]) -> int64[N, 5]",
        "one_hot(num_classes = 3)(int64[N, S]) -> int64[N, S, 3]",
        "one_hot(4)(int64[]) -> int64[4]",
    )

    num_classes: int = -1

    def infer(self, input: TensorType) -> TensorType:
        require_int64(input, "one_hot", "input")
        if self.num_classes < 1:
            raise Refused(
                "one_hot needs `num_classes` here: the largest number is known only at run time",
                "num_classes",
            )
        return input.with_shape((*input.shape, self.num_classes))

    def positions(self, input: TensorType) -> Mapping[str, Positions]:
        return {"input": Positions(self.num_classes)}

    def lower(self, net: Network, input: Tensor) -> Tensor:
        column = net.reshape(input, (*input.shape, 1))
        return net.cast(net.elementwise("EQUAL", column, count_up(net, self.num_classes)), DType.INT64)

    def fold(self, input: Array) -> Array:
        return (input[..., None] == np.arange(self.num_classes)).astype(np.int64)


def _counted(net: Network, sequence: Tensor, values: Tensor, right: bool) -> Tensor:
    """How many numbers of a sequence, along the last dimension of both, each value stands after."""
    dtype = numeric(promote(sequence.type, values.type))
    a, b = net.cast(sequence, dtype), net.cast(values, dtype)
    # Told by what is not: NaN stands after all.
    behind = negate(net, net.elementwise("GREATER", a, b) if right else less_equal(net, b, a))
    return net.reduce("SUM", net.cast(behind, DType.INT32), [behind.rank - 1], False)


class Bucketize(Function):
    """How many of the ``boundaries``, which must rise, lie below each number; with ``right`` also equals."""

    torch = "torch.bucketize"
    examples = (
        "bucketize()(float32[N, S], float32[5]) -> int64[N, S]",
        "bucketize(right = true)(int64[N], int64[7]) -> int64[N]",
        "bucketize(out_int32 = true)(float16[], float16[3]) -> int32[]",
        "bucketize()(int32[N, 3], float32[H]) -> int64[N, 3]",
    )

    out_int32: bool = False
    right: bool = False

    def infer(self, input: TensorType, boundaries: TensorType) -> TensorType:
        require_rank(boundaries, (1,), "bucketize", "boundaries")
        computed(input.with_dtype(promote_in_order(input, boundaries)))
        return input.with_dtype(DType.INT32 if self.out_int32 else DType.INT64)

    def lower(self, net: Network, input: Tensor, boundaries: Tensor) -> Tensor:
        column = net.reshape(input, (*input.shape, 1))
        return net.cast(_counted(net, boundaries, column, self.right), net.result.dtype)

    def fold(self, input: Array, boundaries: Array) -> Array:
        found = np.searchsorted(boundaries, input, "right" if self.right else "left")
        return np.asarray(found, np.int32 if self.out_int32 else np.int64)


class Searchsorted(Function):
    """Where each number would be inserted into ``sorted_sequence``, in front of equals, or after them.

    The last dimension rises, in the order of ``sorter`` where that is given, which `argsort` finds; the
    others are those of the input, unless the sequence has one only.
    """

    torch = "torch.searchsorted"
    examples = (
        "searchsorted()(float32[7], float32[N, S]) -> int64[N, S]",
        "searchsorted(right = true)(int64[N, 5], int64[N, 3]) -> int64[N, 3]",
        'searchsorted(out_int32 = true, side = "right")(float16[N, H], float16[N, S]) -> int32[N, S]',
        "searchsorted()(float32[4], float32[]) -> int64[]",
        "searchsorted()(float32[N, 7], float32[N, 3], int64[N, 7]) -> int64[N, 3]",
    )

    out_int32: bool = False
    right: bool = False
    side: Literal["left", "right"] | None = None

    @property
    def _is_right(self) -> bool:
        return self.right or self.side == "right"

    def infer(
        self, sorted_sequence: TensorType, input: TensorType, sorter: TensorType | None = None
    ) -> TensorType:
        if self.right and self.side == "left":
            raise Refused('`right` and `side = "left"` contradict each other', "side")
        if sorted_sequence.rank == 0:
            raise Refused("searchsorted needs a sequence of rank 1 at least", "sorted_sequence")
        if sorted_sequence.rank > 1:
            fits = sorted_sequence.rank == input.rank and all(
                same_dim(a, b, "searchsorted", "input")
                for a, b in zip(sorted_sequence.shape[:-1], input.shape[:-1], strict=True)
            )
            if not fits:
                text = f"the dimensions before the last must agree: {sorted_sequence} and {input}"
                raise Refused(text, "input")
        if sorter is not None and sorter != sorted_sequence.with_dtype(DType.INT64):
            wanted = sorted_sequence.with_dtype(DType.INT64)
            raise Refused(f"sorter must be {wanted}, as `argsort` gives it, not {sorter}", "sorter")
        computed(input.with_dtype(promote_in_order(sorted_sequence, input)))
        return input.with_dtype(DType.INT32 if self.out_int32 else DType.INT64)

    def lower(
        self, net: Network, sorted_sequence: Tensor, input: Tensor, sorter: Tensor | None = None
    ) -> Tensor:
        if sorter is not None:
            sorted_sequence = net.apply(Gather(-1), sorted_sequence, sorter)
        *around, length = sorted_sequence.shape
        rows = net.reshape(sorted_sequence, (*around, 1, length)) if around else sorted_sequence
        column = net.reshape(input, (*input.shape, 1))
        return net.cast(_counted(net, rows, column, self._is_right), net.result.dtype)

    def reference(self, torch: Any, sorted_sequence: Any, input: Any, sorter: Any = None) -> Any:
        side = {} if self.side is None else {"side": self.side}
        options = {"out_int32": self.out_int32, "right": self._is_right, "sorter": sorter, **side}
        return torch.searchsorted(sorted_sequence.contiguous(), input.contiguous(), **options)
