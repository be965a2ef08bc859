"""What depends on all elements before one, and on the next one: cumprod, cummax, logcumsumexp, diff.

TensorRT has layers for sums alone; the others take a step for each doubling of the dimension.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.ops.arithmetic_layers import cast, computed, less_equal, numeric
from trtdsl.ops.base import Function
from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.division import Div
from trtdsl.ops.indexing import Slice
from trtdsl.ops.joining import Cat
from trtdsl.ops.logic import LogicalXor
from trtdsl.ops.pairs import LogAddExp
from trtdsl.ops.pointwise import Add, Mul, Sub
from trtdsl.ops.reduction import Cumulation, Sum
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_floating, same_dim, wrap_dim
from trtdsl.ops.running import Tensors, running, running_sum
from trtdsl.ops.shape import Reshape
from trtdsl.types import DType, TensorType, bounds
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


class Cumprod(Cumulation):
    """The product of the elements up to each along ``dim``; of integers and bools in int64.

    The elements are multiplied in groups, so that a product overflows only where PyTorch's may too.
    """

    torch = "torch.cumprod"
    examples = (
        "cumprod(dim = 1)(float32[N, 8]) -> float32[N, 8]",
        "cumprod(dim = -1)(int32[N, S]) -> int64[N, S]",
        "cumprod(0, dtype = float32)(float16[S, 3]) -> float32[S, 3]",
        "cumprod(0)(float16[]) -> float16[]",
        "cumprod(0)(bool[4]) -> int64[4]",
    )

    of_bools = "cummin"

    def lower(self, net: Network, input: Tensor) -> Tensor:
        dtype = net.result.dtype
        x = cast(net, cast(net, input, dtype), DType.FLOAT32 if dtype.is_floating else numeric(dtype))

        def multiply(earlier: Tensors, later: Tensors) -> Tensors:
            return [net.elementwise("PROD", later[0], earlier[0])]

        if not x.rank:
            return cast(net, x, dtype)
        one = net.filled((), 1, x.dtype)
        return cast(net, running(net, [x], wrap_dim(self.dim, x.rank), multiply, one)[0], dtype)


class Logcumsumexp(Function):
    """``log(cumsum(e ** input))`` along ``dim``, without overflow."""

    torch = "torch.logcumsumexp"
    examples = (
        "logcumsumexp(1)(float32[N, 8]) -> float32[N, 8]",
        "logcumsumexp(-1)(float16[N, S]) -> float16[N, S]",
        "logcumsumexp(0)(float32[]) -> float32[]",
    )

    dim: int

    def infer(self, input: TensorType) -> TensorType:
        wrap_dim(self.dim, input.rank)
        require_floating(input, self.name, "input")
        return computed(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        x = net.cast(input, DType.FLOAT32)

        def add(earlier: Tensors, later: Tensors) -> Tensors:
            return [net.apply(LogAddExp(), later[0], earlier[0])]

        if not x.rank:
            return input
        nothing = net.filled((), -math.inf, x.dtype)
        return net.cast(running(net, [x], wrap_dim(self.dim, x.rank), add, nothing)[0], input.dtype)


class _Running(Function, abstract=True):
    """The extreme of the elements up to each along ``dim``, and where it stands; of equal ones the last."""

    least: ClassVar[bool] = False

    dim: int

    def infer(self, input: TensorType) -> tuple[TensorType, TensorType]:
        wrap_dim(self.dim, input.rank)
        return computed(input), input.with_dtype(DType.INT64)

    def lower(self, net: Network, input: Tensor) -> tuple[Tensor, Tensor]:
        x = net.cast(input, numeric(input.dtype))
        if not x.rank:
            return input, net.filled((), 0, DType.INT64)
        dim = wrap_dim(self.dim, x.rank)

        def choose(earlier: Tensors, later: Tensors) -> Tensors:
            taken = self._taken(net, earlier[0], later[0])
            return [net.select(taken, b, a) for a, b in zip(earlier, later, strict=True)]

        values, places = running(net, [x, _places(net, x, dim)], dim, choose)
        return net.cast(values, input.dtype), net.cast(places, DType.INT64)

    def _taken(self, net: Network, earlier: Tensor, later: Tensor) -> Tensor:
        """Where the later one is the extreme: NaN is, and stays."""
        low, high = (later, earlier) if self.least else (earlier, later)
        taken = less_equal(net, low, high)
        return net.elementwise("OR", taken, net.unary("ISNAN", later)) if later.dtype.is_floating else taken


def _places(net: Network, x: Tensor, dim: int) -> Tensor:
    """The place of each element along a dimension, in int32."""
    size = x.shape[dim]
    along = tuple(size if axis == dim else 1 for axis in range(x.rank))
    if isinstance(size, int):
        return net.expand(net.constant(np.arange(size, dtype=np.int32).reshape(along)), x.shape)
    ones = net.expand(net.filled((1,) * x.rank, 1, DType.INT32), along)
    places = net.elementwise("SUB", running_sum(net, ones, dim), net.scalar(1, ones))
    return net.expand(places, x.shape)


class Cummax(_Running):
    """The largest of the elements up to each along ``dim``, and where it stands; of equal ones the last."""

    torch = "torch.cummax"
    examples = (
        "cummax(1)(float32[N, 8]) -> float32[N, 8], int64[N, 8]",
        "cummax(-1)(int64[N, S]) -> int64[N, S], int64[N, S]",
        "cummax(0)(float16[]) -> float16[], int64[]",
        "cummax(0)(bool[4]) -> bool[4], int64[4]",
    )


class Cummin(_Running):
    """The smallest of the elements up to each along ``dim``, and where it stands; of equal ones the last."""

    torch = "torch.cummin"
    examples = (
        "cummin(1)(float32[N, 8]) -> float32[N, 8], int64[N, 8]",
        "cummin(0)(uint8[S, 2]) -> uint8[S, 2], int64[S, 2]",
    )
    least = True


class Diff(Composed):
    """Each element less the one before it along ``dim``, ``n`` times over; of bools whether they differ."""

    torch = "torch.diff"
    examples = (
        "diff(float32[N, 8]) -> float32[N, 7]",
        "diff(n = 2, dim = 0)(int64[5, S]) -> int64[3, S]",
        "diff(dim = 0)(float16[N, 2], float16[1, 2], float16[S, 2]) -> float16[N + S, 2]",
        "diff(bool[4]) -> bool[3]",
        "diff(n = 0)(float32[N]) -> float32[N]",
    )
    order = ("input", "n", "dim", "prepend", "append")

    n: int = 1
    dim: int = -1

    def compose(
        self, emit: Emit, input: Part, prepend: Part | None = None, append: Part | None = None
    ) -> Part:
        if self.n < 0:
            raise Refused(f"differences cannot be taken {self.n} times", "n")
        if input.rank == 0:
            raise Refused("diff needs a tensor of rank 1 at least", "input")
        if self.n == 0:
            # Neither what is prepended nor the dimension matters, as in PyTorch.
            return emit(Reshape(input.shape), input)
        dim = wrap_dim(self.dim, input.rank)
        parts = [part for part in (prepend, input, append) if part is not None]
        x = emit(Cat(dim), parts) if len(parts) > 1 else input
        for _ in range(min(self.n, bounds(x.shape[dim])[1])):
            later, earlier = emit(Slice(dim, 1), x), emit(Slice(dim, 0, -1), x)
            x = emit(LogicalXor() if x.dtype.is_bool else Sub(), later, earlier)
        return x

    def reference(self, torch: Any, input: Any, prepend: Any = None, append: Any = None) -> Any:
        return torch.diff(input, self.n, self.dim, prepend, append)


class Trapezoid(Composed):
    """The area under ``y`` by trapezoids along ``dim``, of points at ``x`` or ``dx`` apart."""

    torch = "torch.trapezoid"
    examples = (
        "trapezoid(float32[N, 8]) -> float32[N]",
        "trapezoid(dx = 0.5, dim = 0)(float16[S, 3]) -> float16[3]",
        "trapezoid(dim = 1)(float32[N, 8, 2], float32[8]) -> float32[N, 2]",
        "trapezoid(float32[N, S], float32[N, S]) -> float32[N]",
        "trapezoid(int64[N, 8]) -> float32[N]",
    )
    order = ("y", "x", "dx", "dim")

    dx: int | float | None = None
    dim: int = -1

    def compose(self, emit: Emit, y: Part, x: Part | None = None) -> Part:
        if y.rank == 0 or (x is not None and x.rank == 0):
            raise Refused("trapezoid needs tensors of rank 1 at least", "y")
        if x is not None and self.dx is not None:
            raise Refused("give either `x` or `dx`, not both", "dx")
        if y.dtype.is_bool:
            raise Refused("trapezoid does not take bool tensors", "y")
        dim = wrap_dim(self.dim, y.rank)
        pair = emit(Add(), emit(Slice(dim, 1), y), emit(Slice(dim, 0, -1), y))
        if x is not None:
            pair = emit(Mul(), pair, _widths(emit, x, y, dim))
        elif self.dx not in (None, 1):
            pair = emit(Mul(), pair, self.dx)
        return emit(Div(), emit(Sum(dim), pair), 2.0)

    def reference(self, torch: Any, y: Any, x: Any = None) -> Any:
        if x is not None:
            return torch.trapezoid(y, x, dim=self.dim)
        return torch.trapezoid(y, dx=1 if self.dx is None else self.dx, dim=self.dim)


def _widths(emit: Emit, x: Part, y: Part, dim: int) -> Part:
    """How far apart the points are, along the dimension of ``y``."""
    if x.rank == 1:
        if not same_dim(x.shape[0], y.shape[dim], "trapezoid", "x"):
            raise Refused(f"{x.shape[0]} points for {y.shape[dim]} values", "x")
        x = emit(Reshape(tuple(x.shape[0] if axis == dim else 1 for axis in range(y.rank))), x)
    if x.rank != y.rank:
        raise Refused(f"trapezoid needs points of rank 1 or {y.rank}, not {x.rank}", "x")
    return emit(Sub(), emit(Slice(dim, 1), x), emit(Slice(dim, 0, -1), x))
