"""Counts, moments, order statistics and membership, each made of other operators."""

from __future__ import annotations

from typing import Any

from trtdsl.ops.base import static
from trtdsl.ops.composed import Composed, Emit, Part, type_of_part
from trtdsl.ops.division import Div
from trtdsl.ops.indexing import Select
from trtdsl.ops.logic import Eq, Gt, LogicalNot, To, Where
from trtdsl.ops.ordering import Sort, Topk
from trtdsl.ops.pointwise import Add, Mul
from trtdsl.ops.reduction import Amax, Amin, AnyTrue, Mean, Std, Sum, Var
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_floating, wrap_dim
from trtdsl.ops.shape import Reshape, Unsqueeze
from trtdsl.ops.unary import Isnan
from trtdsl.ops.vector_norm import VectorNorm
from trtdsl.types import DType

_Dims = int | tuple[int, ...] | None


class CountNonzero(Composed):
    """How many elements over ``dim`` are not 0; NaN is not."""

    torch = "torch.count_nonzero"
    examples = (
        "count_nonzero(float32[N, 8]) -> int64[]",
        "count_nonzero(1)(bool[N, S]) -> int64[N]",
        "count_nonzero((0, -1))(int32[N, 2, 3]) -> int64[2]",
    )

    dim: _Dims = None

    def compose(self, emit: Emit, input: Part) -> Part:
        truth = input if input.dtype.is_bool else emit(To(DType.BOOL), input)
        return emit(Sum(self.dim), truth)


class Nansum(Composed):
    """The sum over ``dim`` of all that is not NaN; of integers and bools in int64."""

    torch = "torch.nansum"
    examples = (
        "nansum(float32[N, 8]) -> float32[]",
        "nansum(1, true)(float16[N, S]) -> float16[N, 1]",
        "nansum(dim = (0, 1), dtype = float32)(int64[N, 3, 2]) -> float32[2]",
    )

    dim: _Dims = None
    keepdim: bool = False
    dtype: DType | None = None

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Sum(self.dim, self.keepdim, self.dtype), _without_nan(emit, input))


def _without_nan(emit: Emit, x: Part) -> Part:
    """0 in place of NaN."""
    return emit(Where(), emit(Isnan(), x), 0, x) if x.dtype.is_floating else x


class Nanmean(Composed):
    """The mean over ``dim`` of all that is not NaN; NaN where nothing else is."""

    torch = "torch.nanmean"
    examples = (
        "nanmean(float32[N, 8]) -> float32[]",
        "nanmean(-1, true)(float16[N, S]) -> float16[N, 1]",
        "nanmean(dim = (0, 1), dtype = float32)(float16[N, 3, 2]) -> float32[2]",
    )

    dim: _Dims = None
    keepdim: bool = False
    dtype: DType | None = None

    def compose(self, emit: Emit, input: Part) -> Part:
        require_floating(type_of_part(input), self.name, "input")
        total = emit(Nansum(self.dim, self.keepdim, self.dtype), input)
        require_floating(type_of_part(total), self.name, "dtype")
        there = emit(Sum(self.dim, self.keepdim), emit(LogicalNot(), emit(Isnan(), input)))
        return emit(Div(), total, there)


class _Moments(Composed, abstract=True):
    """A spread and the mean, both over ``dim``."""

    dim: _Dims = None
    correction: int | float = 1
    keepdim: bool = False
    unbiased: bool | None = None

    def compose(self, emit: Emit, input: Part) -> tuple[Part, Part]:
        kind = Var if self.name == "var_mean" else Std
        spread = emit(kind(self.dim, self.correction, self.keepdim, self.unbiased), input)
        return spread, emit(Mean(self.dim, self.keepdim), input)

    def reference(self, torch: Any, input: Any) -> Any:
        dims = None if self.dim == () else self.dim
        removed = self.correction if self.unbiased is None else int(self.unbiased)
        return getattr(torch, self.name)(input, dims, correction=removed, keepdim=self.keepdim)


class VarMean(_Moments):
    """The variance over ``dim``, and the mean."""

    torch = "torch.var_mean"
    examples = (
        "var_mean(float32[N, 8]) -> float32[], float32[]",
        "var_mean(dim = (1, 2), correction = 0, keepdim = true)(float16[N, 3, S])"
        " -> float16[N, 1, 1], float16[N, 1, 1]",
        "var_mean(1, unbiased = false)(float32[N, 8]) -> float32[N], float32[N]",
    )


class StdMean(_Moments):
    """The standard deviation over ``dim``, and the mean."""

    torch = "torch.std_mean"
    examples = ("std_mean(dim = 1)(float32[N, 8]) -> float32[N], float32[N]",)


class Aminmax(Composed):
    """The smallest and the largest element, of all or along ``dim``."""

    torch = "torch.aminmax"
    examples = (
        "aminmax(float32[N, 8]) -> float32[], float32[]",
        "aminmax(dim = 1, keepdim = true)(int64[N, 8]) -> int64[N, 1], int64[N, 1]",
    )

    dim: int | None = None
    keepdim: bool = False

    def compose(self, emit: Emit, input: Part) -> tuple[Part, Part]:
        return emit(Amin(self.dim, self.keepdim), input), emit(Amax(self.dim, self.keepdim), input)

    def reference(self, torch: Any, input: Any) -> Any:
        return tuple(torch.aminmax(input, dim=self.dim, keepdim=self.keepdim))


class Kthvalue(Composed):
    """The ``k``-th smallest element along ``dim``, and its place."""

    torch = "torch.kthvalue"
    examples = (
        "kthvalue(2)(float32[N, 8]) -> float32[N], int64[N]",
        "kthvalue(2, 0, true)(float32[S, 3]) -> float32[1, 3], int64[1, 3]",
        "kthvalue(1)(float32[]) -> float32[], int64[]",
    )

    k: int
    dim: int = -1
    keepdim: bool = False

    def compose(self, emit: Emit, input: Part) -> tuple[Part, Part]:
        if self.k < 1:
            raise Refused(f"the first element is the smallest, there is none of number {self.k}", "k")
        return _kth(emit, input, self.k, wrap_dim(self.dim, input.rank), self.keepdim)


def _kth(emit: Emit, x: Part, k: int, dim: int, keepdim: bool) -> tuple[Part, Part]:
    found = emit(Topk(k, dim, largest=False), x)
    if not x.rank:
        return found
    last = (emit(Select(dim, k - 1), part) for part in found)
    values, places = (emit(Unsqueeze(dim), part) if keepdim else part for part in last)
    return values, places


class Median(Composed):
    """The middle element, of two the smaller one: of all, or along ``dim`` together with its place.

    Where an element is NaN PyTorch's median is NaN, while TensorRT orders NaN anywhere.
    """

    torch = "torch.median"
    examples = (
        "median(float32[3, 4]) -> float32[]",
        "median(1)(float32[N, 8]) -> float32[N], int64[N]",
        "median(-1, true)(float32[N, 5]) -> float32[N, 1], int64[N, 1]",
    )

    dim: int | None = None
    keepdim: bool = False

    def compose(self, emit: Emit, input: Part) -> Part | tuple[Part, Part]:
        if input.dtype.is_bool:
            raise Refused("median does not take bool tensors", "input")
        if self.dim is None:
            if self.keepdim:
                raise Refused("keepdim needs a dim", "keepdim")
            flat = emit(Reshape((-1,)), input) if input.rank != 1 else input
            return _kth(emit, flat, self._middle(flat, 0), 0, False)[0]
        dim = wrap_dim(self.dim, input.rank)
        return _kth(emit, input, self._middle(input, dim), dim, self.keepdim)

    def _middle(self, x: Part, dim: int) -> int:
        size = static(x.shape[dim], "the number of elements that median orders", "input") if x.rank else 1
        return max((size + 1) // 2, 1)

    def reference(self, torch: Any, input: Any) -> Any:
        return torch.median(input) if self.dim is None else tuple(torch.median(input, self.dim, self.keepdim))


class Msort(Composed):
    """The elements in order along dimension 0, the smallest first."""

    torch = "torch.msort"
    examples = ("msort(float32[8, N]) -> float32[8, N]",)

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Sort(0), input)[0]


class Argsort(Composed):
    """The places of the elements in order along ``dim``."""

    torch = "torch.argsort"
    examples = (
        "argsort(float32[N, 8]) -> int64[N, 8]",
        "argsort(0, true)(float32[8, N]) -> int64[8, N]",
    )
    ignored = ("stable",)

    dim: int = -1
    descending: bool = False

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Sort(self.dim, self.descending), input)[1]


class Renorm(Composed):
    """Each slice of dimension ``dim`` whose norm of order ``p`` exceeds ``maxnorm`` made that long."""

    torch = "torch.renorm"
    examples = (
        "renorm(2, 0, 1.0)(float32[N, 8]) -> float32[N, 8]",
        "renorm(1, -1, 0.5)(float16[N, 2, S]) -> float16[N, 2, S]",
    )

    p: int | float
    dim: int
    maxnorm: int | float

    def compose(self, emit: Emit, input: Part) -> Part:
        require_floating(type_of_part(input), self.name, "input")
        if self.p <= 0:
            raise Refused(f"the order of the norm must be positive, not {self.p}", "p")
        if self.maxnorm < 0:
            raise Refused(f"a norm cannot be {self.maxnorm} at most", "maxnorm")
        if input.rank < 2:
            raise Refused(f"renorm needs a tensor of rank 2 at least, not {input.rank}", "input")
        dim = wrap_dim(self.dim, input.rank)
        others = tuple(axis for axis in range(input.rank) if axis != dim)
        norm = emit(VectorNorm(self.p, others, True), emit(To(DType.FLOAT32), input))
        # PyTorch's own safety against a division by 0.
        factor = emit(Div(), float(self.maxnorm), emit(Add(), norm, 1e-7))
        factor = emit(Where(), emit(Gt(), norm, float(self.maxnorm)), factor, 1.0)
        return emit(Mul(), input, emit(To(input.dtype), factor))


class Isin(Composed):
    """Whether each element is one of ``test_elements``; with ``invert`` whether it is none of them."""

    torch = "torch.isin"
    examples = (
        "isin(int64[N, 8], int64[3]) -> bool[N, 8]",
        "isin(invert = true)(float32[S], float32[2, 2]) -> bool[S]",
        "isin(int32[N], int32[]) -> bool[N]",
    )
    ignored = ("assume_unique",)

    invert: bool = False

    def compose(self, emit: Emit, elements: Part, test_elements: Part) -> Part:
        every = emit(Reshape((-1,)), test_elements) if test_elements.rank != 1 else test_elements
        apart = emit(Unsqueeze(-1), elements)
        found = emit(AnyTrue(-1), emit(Eq(), apart, every))
        return emit(LogicalNot(), found) if self.invert else found
