"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtdsl.ops.arithmetic_layers import computed, without_overflow
from trtdsl.ops.base import Function
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import broadcast_shapes, promote, require_rank, same_dim, type_of
from trtdsl.types import Dim, DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


def _common_dtype(what: str, a: TensorType, b: TensorType, about: str) -> DType:
    if a.dtype is not b.dtype:
        raise Refused(f"{what} needs one dtype, but has {a.dtype} and {b.dtype}", about)
    if not a.dtype.is_floating:
        raise Refused(
            f"{what} of {a.dtype} does not exist in TensorRT", "input", help="cast to a floating-point dtype"
        )
    return computed(a).dtype


def _check_inner(what: str, a: TensorType, b: TensorType, rows: Dim, about: str) -> None:
    if not same_dim(a.shape[-1], rows, what, about):
        raise Refused(f"{what} of {a} and {b}: {a.shape[-1]} columns against {rows} rows", about)


def product_type(what: str, a: TensorType, b: TensorType, about: str) -> TensorType:
    """torch.matmul's result; a vector is a row on the left, a column on the right."""
    dtype = _common_dtype(what, a, b, about)
    for name, type in (("input", a), (about, b)):
        if type.rank == 0:
            raise Refused(f"{what} needs at least one dimension", name, help="use `mul` for a number")
    _check_inner(what, a, b, b.shape[-2] if b.rank > 1 else b.shape[0], about)
    rows = a.shape[-2:-1]
    columns = b.shape[-1:] if b.rank > 1 else ()
    return TensorType(dtype, (*broadcast_shapes(a.shape[:-2], b.shape[:-2]), *rows, *columns))


def product(net: Network, a: Tensor, b: Tensor) -> Tensor:
    """The layers of ``torch.matmul``."""
    left = net.reshape(a, (1, *a.shape)) if a.rank == 1 else a
    right = net.reshape(b, (*b.shape, 1)) if b.rank == 1 else b
    result = net.matmul(left, right)
    return net.reshape(result, product_type("matmul", a.type, b.type, "other").shape)


def _product_of(a: Array, b: Array) -> Array:
    """The product as TensorRT and PyTorch have it: in narrow types, sums are float32."""
    return np.asarray(np.matmul(a.astype(np.float32), b.astype(np.float32))).astype(a.dtype)


class Matmul(Function):
    """Product of the last two dimensions, the others broadcast; vectors have one dimension."""

    torch = "torch.matmul"
    examples = (
        "matmul()(float32[N, 4, 8], float32[8, 3]) -> float32[N, 4, 3]",
        "matmul()(float32[N, 2, S, 8], float32[N, 2, 8, S]) -> float32[N, 2, S, S]",
        "matmul()(float32[N, 1, 4, 8], float32[5, 8, 3]) -> float32[N, 5, 4, 3]",
        "matmul()(float32[8], float32[8]) -> float32[]",
        "matmul()(float32[N, 8], float32[8]) -> float32[N]",
        "matmul()(float32[N, 4, 8], float32[8]) -> float32[N, 4]",
        "matmul()(float32[8], float32[8, 3]) -> float32[3]",
        "matmul()(float32[8], float32[N, 8, 3]) -> float32[N, 3]",
        "matmul()(float16[4, 8], float16[8, 2]) -> float16[4, 2]",
    )

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        return product_type("matmul", input, other, "other")

    def lower(self, net: Network, input: Tensor, other: Tensor) -> Tensor:
        return product(net, input, other)

    def fold(self, input: Array, other: Array) -> Array:
        return _product_of(input, other)


class Bmm(Function):
    """Product of two batches of matrices, ``[b, n, m]`` and ``[b, m, p]``."""

    torch = "torch.bmm"
    examples = ("bmm()(float32[N, 4, 8], float32[N, 8, 3]) -> float32[N, 4, 3]",)

    def infer(self, input: TensorType, mat2: TensorType) -> TensorType:
        require_rank(input, (3,), "bmm", "input")
        require_rank(mat2, (3,), "bmm", "mat2")
        if not same_dim(input.shape[0], mat2.shape[0], "bmm's batches", "mat2"):
            raise Refused(f"bmm of {input.shape[0]} and {mat2.shape[0]} matrices", "mat2")
        return product_type("bmm", input, mat2, "mat2")

    def lower(self, net: Network, input: Tensor, mat2: Tensor) -> Tensor:
        return product(net, input, mat2)

    def fold(self, input: Array, mat2: Array) -> Array:
        return _product_of(input, mat2)


class Mm(Function):
    """Product of two matrices."""

    torch = "torch.mm"
    examples = ("mm()(float32[N, 8], float32[8, 3]) -> float32[N, 3]",)

    def infer(self, input: TensorType, mat2: TensorType) -> TensorType:
        require_rank(input, (2,), "mm", "input")
        require_rank(mat2, (2,), "mm", "mat2")
        return product_type("mm", input, mat2, "mat2")

    def lower(self, net: Network, input: Tensor, mat2: Tensor) -> Tensor:
        return product(net, input, mat2)

    def fold(self, input: Array, mat2: Array) -> Array:
        return _product_of(input, mat2)


class Outer(Function):
    """Every product of an element of one vector with one of another."""

    torch = "torch.outer"
    examples = (
        "outer()(float32[S], float32[4]) -> float32[S, 4]",
        "outer()(int64[S], float32[4]) -> float32[S, 4]",
    )

    def infer(self, input: TensorType, vec2: TensorType) -> TensorType:
        require_rank(input, (1,), "outer", "input")
        require_rank(vec2, (1,), "outer", "vec2")
        dtype = without_overflow(promote(input, vec2), "outer")
        if dtype.is_bool:
            raise Refused("outer does not take two bool tensors", "input")
        return TensorType(dtype, (*input.shape, *vec2.shape))

    def lower(self, net: Network, input: Tensor, vec2: Tensor) -> Tensor:
        dtype = net.result.dtype
        column = net.reshape(net.cast(input, dtype), (*input.shape, 1))
        return net.elementwise("PROD", column, net.cast(vec2, dtype))

    def fold(self, input: Array, vec2: Array) -> Array:
        dtype = self.infer(type_of(input), type_of(vec2)).dtype.numpy
        return np.multiply.outer(input.astype(dtype), vec2.astype(dtype))
