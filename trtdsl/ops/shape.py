"""Other shapes for the same elements: reshape, flatten, permute, squeeze and their kin.

All but the permutations keep the elements' order and become one shuffle layer.
"""

from __future__ import annotations

from typing import Any

from trtdsl.ops.base import Function, Spelling
from trtdsl.ops.lowering import Array, Network, Tensor
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import same_dim, type_of, wrap_dim, wrap_dims
from trtdsl.types import (
    Dim,
    SymbolicDim,
    TensorType,
    Undecided,
    divide_exact,
    equal,
    evaluate,
    product,
    symbols,
)
from trtdsl.types.arrays import np


class Reshaping(Function, abstract=True):
    """A function whose result has the input's elements in order."""

    moves = True
    takes_quantised = True

    def infer(self, input: TensorType) -> TensorType:
        raise TypeError(f"{type(self).__name__} states no type rule")

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.reshape(input, net.result.shape)

    def is_identity(self, input: TensorType) -> bool:
        return self.infer(input) == input

    def fold(self, input: Array) -> Array:
        return input.reshape(self.infer(type_of(input)).shape)


class Flatten(Reshaping):
    """Dimensions ``start_dim`` to ``end_dim`` joined into one."""

    torch = "torch.flatten"
    examples = (
        "flatten(1)(float32[N, 3, 8, 8]) -> float32[N, 192]",
        "flatten()(float32[2, 3]) -> float32[6]",
        "flatten(1)(float32[N, 3, H, W]) -> float32[N, 3 * H * W]",
        "flatten(1, 2)(float32[N, 3, 4, 5]) -> float32[N, 12, 5]",
        "flatten()(float32[]) -> float32[1]",
    )
    spellings = (Spelling("torch.nn.Flatten", ("start_dim", "end_dim"), {"start_dim": 1}),)

    start_dim: int = 0
    end_dim: int = -1

    def infer(self, input: TensorType) -> TensorType:
        start = wrap_dim(self.start_dim, input.rank, "start_dim")
        end = wrap_dim(self.end_dim, input.rank, "end_dim")
        if input.rank == 0:
            return input.with_shape((1,))
        if start > end:
            raise Refused(f"start_dim {start} comes after end_dim {end}", "start_dim")
        shape = input.shape
        return input.with_shape((*shape[:start], product(shape[start : end + 1]), *shape[end + 1 :]))

    def caution(self, input: TensorType) -> str | None:
        batch, whole = (*input.shape, 1)[0], product(input.shape)
        if (self.start_dim, self.end_dim) != (0, -1) or not isinstance(batch, SymbolicDim) or whole == batch:
            return None
        return (
            f"flatten folds the batch into another dimension: {input} becomes [{whole}];"
            " `flatten(1)` keeps it, as `Flatten()` does"
        )


class Unflatten(Reshaping):
    """Dimension ``dim`` split into ``sizes``, of which one may be -1."""

    torch = "torch.unflatten"
    examples = (
        "unflatten(1, (3, 4))(float32[N, 12]) -> float32[N, 3, 4]",
        "unflatten(-1, (-1, 4))(float32[N, 12]) -> float32[N, 3, 4]",
    )
    spellings = (Spelling("torch.nn.Unflatten", ("dim", "sizes")),)

    dim: int
    sizes: tuple[Dim, ...]

    def infer(self, input: TensorType) -> TensorType:
        dim = wrap_dim(self.dim, input.rank)
        sizes = inferred_shape(input.with_shape((input.shape[dim],)), self.sizes, "sizes")
        return input.with_shape((*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


class Reshape(Reshaping):
    """The input's elements in order in another shape; one size may be -1."""

    torch = "torch.reshape"
    examples = (
        "reshape(N, 192)(float32[N, 3, 8, 8]) -> float32[N, 192]",
        "reshape((-1, 192))(float32[N, 3, 8, 8]) -> float32[N, 192]",
        "reshape(N, H * W, 3)(float32[N, H, W, 3]) -> float32[N, H * W, 3]",
        "reshape(N, -1, W)(float32[N, H, 2, W]) -> float32[N, 2 * H, W]",
        "reshape(-1, 2048)(float32[N, 32, 16, 16]) -> float32[4 * N, 2048]",
        "reshape(6)(float32[2, 3]) -> float32[6]",
    )
    spellings = (Spelling("torch.Tensor.view", ("input", "shape")),)
    variadic = "shape"

    shape: tuple[Dim, ...]

    def infer(self, input: TensorType) -> TensorType:
        return input.with_shape(inferred_shape(input, self.shape, "shape"))

    def caution(self, input: TensorType) -> str | None:
        batch = input.shape[0] if input.rank else 1
        result = self.infer(input).shape
        if -1 not in self.shape or not isinstance(batch, SymbolicDim) or batch in result:
            return None
        folded = result[self.shape.index(-1)]
        if not symbols(batch) & symbols(folded):
            return None
        return (
            f"the reshape folds the batch into another dimension: {input} becomes"
            f" [{', '.join(map(str, result))}], so `{batch}` is now `{folded}`"
        )


def inferred_shape(input: TensorType, shape: tuple[Dim, ...], about: str) -> tuple[Dim, ...]:
    """``shape`` with its -1 replaced, for the input's elements; refused where they do not fit."""
    unknown = [axis for axis, dim in enumerate(shape) if dim == -1]
    if len(unknown) > 1:
        raise Refused("only one size can be -1", about)
    negative = next((dim for dim in shape if isinstance(dim, int) and dim < -1), None)
    if negative is not None:
        raise Refused(f"a size cannot be {negative}", about)
    known = product(dim for dim in shape if dim != -1)
    if not unknown:
        _require_size(input, known, shape, about)
        return shape
    if known == 0:
        raise Refused("-1 cannot be inferred beside a size of 0", about)
    rest = divide_exact(input.size, known)
    if rest is None and _may_divide(input.size, known):
        text = f"whether {_elements(input)} divide into [{_text(shape)}] depends on the input's size"
        raise Refused(text, about)
    if rest is None:
        raise Refused(f"{_elements(input)} do not divide into [{_text(shape)}]", about)
    return tuple(rest if axis in unknown else dim for axis, dim in enumerate(shape))


def _may_divide(size: Dim, known: Dim) -> bool:
    """Whether some of the sizes in range, of which the first of each dimension are tried, divide."""
    dims = sorted({*symbols(size), *symbols(known)}, key=str)
    for step in range(_SIZES_TRIED if dims else 0):
        at = {symbol.name: min(symbol.minimum + step * symbol.step, symbol.maximum) for symbol in dims}
        divisor = evaluate(known, at)
        if divisor and evaluate(size, at) % divisor == 0:
            return True
    return False


_SIZES_TRIED = 64


def _require_size(input: TensorType, size: Dim, shape: tuple[Dim, ...], about: str) -> None:
    try:
        same = equal(input.size, size)
    except Undecided as undecided:
        text = f"whether {_elements(input)} fill [{_text(shape)}] depends on the input's size"
        raise Refused(text, about, undecided.help or None) from undecided
    if not same:
        raise Refused(f"{_elements(input)} do not fill [{_text(shape)}], which has {size}", about)


def _elements(input: TensorType) -> str:
    return f"the {input.size} elements of {input}"


def _text(shape: tuple[Dim, ...]) -> str:
    return ", ".join(map(str, shape))


class Squeeze(Reshaping):
    """Without dimensions of size 1: all of them, or those of ``dim`` that are."""

    torch = "torch.squeeze"
    examples = (
        "squeeze(1)(float32[N, 1, 3]) -> float32[N, 3]",
        "squeeze((1, -1))(float32[S, 1, 3, 1]) -> float32[S, 3]",
        "squeeze(-1)(float32[2, 3]) -> float32[2, 3]",
        "squeeze()(float32[1, 3, 1]) -> float32[3]",
    )

    dim: int | tuple[int, ...] | None = None

    def infer(self, input: TensorType) -> TensorType:
        dims = wrap_dims(self.dim, input.rank) if input.rank else ()
        try:
            kept = [size for axis, size in enumerate(input.shape) if axis not in dims or not equal(size, 1)]
        except Undecided as undecided:
            ones = tuple(axis for axis in dims if input.shape[axis] == 1)
            dropped = ones[0] if len(ones) == 1 else ones
            help = f"say which it drops: `squeeze({dropped})`" if ones else None
            text = f"squeeze drops dimensions of size 1: `{undecided.left}` is not always 1"
            raise Refused(text, "dim", help) from undecided
        return input.with_shape(tuple(kept))

    def reference(self, torch: Any, input: Any) -> Any:
        return torch.squeeze(input) if self.dim is None else torch.squeeze(input, self.dim)


class Unsqueeze(Reshaping):
    """A dimension of size 1 inserted at ``dim``."""

    torch = "torch.unsqueeze"
    examples = (
        "unsqueeze(1)(float32[N, 3]) -> float32[N, 1, 3]",
        "unsqueeze(-1)(float32[N, 3]) -> float32[N, 3, 1]",
        "unsqueeze(0)(int32[]) -> int32[1]",
    )

    dim: int

    def infer(self, input: TensorType) -> TensorType:
        dim = wrap_dim(self.dim, input.rank + 1)
        return input.with_shape((*input.shape[:dim], 1, *input.shape[dim:]))


class Permuting(Function, abstract=True):
    """A function whose result has the input's dimensions in another order."""

    moves = True
    takes_quantised = True

    def permutation(self, rank: int) -> tuple[int, ...]:
        """Which dimension of the input each one of the result is."""
        raise TypeError(f"{type(self).__name__} states no permutation")

    def infer(self, input: TensorType) -> TensorType:
        return input.with_shape(tuple(input.shape[axis] for axis in self.permutation(input.rank)))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.transpose(input, self.permutation(input.rank))

    def is_identity(self, input: TensorType) -> bool:
        return self.permutation(input.rank) == tuple(range(input.rank))

    def fold(self, input: Array) -> Array:
        return input.transpose(self.permutation(input.ndim))


class Permute(Permuting):
    """The dimensions in the order ``dims``."""

    torch = "torch.permute"
    examples = (
        "permute(0, 2, 3, 1)(float32[N, 3, H, W]) -> float32[N, H, W, 3]",
        "permute((-1, 0))(float32[N, 3]) -> float32[3, N]",
    )
    variadic = "dims"

    dims: tuple[int, ...]

    def permutation(self, rank: int) -> tuple[int, ...]:
        order = wrap_dims(self.dims, rank, "dims") if self.dims else ()
        if len(order) != rank:
            raise Refused(
                f"permute of a tensor of rank {rank} names every dimension, not {len(order)}", "dims"
            )
        return order


class Transpose(Permuting):
    """Dimensions ``dim0`` and ``dim1`` exchanged."""

    torch = "torch.transpose"
    examples = (
        "transpose(1, 2)(float32[N, S, 3]) -> float32[N, 3, S]",
        "transpose(-1, 0)(float32[N, 4, 3]) -> float32[3, 4, N]",
    )

    dim0: int
    dim1: int

    def permutation(self, rank: int) -> tuple[int, ...]:
        first, second = wrap_dim(self.dim0, rank, "dim0"), wrap_dim(self.dim1, rank, "dim1")
        order = list(range(rank))
        if rank:
            order[first], order[second] = order[second], order[first]
        return tuple(order)


class Movedim(Permuting):
    """Dimensions ``source`` moved to the places ``destination``, the others in order around them."""

    torch = "torch.movedim"
    examples = (
        "movedim(1, -1)(float32[N, 3, H, W]) -> float32[N, H, W, 3]",
        "movedim((0, 1), (1, 0))(float32[N, 3, 4]) -> float32[3, N, 4]",
    )

    source: int | tuple[int, ...]
    destination: int | tuple[int, ...]

    def permutation(self, rank: int) -> tuple[int, ...]:
        source = wrap_dims(self.source, rank, "source")
        destination = wrap_dims(self.destination, rank, "destination")
        if len(source) != len(destination):
            raise Refused("source and destination name different numbers of dimensions", "destination")
        placed = dict(zip(destination, source, strict=True))
        rest = iter(axis for axis in range(rank) if axis not in source)
        return tuple(placed[axis] if axis in placed else next(rest) for axis in range(rank))


class Expand(Function):
    """Dimensions of size 1 repeated to the sizes given; -1 keeps a size, new dimensions stand in front."""

    torch = "torch.Tensor.expand"
    moves = True
    examples = (
        "expand(N, 4, 3)(float32[N, 1, 3]) -> float32[N, 4, 3]",
        "expand(5, -1, -1)(float32[1, 2, 3]) -> float32[5, 2, 3]",
        "expand(N, 2, 3)(float32[2, 3]) -> float32[N, 2, 3]",
    )
    variadic = "size"

    size: tuple[Dim, ...]

    def infer(self, input: TensorType) -> TensorType:
        added = len(self.size) - input.rank
        if added < 0:
            raise Refused(f"expand to rank {len(self.size)} of a tensor of rank {input.rank}", "size")
        old = (1,) * added + input.shape
        shape = tuple(
            self._expanded(axis - added, have, want)
            for axis, (have, want) in enumerate(zip(old, self.size, strict=True))
        )
        return input.with_shape(shape)

    def _expanded(self, axis: int, have: Dim, want: Dim) -> Dim:
        if want == -1:
            if axis < 0:
                raise Refused("-1 keeps an existing size, but this dimension is new", "size")
            return have
        if have == 1 or same_dim(have, want, "expand", "size"):
            return want
        raise Refused(
            f"only a dimension of size 1 is expanded, this one has {have} and should have {want}", "size"
        )

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.expand(input, net.result.shape)

    def is_identity(self, input: TensorType) -> bool:
        return self.infer(input) == input

    def fold(self, input: Array) -> Array | None:
        result = self.infer(type_of(input))
        return np.broadcast_to(input, result.shape) if result.is_static else None  # pyright: ignore[reportArgumentType, reportCallIssue]
