"""Elements in another order or several times over: roll, flip, repeat and their kin.

Rolling and repeating are one slice layer that wraps round, whatever the sizes are at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.ops.base import Function
from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import type_of, wrap_dim, wrap_dims
from trtdsl.ops.shape import Transpose
from trtdsl.types import Dim, SymbolicDim, TensorType, product
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Roll(Function):
    """The elements shifted along dimensions; what leaves at the end comes in at the front.

    Without ``dims`` the elements are shifted in order, as if the tensor were flat.
    """

    torch = "torch.roll"
    moves = True
    examples = (
        "roll(1, 1)(float32[N, 8]) -> float32[N, 8]",
        "roll((-2, 3), (1, 2))(float32[N, H, W, 3]) -> float32[N, H, W, 3]",
        "roll(H // 2, dims = -2)(float16[N, 3, H, W]) -> float16[N, 3, H, W]",
        "roll(2)(int64[N, 3]) -> int64[N, 3]",
        "roll((1, 9), (0, 0))(bool[S, 2]) -> bool[S, 2]",
        "roll(1)(float32[]) -> float32[]",
    )

    shifts: Dim | tuple[Dim, ...]
    dims: int | tuple[int, ...] | None = None

    def infer(self, input: TensorType) -> TensorType:
        if self.shifts == ():
            raise Refused("roll needs a shift", "shifts")
        self._shift_of_each(input.rank)
        return input

    def _shift_of_each(self, rank: int) -> tuple[Dim, ...]:
        """By how much each dimension is shifted, a flat tensor's only one where no dimension is named."""
        shifts = self.shifts if isinstance(self.shifts, tuple) else (self.shifts,)
        dims = (self.dims,) if isinstance(self.dims, int) else self.dims or ()
        if not dims and len(shifts) == 1:
            return shifts
        if len(shifts) != len(dims):
            raise Refused(f"{_count(len(shifts), 'shift')} for {_count(len(dims), 'dimension')}", "shifts")
        if rank == 0:
            raise Refused("a tensor of rank 0 has no dimension to roll", "dims")
        total: list[Dim] = [0] * rank
        for shift, dim in zip(shifts, dims, strict=True):
            total[wrap_dim(dim, rank, "dims")] += shift
        return tuple(total)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        flat = net.reshape(input, (input.type.size,)) if not self.dims and self.dims != 0 else input
        start = tuple(-shift for shift in self._shift_of_each(input.rank))
        return net.reshape(net.slice(flat, start, flat.shape, mode="WRAP"), input.shape)

    def fold(self, input: Array) -> Array | None:
        shifts = self._shift_of_each(input.ndim)
        total = [shift for shift in shifts if isinstance(shift, int)]
        if len(total) != len(shifts):
            return None
        if not self.dims and self.dims != 0:
            return np.roll(input, total[0])
        return np.roll(input, total, tuple(range(input.ndim)))

    def reference(self, torch: Any, input: Any) -> Any:
        return torch.roll(input, self.shifts, () if self.dims is None else self.dims)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Flip(Function):
    """The elements in reverse order along each of ``dims``."""

    torch = "torch.flip"
    moves = True
    examples = (
        "flip(-1)(float32[N, 3, H, W]) -> float32[N, 3, H, W]",
        "flip((0, 2))(float16[N, 4, S]) -> float16[N, 4, S]",
        "flip(1)(bool[N, 4]) -> bool[N, 4]",
        "flip(())(int64[3]) -> int64[3]",
        "flip(0)(int32[]) -> int32[]",
    )
    variadic = "dims"

    dims: tuple[int, ...]

    def infer(self, input: TensorType) -> TensorType:
        self._reversed(input.rank)
        return input

    def _reversed(self, rank: int) -> tuple[int, ...]:
        dims = wrap_dims(self.dims, rank, "dims") if self.dims else ()
        return dims if rank else ()

    def lower(self, net: Network, input: Tensor) -> Tensor:
        dims = self._reversed(input.rank)
        if not dims:
            return input
        axes = range(input.rank)
        start = tuple(input.shape[axis] - 1 if axis in dims else 0 for axis in axes)
        return net.slice(input, start, input.shape, tuple(-1 if axis in dims else 1 for axis in axes))

    def is_identity(self, input: TensorType) -> bool:
        return all(input.shape[axis] == 1 for axis in self._reversed(input.rank))

    def fold(self, input: Array) -> Array:
        return np.flip(input, self._reversed(input.ndim))


class Fliplr(Composed):
    """The elements in reverse order along dimension 1."""

    torch = "torch.fliplr"
    examples = (
        "fliplr(float32[N, 8]) -> float32[N, 8]",
        "fliplr(int64[N, S, 2]) -> int64[N, S, 2]",
    )

    def compose(self, emit: Emit, input: Part) -> Part:
        if input.rank < 2:
            raise Refused(f"fliplr needs a tensor of rank 2 at least, not {input.rank}", "input")
        return emit(Flip((1,)), input)


class Flipud(Composed):
    """The elements in reverse order along dimension 0."""

    torch = "torch.flipud"
    examples = (
        "flipud(float32[N, 8]) -> float32[N, 8]",
        "flipud(bool[S]) -> bool[S]",
    )

    def compose(self, emit: Emit, input: Part) -> Part:
        if input.rank < 1:
            raise Refused("flipud needs a tensor of rank 1 at least", "input")
        return emit(Flip((0,)), input)


class Rot90(Composed):
    """The plane of ``dims`` turned by ``k`` times 90 degrees, from the first dimension towards the second."""

    torch = "torch.rot90"
    examples = (
        "rot90(float32[N, 8]) -> float32[8, N]",
        "rot90(2, (2, 3))(float32[N, 3, H, W]) -> float32[N, 3, H, W]",
        "rot90(-1, (-1, -2))(float16[N, 3, H, W]) -> float16[N, 3, W, H]",
        "rot90(4)(int64[N, 2]) -> int64[N, 2]",
    )

    k: int = 1
    dims: tuple[int, ...] = (0, 1)

    def compose(self, emit: Emit, input: Part) -> Part:
        if len(self.dims) != 2:
            raise Refused(f"rot90 turns a plane of two dimensions, not {len(self.dims)}", "dims")
        if input.rank < 2:
            raise Refused(f"rot90 needs a tensor of rank 2 at least, not {input.rank}", "input")
        first, second = wrap_dims(self.dims, input.rank, "dims")
        turns = self.k % 4
        if turns == 2:
            return emit(Flip((first, second)), input)
        turned = emit(Flip((second,) if turns == 1 else (first,)), input) if turns else input
        return emit(Transpose(first, second), turned) if turns else emit(Flip(()), input)


class Repeat(Function):
    """The tensor ``repeats`` times along each dimension; dimensions that it lacks stand in front."""

    torch = "torch.Tensor.repeat"
    moves = True
    examples = (
        "repeat(1, 2)(float32[N, 8]) -> float32[N, 16]",
        "repeat(N, 1, 1)(float32[1, 1, 8]) -> float32[N, 1, 8]",
        "repeat(2, 3, 1)(int64[S, 4]) -> int64[2, 3 * S, 4]",
        "repeat((2, 2))(bool[N, 3]) -> bool[2 * N, 6]",
        "repeat(3)(float16[]) -> float16[3]",
    )
    variadic = "repeats"

    repeats: tuple[Dim, ...]

    def infer(self, input: TensorType) -> TensorType:
        return input.with_shape(_repeated(input.shape, self.repeats, "repeat", "repeats"))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return _wrapped(net, input, net.result.shape)

    def is_identity(self, input: TensorType) -> bool:
        return self.infer(input) == input

    def fold(self, input: Array) -> Array | None:
        return _tiled(input, self.infer(type_of(input)), self.repeats)


def _repeated(shape: Sequence[Dim], repeats: Sequence[Dim], what: str, about: str) -> tuple[Dim, ...]:
    if len(repeats) < len(shape):
        text = f"{what} needs a number for each of the {len(shape)} dimensions, not {len(repeats)}"
        raise Refused(text, about)
    for count in repeats:
        if isinstance(count, int) and count < 0:
            raise Refused(f"a dimension cannot be repeated {count} times", about)
    old = (1,) * (len(repeats) - len(shape)) + tuple(shape)
    return tuple(size * count for size, count in zip(old, repeats, strict=True))


def _wrapped(net: Network, x: Tensor, shape: Sequence[Dim]) -> Tensor:
    """The elements over and over, up to this shape."""
    x = net.to_rank(x, len(shape))
    pairs = [(old, new) for old, new in zip(x.shape, shape, strict=True) if old != new]
    if all(old == 1 for old, _ in pairs):
        return net.expand(x, shape)
    return net.slice(x, (0,) * x.rank, shape, mode="WRAP")


def _tiled(array: Array, result: TensorType, repeats: tuple[Dim, ...]) -> Array | None:
    return np.tile(array, repeats) if result.is_static else None  # pyright: ignore[reportCallIssue, reportArgumentType]


class Tile(Function):
    """The tensor ``dims`` times along each dimension, the last ones where it has more."""

    torch = "torch.tile"
    examples = (
        "tile((2,))(float32[N, 8]) -> float32[N, 16]",
        "tile(3, 1, 2)(int32[N, 4]) -> int32[3, N, 8]",
        "tile(())(float32[N]) -> float32[N]",
        "tile((N, 1))(float16[2, 8]) -> float16[2 * N, 8]",
    )
    variadic = "dims"

    dims: tuple[Dim, ...]

    def infer(self, input: TensorType) -> TensorType:
        repeats = (1,) * (input.rank - len(self.dims)) + self.dims
        return input.with_shape(_repeated(input.shape, repeats, "tile", "dims"))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return _wrapped(net, input, net.result.shape)

    def is_identity(self, input: TensorType) -> bool:
        return self.infer(input) == input

    def fold(self, input: Array) -> Array | None:
        return _tiled(input, self.infer(type_of(input)), self.dims)


class RepeatInterleave(Function):
    """Every slice of dimension ``dim`` ``repeats`` times in a row; without ``dim`` every element."""

    torch = "torch.repeat_interleave"
    moves = True
    examples = (
        "repeat_interleave(2, dim = 1)(float32[N, 4, 8]) -> float32[N, 8, 8]",
        "repeat_interleave(4, -1)(float16[N, H]) -> float16[N, 4 * H]",
        "repeat_interleave(3)(int64[N, 2]) -> int64[6 * N]",
        "repeat_interleave(N, 0)(bool[1, 2]) -> bool[N, 2]",
        "repeat_interleave(2)(float32[]) -> float32[2]",
        "repeat_interleave(3, dim = -1)(int32[]) -> int32[3]",
    )
    ignored = ("output_size",)

    repeats: Dim
    dim: int | None = None

    def infer(self, input: TensorType) -> TensorType:
        if isinstance(self.repeats, int) and self.repeats < 0:
            raise Refused(f"a slice cannot be repeated {self.repeats} times", "repeats")
        if self.dim is None:
            return input.with_shape((input.size * self.repeats,))
        dim = wrap_dim(self.dim, input.rank)
        shape = input.shape or (1,)
        return input.with_shape((*shape[:dim], shape[dim] * self.repeats, *shape[dim + 1 :]))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        # The copies stand between all that precedes them, joined, and what each of them holds.
        dim = None if self.dim is None else wrap_dim(self.dim, input.rank)
        outer = input.type.size if dim is None else product(input.shape[: dim + 1])
        inner = 1 if dim is None else product(input.shape[dim + 1 :])
        apart = net.reshape(input, (outer, 1, inner))
        return net.reshape(net.expand(apart, (outer, self.repeats, inner)), net.result.shape)

    def is_identity(self, input: TensorType) -> bool:
        return self.infer(input) == input

    def fold(self, input: Array) -> Array | None:
        if isinstance(self.repeats, SymbolicDim):
            return None
        return np.repeat(input.reshape(self._axis_shape(input)), self.repeats, self.dim)

    def reference(self, torch: Any, input: Any) -> Any:
        # Not every release of PyTorch repeats what has no dimension along one.
        return torch.repeat_interleave(torch.atleast_1d(input), self.repeats, self.dim)

    def _axis_shape(self, input: Array) -> tuple[int, ...]:
        """The shape of a tensor that is repeated along a dimension, of which rank 0 has one."""
        return input.shape if self.dim is None else input.shape or (1,)
