"""Comparison, logic, choice between tensors and change of dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trtdsl.ops.arithmetic_layers import cast, computed, less_equal, negate, not_equal, numeric
from trtdsl.ops.base import Function, Spelling
from trtdsl.ops.pointwise import broadcast
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import broadcast_shapes, promote, promote_in_order, type_of
from trtdsl.types import DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Comparison(Function, abstract=True):
    """A bool for each pair of numbers, compared in their common dtype."""

    ufunc: ClassVar[str] = ""
    """the numpy function that folds constants"""

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        computed(input.with_dtype(promote_in_order(input, other)))
        return broadcast(DType.BOOL, input, other)

    def lower(self, net: Network, input: Tensor, other: Tensor) -> Tensor:
        dtype = numeric(promote(input.type, other.type))
        return self.emit(net, net.cast(input, dtype), net.cast(other, dtype))

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        """The layers, for operands of one dtype, not bool."""
        raise TypeError(f"{type(self).__name__} states no layers")

    def fold(self, input: Array, other: Array) -> Array:
        dtype = promote_in_order(type_of(input), type_of(other)).numpy
        return getattr(np, self.ufunc)(input.astype(dtype), other.astype(dtype))


class Eq(Comparison):
    """``input == other``; NaN equals nothing."""

    torch = "torch.eq"
    examples = (
        "eq()(float32[N, 8], float32[8]) -> bool[N, 8]",
        "eq()(int64[N, S], int64[]) -> bool[N, S]",
        "eq()(bool[N, 1], bool[4]) -> bool[N, 4]",
        "eq()(float32[], float32[]) -> bool[]",
        "eq()(int32[N], float32[]) -> bool[N]",
    )

    ufunc = "equal"

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return net.elementwise("EQUAL", a, b)


class Ne(Comparison):
    """``input != other``; true for NaN."""

    torch = "torch.ne"
    examples = ("ne()(float32[N, 8], float32[8]) -> bool[N, 8]", "ne()(uint8[N], uint8[]) -> bool[N]")

    ufunc = "not_equal"

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return not_equal(net, a, b)


class Lt(Comparison):
    """``input < other``."""

    torch = "torch.lt"
    examples = ("lt()(float32[N, 8], float32[8]) -> bool[N, 8]", "lt()(int64[S], int64[S]) -> bool[S]")

    ufunc = "less"

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return net.elementwise("LESS", a, b)


class Le(Comparison):
    """``input <= other``; false for NaN."""

    torch = "torch.le"
    examples = ("le()(float32[N, 8], float32[8]) -> bool[N, 8]", "le()(int32[S, 1], int32[S]) -> bool[S, S]")

    ufunc = "less_equal"

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return less_equal(net, a, b)


class Gt(Comparison):
    """``input > other``."""

    torch = "torch.gt"
    examples = ("gt()(float16[N, 8], float32[]) -> bool[N, 8]", "gt()(bool[3], bool[3]) -> bool[3]")

    ufunc = "greater"

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return net.elementwise("GREATER", a, b)


class Ge(Comparison):
    """``input >= other``; false for NaN."""

    torch = "torch.ge"
    examples = ("ge()(float32[N, 8], float32[8]) -> bool[N, 8]", "ge()(int64[S], int64[S]) -> bool[S]")

    ufunc = "greater_equal"

    def emit(self, net: Network, a: Tensor, b: Tensor) -> Tensor:
        return less_equal(net, b, a)


class Logical(Function, abstract=True):
    """Logic on two tensors of any dtype, in which only 0 is false."""

    operation: ClassVar[str] = ""

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        computed(input)
        computed(other, "other")
        return broadcast(DType.BOOL, input, other)

    def lower(self, net: Network, input: Tensor, other: Tensor) -> Tensor:
        a, b = cast(net, input, DType.BOOL), cast(net, other, DType.BOOL)
        return net.elementwise(self.operation, a, b)

    def fold(self, input: Array, other: Array) -> Array:
        return getattr(np, self.name)(input, other)


class LogicalAnd(Logical):
    """Whether both are not 0."""

    torch = "torch.logical_and"
    examples = (
        "logical_and()(bool[N, 8], bool[8]) -> bool[N, 8]",
        "logical_and()(float32[N, 8], int64[8]) -> bool[N, 8]",
    )
    operation = "AND"


class LogicalOr(Logical):
    """Whether one of both is not 0."""

    torch = "torch.logical_or"
    examples = (
        "logical_or()(bool[N, 8], bool[8]) -> bool[N, 8]",
        "logical_or()(int32[N], bool[]) -> bool[N]",
    )
    operation = "OR"


class LogicalXor(Logical):
    """Whether exactly one of both is not 0."""

    torch = "torch.logical_xor"
    examples = (
        "logical_xor()(bool[N, 8], bool[8]) -> bool[N, 8]",
        "logical_xor()(uint8[N], bool[N]) -> bool[N]",
    )
    operation = "XOR"


class LogicalNot(Function):
    """Whether the input is 0."""

    torch = "torch.logical_not"
    examples = (
        "logical_not()(bool[N, 8]) -> bool[N, 8]",
        "logical_not()(float32[N]) -> bool[N]",
        "logical_not()(bool[]) -> bool[]",
    )

    def infer(self, input: TensorType) -> TensorType:
        return computed(input).with_dtype(DType.BOOL)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return negate(net, cast(net, input, DType.BOOL))

    def fold(self, input: Array) -> Array:
        return np.logical_not(input)


class Where(Function):
    """``input`` where ``condition`` holds, else ``other``; all three broadcast."""

    torch = "torch.where"
    examples = (
        "where()(bool[N, 8], float32[N, 8], float32[8]) -> float32[N, 8]",
        "where()(bool[N, 1, S], float32[N, 4, 1], float32[]) -> float32[N, 4, S]",
        "where()(bool[N], int32[N], int64[]) -> int32[N]",
        "where()(bool[N], bool[N], bool[]) -> bool[N]",
        "where()(bool[], float16[3], float16[3]) -> float16[3]",
        "where()(bool[N], uint8[N], uint8[]) -> uint8[N]",
    )

    def infer(self, condition: TensorType, input: TensorType, other: TensorType) -> TensorType:
        if not condition.dtype.is_bool:
            raise Refused(f"the condition must be a bool tensor, not {condition.dtype}", "condition")
        return broadcast(promote(input, other), condition, input, other)

    def lower(self, net: Network, condition: Tensor, input: Tensor, other: Tensor) -> Tensor:
        return choose(net, condition, input, other)

    def fold(self, condition: Array, input: Array, other: Array) -> Array:
        dtype = promote(type_of(input), type_of(other)).numpy
        return np.where(condition, input.astype(dtype), other.astype(dtype))


def choose(net: Network, condition: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
    """A choice in the dtype of the node's result."""
    dtype = net.result.dtype
    inside = dtype if dtype.is_bool else numeric(dtype)
    return net.cast(net.select(condition, net.cast(then, inside), net.cast(otherwise, inside)), dtype)


class MaskedFill(Function):
    """``value``, a single number, where ``mask`` holds, else ``input``."""

    torch = "torch.masked_fill"
    examples = (
        "masked_fill()(float32[N, 4, S, S], bool[N, 1, 1, S], float32[]) -> float32[N, 4, S, S]",
        "masked_fill()(int64[N], bool[N], int64[]) -> int64[N]",
        "masked_fill()(float16[3], bool[2, 1], float32[]) -> float16[2, 3]",
    )

    def infer(self, input: TensorType, mask: TensorType, value: TensorType) -> TensorType:
        if not mask.dtype.is_bool:
            raise Refused(f"the mask must be a bool tensor, not {mask.dtype}", "mask")
        if value.rank != 0:
            raise Refused(f"value must be a single number, not {value}", "value", help="use `where`")
        if promote(input.with_shape((1,)), value) is not input.dtype:
            raise Refused(f"a {value.dtype} value does not fit into a {input.dtype} tensor", "value")
        return computed(input.with_shape(broadcast_shapes(input.shape, mask.shape)))

    def lower(self, net: Network, input: Tensor, mask: Tensor, value: Tensor) -> Tensor:
        return choose(net, mask, value, input)

    def fold(self, input: Array, mask: Array, value: Array) -> Array:
        return np.where(mask, value.astype(input.dtype), input)


class To(Function):
    """The values in another dtype: to integers towards zero, to bool ``input != 0``."""

    torch = "torch.Tensor.to"
    moves = True
    examples = (
        "to(float16)(float32[N, 8]) -> float16[N, 8]",
        "to(dtype = int32)(float32[N, 8]) -> int32[N, 8]",
        "to(float32)(uint8[N, 3, H, W]) -> float32[N, 3, H, W]",
        "to(bool)(float32[N, 8]) -> bool[N, 8]",
        "to(bool)(int64[]) -> bool[]",
        "to(int64)(bool[N]) -> int64[N]",
        "to(bfloat16)(float32[4]) -> bfloat16[4]",
        "to(float32)(float32[4]) -> float32[4]",
    )
    spellings = (
        Spelling("torch.Tensor.float", fixed={"dtype": DType.FLOAT32}),
        Spelling("torch.Tensor.half", fixed={"dtype": DType.FLOAT16}),
        Spelling("torch.Tensor.int", fixed={"dtype": DType.INT32}),
        Spelling("torch.Tensor.long", fixed={"dtype": DType.INT64}),
    )

    dtype: DType

    def infer(self, input: TensorType) -> TensorType:
        if self.dtype is DType.FLOAT8 and input.dtype is not DType.FLOAT8:
            raise Refused("TensorRT casts nothing to float8", "dtype")
        return computed(input).with_dtype(self.dtype)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return cast(net, input, self.dtype)

    def fold(self, input: Array) -> Array | None:
        if self.dtype.is_bool:
            return input != 0
        if self.dtype.is_integer and type_of(input).dtype.is_floating and not _fit(input, self.dtype):
            return None
        return input.astype(self.dtype.numpy)


def _fit(array: Array, dtype: DType) -> bool:
    """Whether an integer dtype holds all these numbers: what becomes of others is not said."""
    least, most = dtype.limits
    return bool(((array > least - 1) & (array < most + 1)).all())


class TypeAs(Function):
    """The values of ``input`` in the dtype of ``other``."""

    torch = "torch.Tensor.type_as"
    examples = ("type_as()(float32[N, 8], float16[3]) -> float16[N, 8]",)

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        return To(other.dtype).infer(input)

    def lower(self, net: Network, input: Tensor, other: Tensor) -> Tensor:
        return cast(net, input, other.dtype)
