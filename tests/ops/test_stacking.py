"""Blocks, columns, products and choices of elements: numbers and vectors among matrices, no choice."""

from __future__ import annotations

import pytest
import torch

from tests.elaborate.bodies import graph_of
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.base import Op
from trtdsl.ops.pixels import ChannelShuffle
from trtdsl.ops.stacking import BlockDiag, CartesianProd, ColumnStack, Combinations


def test_numbers_and_vectors_among_matrices() -> None:
    several = [torch.full((2, 3), float("nan")), torch.arange(2.0), torch.tensor(5.0)]
    check_equals_torch(BlockDiag(), several)
    check_equals_torch(BlockDiag(), [torch.tensor(True), torch.ones(1, 2, dtype=torch.bool)])
    check_equals_torch(ColumnStack(), [torch.arange(3), torch.ones(3, 2)])
    check_equals_torch(CartesianProd(), [torch.arange(3), torch.arange(2), torch.arange(4)])


@pytest.mark.parametrize("r", range(1, 5))
@pytest.mark.parametrize("again", [False, True])
def test_choices(r: int, again: bool) -> None:
    check_equals_torch(Combinations(r, again), torch.randn(4))


def test_no_choice_is_an_empty_tensor() -> None:
    assert Combinations(5).infer(t("float32[4]")) == t("float32[0,5]")


def test_tensors_may_be_given_one_by_one() -> None:
    node = graph_of("output y = block_diag(x, x)", declared="input x: float32[2, 3]\n").nodes[-1]
    assert (node.op, len(node.operands)) == (BlockDiag(), 2)


@pytest.mark.parametrize(
    ("op", "types", "words"),
    [
        (Combinations(0), "float32[4]", "of 0 elements"),
        (Combinations(9), "float32[64]", "at most fit here"),
        (Combinations(), "float32[4,1]", "needs a vector"),
        (ChannelShuffle(3), "float32[1,4,2]", "not divisible by 3"),
        (ChannelShuffle(0), "float32[1,4,2]", "at least 1"),
        (ChannelShuffle(2), "float32[4,2]", "rank 3 to 7"),
    ],
    ids=str,
)
def test_what_is_refused(op: Op, types: str, words: str) -> None:
    assert words in refused(op, t(types))


def test_lists_that_are_refused() -> None:
    assert "matrices" in refused(BlockDiag(), [t("float32[1,2,3]")])  # pyright: ignore[reportArgumentType]
    assert "vectors" in refused(CartesianProd(), [t("float32[1,2]")])  # pyright: ignore[reportArgumentType]
    mixed = [t("float32[2]"), t("int64[2]")]
    assert "one dtype" in refused(CartesianProd(), mixed)  # pyright: ignore[reportArgumentType]
