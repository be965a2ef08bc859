"""Distances and angles between vectors: ``cdist``, ``pairwise_distance``, ``cosine_similarity``, ``dist``.

All take differences first.  A squared distance found by products, ``a * a - 2 * a * b + b * b``, as PyTorch
may for many rows, loses what is near 0.
"""

from __future__ import annotations

from typing import Any

from trtdsl.ops.base import Spelling
from trtdsl.ops.composed import Composed, Emit, Part, type_of_part
from trtdsl.ops.division import Div
from trtdsl.ops.logic import To
from trtdsl.ops.pointwise import Add, Clamp, Mul, Sub
from trtdsl.ops.reduction import Sum
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import broadcast_shapes, floating, promote, require_floating, same_dim, wrap_dim
from trtdsl.ops.shape import Expand, Unsqueeze
from trtdsl.ops.vector_norm import VectorNorm
from trtdsl.types import DType


class Cdist(Composed):
    """The distance of order ``p`` of each row of ``x1`` from each of ``x2``.

    Found from differences, as PyTorch does where ``compute_mode`` says so or there are at most 25 rows.
    """

    torch = "torch.cdist"
    examples = (
        "cdist(float32[N, 4, 8], float32[N, S, 8]) -> float32[N, 4, S]",
        "cdist(p = 1.0)(float32[S, 3], float32[2, 3]) -> float32[S, 2]",
        "cdist(p = inf)(float32[N, 1, 4, 3], float32[2, 5, 3]) -> float32[N, 2, 4, 5]",
        "cdist(p = 3.0)(float32[4, 2], float32[S, 2]) -> float32[4, S]",
        "cdist(p = 0.0)(float32[4, 2], float32[S, 2]) -> float32[4, S]",
    )
    ignored = ("compute_mode",)

    p: float = 2.0

    def compose(self, emit: Emit, x1: Part, x2: Part) -> Part:
        if self.p < 0:
            raise Refused(f"the order of a distance cannot be negative, {self.p} is", "p")
        for name, tensor in (("x1", x1), ("x2", x2)):
            require_floating(type_of_part(tensor), self.name, name)
            if tensor.rank < 2:
                raise Refused(f"cdist needs a tensor of rank 2 at least, not {tensor.rank}", name)
        if not same_dim(x1.shape[-1], x2.shape[-1], "cdist", "x2"):
            raise Refused(f"cdist of rows of {x1.shape[-1]} and {x2.shape[-1]} elements", "x2")
        dtype = promote(type_of_part(x1), type_of_part(x2))
        left, right = (emit(To(DType.FLOAT32), x) for x in (x1, x2))
        difference = emit(Sub(), emit(Unsqueeze(-2), left), emit(Unsqueeze(-3), right))
        return emit(To(dtype), emit(VectorNorm(self.p, -1), difference))

    def reference(self, torch: Any, x1: Any, x2: Any) -> Any:
        return torch.cdist(x1, x2, self.p, compute_mode="donot_use_mm_for_euclid_dist")


class PairwiseDistance(Composed):
    """The norm of order ``p`` of ``x1 - x2 + eps`` over the last dimension."""

    torch = "torch.nn.functional.pairwise_distance"
    examples = (
        "pairwise_distance(float32[N, 8], float32[N, 8]) -> float32[N]",
        "pairwise_distance(p = 1.0, eps = 0.5, keepdim = true)(float32[N, S], float32[S]) -> float32[N, 1]",
        "pairwise_distance(float16[N, 8], float16[8]) -> float16[N]",
    )
    spellings = (Spelling("torch.nn.PairwiseDistance", ("p", "eps", "keepdim")),)

    p: float = 2.0
    eps: float = 1e-6
    keepdim: bool = False

    def compose(self, emit: Emit, x1: Part, x2: Part) -> Part:
        if not max(x1.rank, x2.rank):
            raise Refused("pairwise_distance needs a tensor of rank 1 at least", "x1")
        difference = emit(Sub(), x1, x2)
        difference = emit(To(floating(difference.dtype)), difference)
        return emit(VectorNorm(self.p, -1, self.keepdim), emit(Add(), difference, self.eps))


class CosineSimilarity(Composed):
    """The product of two vectors along ``dim``, each divided by its length, at least ``eps``."""

    torch = "torch.nn.functional.cosine_similarity"
    examples = (
        "cosine_similarity(float32[N, 8], float32[N, 8]) -> float32[N]",
        "cosine_similarity(dim = -1, eps = 0.5)(float32[N, 1, S], float32[4, S]) -> float32[N, 4]",
        "cosine_similarity(dim = 2)(float16[N, 4, 8], float16[N, 4, 8]) -> float16[N, 4]",
    )
    spellings = (Spelling("torch.nn.CosineSimilarity", ("dim", "eps")),)

    dim: int = 1
    eps: float = 1e-8

    def compose(self, emit: Emit, x1: Part, x2: Part) -> Part:
        # A single number counts as any other tensor does here.
        dtype = promote(*(type_of_part(x).with_shape((1,)) for x in (x1, x2)))
        if not dtype.is_floating:
            raise Refused(f"cosine_similarity needs floating-point tensors, not {dtype}", "x1")
        whole = broadcast_shapes(x1.shape, x2.shape)
        rank = len(whole)
        # Counted from the end it is the same dimension of both.
        dim = wrap_dim(self.dim, rank) - max(rank, 1)
        directions: list[Part] = []
        for tensor in (x1, x2):
            vectors = emit(To(dtype), tensor)
            while vectors.rank < -dim and rank:
                vectors = emit(Unsqueeze(0), vectors)
            if rank and vectors.shape[dim] != whole[dim]:
                # The length is that of the vector with as many elements as the other's.
                size = (*(-1,) * (vectors.rank + dim), whole[dim], *(-1,) * (-dim - 1))
                vectors = emit(Expand(size), vectors)
            length = emit(VectorNorm(2, dim, True), vectors)
            directions.append(emit(Div(), vectors, emit(Clamp(min=self.eps), length)))
        return emit(Sum(dim), emit(Mul(), *directions))


class Dist(Composed):
    """The norm of order ``p`` of the difference of two tensors."""

    torch = "torch.dist"
    examples = (
        "dist(float32[N, 8], float32[8]) -> float32[]",
        "dist(p = 1)(float16[N, 8], float16[N, 8]) -> float16[]",
        "dist(p = inf)(float32[S], float32[]) -> float32[]",
    )

    p: int | float = 2

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        return emit(VectorNorm(self.p), emit(Sub(), input, other))
