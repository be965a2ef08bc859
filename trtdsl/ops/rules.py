"""Type rules with a name: PyTorch's broadcasting, type promotion and dimension numbering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from trtdsl.ops.arguments import describe_value
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, DType, SymbolicDim, TensorType, Undecided, bounds, equal, less_equal

if TYPE_CHECKING:
    import numpy.typing as npt

DEFAULT_FLOAT = DType.FLOAT32
"""PyTorch's default dtype: what a Python float becomes beside an integer tensor."""


def type_of(array: npt.NDArray[Any]) -> TensorType:
    """The type of an array's values."""
    return TensorType(DType.of_numpy(array.dtype), array.shape)


def wrap_dim(dim: int, rank: int, about: str | None = "dim") -> int:
    """A dimension number counted from the front; refused out of ``[-rank, rank)``."""
    if not -max(rank, 1) <= dim < max(rank, 1):
        raise Refused(f"there is no dimension {dim} in a tensor of rank {rank}", about)
    return dim + max(rank, 1) if dim < 0 else dim


def wrap_dims(dims: int | Sequence[int] | None, rank: int, about: str = "dim") -> tuple[int, ...]:
    """Several dimension numbers; None (or none given) means all. Refused if one stands twice."""
    if dims is None or dims == ():
        return tuple(range(rank))
    wrapped = tuple(wrap_dim(d, rank, about) for d in ((dims,) if isinstance(dims, int) else dims))
    if len(set(wrapped)) != len(wrapped):
        raise Refused("a dimension is named twice", about)
    return wrapped


def axes_mask(dims: Iterable[int]) -> int:
    """TensorRT's bit mask of non-negative dimensions."""
    return sum(1 << dim for dim in set(dims))


def given_type(types: Mapping[str, TensorType], name: str, function: str) -> TensorType:
    """The type of a tensor that a function cannot do without."""
    if name not in types:
        raise Refused(f"`{function}` needs the tensor `{name}`")
    return types[name]


def weight_sizes(types: Mapping[str, TensorType], function: str, rank: int) -> list[int]:
    """The sizes of the weight that a function is given; refused if it is missing, dynamic or empty."""
    weight = given_type(types, "weight", function)
    require_rank(weight, (rank,), f"the weight of {function}", "weight")
    sizes = [size for size in weight.shape if not isinstance(size, SymbolicDim)]
    if len(sizes) < rank:
        raise Refused(f"the sizes of {function}'s weight must be known at compile time: {weight}", "weight")
    if 0 in sizes:
        raise Refused(f"the weight of {function} must not be empty, as {weight} is", "weight")
    return sizes


def require_at_most(low: Dim, high: Dim, message: str, about: str | None = "input") -> None:
    """Refuse unless ``low <= high`` for every size in range."""
    try:
        fits = less_equal(low, high)
    except Undecided as undecided:
        smallest = bounds(high - low)[0]
        help = f"the range allows sizes that are {-smallest} too small: raise the minimum of its dimension"
        raise Refused(f"{message} for every size in range", about, help) from undecided
    if not fits:
        raise Refused(message, about)


def require_elements(x: TensorType, dims: Iterable[int], what: str) -> None:
    """Refuse a tensor that has, or may have, no elements along one of these dimensions, as PyTorch does.

    A tensor of rank 0 has one element along whatever PyTorch lets one name.
    """
    for dim in dims if x.rank else ():
        if bounds(x.shape[dim])[0] > 0:
            continue
        require_at_most(1, x.shape[dim], f"{what} needs elements along dimension {dim} of {x}")


def same_dim(left: Dim, right: Dim, what: str, about: str | None = None) -> bool:
    """Whether two dimensions are equal; refused where that depends on the dynamic sizes."""
    if left == right:
        return True
    try:
        return equal(left, right)
    except Undecided as undecided:
        raise Refused(f"{what}: {_may_differ(left, right)}", about, undecided.help or None) from undecided


def _may_differ(left: Dim, right: Dim) -> str:
    if isinstance(left, int):
        left, right = right, left
    if isinstance(right, int):
        return f"`{left}` is not always {right}"
    return f"whether `{left}` equals `{right}` depends on the input's size"


def broadcast_shapes(left: Sequence[Dim], right: Sequence[Dim]) -> tuple[Dim, ...]:
    """The shape two tensors broadcast to, as PyTorch aligns them: from the last dimension."""
    pairs = zip_longest(reversed(left), reversed(right), fillvalue=1)
    return tuple(_broadcast_dim(a, b, left, right) for a, b in pairs)[::-1]


def _broadcast_dim(a: Dim, b: Dim, left: Sequence[Dim], right: Sequence[Dim]) -> Dim:
    if a == 1:
        return b
    if b == 1 or a == b:
        return a
    shapes = f"[{', '.join(map(str, left))}] and [{', '.join(map(str, right))}]"
    if same_dim(a, b, f"shapes {shapes} do not broadcast for every size in range"):
        return a
    raise Refused(f"shapes {shapes} do not broadcast: {a} against {b}")


def promote(*types: TensorType) -> DType:
    """The dtype of an operation on these tensors, by PyTorch's rule: the highest category decides
    (bool < integer < float), and within it tensors of rank 0 yield to others."""
    category = max(_category(t.dtype) for t in types)
    inside = [t for t in types if _category(t.dtype) == category]
    decisive = [t for t in inside if t.rank > 0] or inside
    dtype = decisive[0].dtype
    for other in decisive[1:]:
        dtype = _join(dtype, other.dtype)
    return dtype


def promote_in_order(*types: TensorType) -> DType:
    """The dtype in which tensors are compared; refused where a number of rank 0 may not fit into it, for
    what wraps round has another order."""
    dtype = promote(*types)
    for other in types:
        if dtype in (DType.UINT8, DType.INT8) and other.dtype.is_integer and other.dtype is not dtype:
            raise Refused(f"{other} wraps round in PyTorch where {dtype} cannot hold it, cast one of them")
    return dtype


def _category(dtype: DType) -> int:
    return 0 if dtype.is_bool else 1 if dtype.is_integer else 2


_INTEGERS = (DType.INT8, DType.INT32, DType.INT64)


def _join(a: DType, b: DType) -> DType:
    """The common dtype of two of one category."""
    if a == b:
        return a
    if a.is_floating:
        if DType.FLOAT8 in (a, b):
            raise Refused(f"{a} and {b} have no common dtype, cast one of them")
        return DType.FLOAT32
    if DType.UINT8 in (a, b):
        other = b if a is DType.UINT8 else a
        if other is DType.INT8:
            raise Refused(f"{a} and {b} have no common dtype here (PyTorch's is int16), cast one of them")
        return other
    return max(a, b, key=_INTEGERS.index)


def floating(dtype: DType) -> DType:
    """The dtype in which a function such as ``exp`` or ``/`` computes: integers become float32."""
    return dtype if dtype.is_floating else DEFAULT_FLOAT


def require_fit(value: bool | int | float, dtype: DType, about: str) -> None:
    """Refuse a number that the dtype cannot hold. Releases of PyTorch differ: some raise, some wrap round."""
    if not dtype.holds(value):
        help = "`inf` and `-inf` fit every floating-point dtype" if dtype.is_floating else None
        raise Refused(f"{describe_value(value)} does not fit {dtype}", about, help)


def require_floating(x: TensorType, what: str, about: str) -> None:
    """Refuse integers and booleans where PyTorch does."""
    if not x.dtype.is_floating:
        raise Refused(f"{what} needs a floating-point tensor, not {x.dtype}", about)


def require_rank(x: TensorType, ranks: Sequence[int], what: str, about: str) -> None:
    """Refuse a tensor whose rank is none of ``ranks``."""
    if x.rank not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise Refused(f"{what} needs a tensor of rank {wanted}, not {x.rank}: {x}", about)


def window_size(size: Dim, kernel: int, stride: int, padding: int, dilation: int = 1) -> Dim:
    """The output size of a sliding window along one dimension (torch.nn.Conv2d's formula)."""
    return (size + (2 * padding - dilation * (kernel - 1) - 1)) // stride + 1
