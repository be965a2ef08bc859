"""Products added to a tensor, distances and angles: values that vanish, overflow or are not numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import Op
from trtdsl.ops.distance import Cdist, CosineSimilarity, PairwiseDistance
from trtdsl.ops.products import (
    Addbmm,
    Addcdiv,
    Addmm,
    Addmv,
    Addr,
    Baddbmm,
    Cross,
    Dot,
    Inner,
    Kron,
    Mv,
    Trace,
)

torch.manual_seed(0)
NAN = float("nan")


def test_a_beta_of_0_leaves_nothing_of_the_tensor() -> None:
    a, b, lost = torch.randn(2, 3), torch.randn(3, 4), torch.full((4,), NAN)
    check_equals_torch(Addmm(beta=0), lost, a, b)
    check_equals_torch(Baddbmm(beta=0), lost, a[None], b[None])
    check_equals_torch(Addbmm(beta=0, alpha=3), lost, a[None], b[None])
    check_equals_torch(Addmv(beta=0), torch.tensor(math.inf), a, b[:, 0])
    check_equals_torch(Addr(beta=0), lost, a[0], b[0])
    (found,) = check_equals_torch(Addmm(beta=1), lost, a, b)
    assert found.isnan().all()


@pytest.mark.parametrize(
    ("op", "types", "words"),
    [
        (Addmm(), ["float32[2,3]", "float32[1,3]", "float32[3,4]"], "expanded"),
        (Addmm(), ["float32[4]", "float16[2,3]", "float16[3,4]"], "one dtype"),
        (Addmm(), ["float32[4]", "float32[2,3]", "float32[2,4]"], "3 columns against 2 rows"),
        (Addbmm(), ["float32[4]", "float32[2,3]", "float32[2,4]"], "rank 3, not 2"),
        (Addr(), ["bool[3,3]", "bool[3]", "bool[3]"], "does not take bool"),
        (Addr(alpha=0.5), ["int32[3,3]", "int32[3]", "int32[3]"], "must be an integer"),
        (Mv(), ["float32[2,3]", "float32[3,1]"], "rank 1, not 2"),
        (Dot(), ["float32[2]", "float32[3]"], "2 columns against 3 rows"),
        (Dot(), ["int32[2]", "int32[2]"], "does not exist in TensorRT"),
        (Inner(), ["float32[2,3]", "float32[2,4]"], "last dimensions 3 and 4"),
        (Addcdiv(), ["float32[2]", "int32[2]", "int32[2]"], "does not divide integers"),
        (Kron(), ["float32[1,1,1,1,2]", "float32[2]"], "rank 4 at most, not 5"),
        (Cross(), ["float32[2,4]", "float32[2,4]"], "has none"),
        (Cross(0), ["float32[2,3]", "float32[2,3]"], "3 elements, not 2"),
        (Trace(), ["float32[2,3,4]"], "rank 2, not 3"),
        (Cdist(p=-1.0), ["float32[2,3]", "float32[2,3]"], "cannot be negative"),
        (Cdist(), ["float32[2,3]", "float32[2,4]"], "rows of 3 and 4"),
        (Cdist(), ["float32[3]", "float32[2,3]"], "rank 2 at least"),
        (Cdist(), ["int32[2,3]", "int32[2,3]"], "floating-point"),
        (CosineSimilarity(), ["int32[2,3]", "int32[2,3]"], "floating-point"),
        (CosineSimilarity(2), ["float32[2,3]", "float32[2,3]"], "no dimension 2"),
        (PairwiseDistance(), ["float32[]", "float32[]"], "rank 1 at least"),
    ],
    ids=str,
)
def test_what_is_refused(op: Op, types: list[str], words: str) -> None:
    assert words in refused(op, *map(t, types))


def test_near_distances_keep_their_digits() -> None:
    """By products, as PyTorch takes them for more than 25 rows, they would be lost."""
    x = 1000 + torch.arange(60.0).reshape(30, 2) / 1024
    (found,) = check_equals_torch(Cdist(), x, x.flip(0))
    exact = torch.cdist(x.double(), x.flip(0).double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.allclose(found.double(), exact, rtol=1e-6, atol=0)
    check_equals_torch(Cdist(math.inf), x[:3], x)


def test_distances_of_bools_and_integers_are_of_their_differences_in_float32() -> None:
    a, b = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[0, 2], [7, -4]])
    check_equals_torch(PairwiseDistance(eps=0.5), a, b)


def test_a_vector_of_0_has_no_direction() -> None:
    x = torch.tensor([[0.0, 0.0], [1e-9, 0.0], [3.0, 4.0], [NAN, 1.0], [math.inf, 1.0]])
    y = torch.tensor([[1.0, 1.0]]).expand(5, 2).clone()
    check_equals_torch(CosineSimilarity(), x, y)
    check_equals_torch(CosineSimilarity(-1), x, y[0])
    check_equals_torch(CosineSimilarity(0), torch.randn(3), torch.randn(3))
    check_equals_torch(CosineSimilarity(1), torch.arange(6).reshape(2, 3), torch.randn(2, 3))


def test_a_vector_that_broadcasts_is_as_long_as_the_other() -> None:
    check_equals_torch(CosineSimilarity(), torch.randn(2, 3), torch.randn(2, 1))
    check_equals_torch(CosineSimilarity(-3), torch.randn(2, 1, 3), torch.tensor(0.5))
    (found,) = check_equals_torch(CosineSimilarity(0), torch.randn(3).bfloat16(), torch.tensor(0.5))
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    "shapes", [((2, 3), (4,)), ((), (2, 2)), ((2, 1, 3), (2, 2)), ((2, 2, 2, 2), (1, 2))]
)
def test_blocks_of_different_ranks(shapes: Any) -> None:
    check_equals_torch(Kron(), torch.randn(shapes[0]), torch.randn(shapes[1]))


@pytest.mark.filterwarnings("ignore:Using torch.cross without")
def test_a_cross_product_takes_the_first_dimension_of_three() -> None:
    check_equals_torch(Cross(), torch.randn(2, 3, 3), torch.randn(2, 3, 3))
    check_equals_torch(Cross(-2), torch.randn(2, 3, 1), torch.randn(1, 3, 4))
    check_equals_torch(Cross(0), torch.arange(3), torch.tensor([5, 0, -2]))
