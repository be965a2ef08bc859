"""Sums of products by subscripts: PyTorch's equations, and its refusals."""

from __future__ import annotations

import pytest
import torch

from tests.elaborate.bodies import graph_of, mistakes_of
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.einsum import Einsum, Tensordot

torch.manual_seed(0)
A, B, C = torch.randn(2, 3, 4), torch.randn(4, 5), torch.randn(5, 3)


@pytest.mark.parametrize(
    ("equation", "operands"),
    [
        ("aij,jk", [A, B]),
        ("aij,jk,ki->a", [A, B, C]),
        ("aij,jk,ki->aik", [A, B, C]),
        ("Zij,jK", [A, B]),
        ("zAb,bC", [A, B]),
        ("...j,jk->k...", [A, B]),
        ("...,...", [A, A[:, :1]]),
        ("ab...,...b->a...", [A, torch.randn(1, 3)]),
        (" a i j -> j a ", [A]),
        ("->", [torch.tensor(2.0)]),
        (",ij", [torch.tensor(2.0), B]),
        ("ii", [torch.randn(3, 3)]),
        ("ijij->ji", [torch.randn(2, 3, 2, 3)]),
        ("ii,ij->j", [torch.randn(4, 4), B]),
        ("ij,jk->ik", [torch.randn(2, 1), B]),
        ("ij,ik->jk", [torch.randn(1, 3), torch.randn(2, 4)]),
        ("bij,bjk->bik", [torch.randn(1, 3, 2), torch.randn(4, 2, 5)]),
        ("abcdefgh,h->a", [torch.randn(1, 2, 1, 2, 1, 2, 1, 2), torch.randn(2)]),
        ("i,j,k->kij", [torch.arange(3), torch.arange(2), torch.arange(4)]),
        ("ij->j", [torch.ones(2, 3)]),
        ("ij->ji", [torch.ones(2, 3, dtype=torch.bool)]),
        ("ij,jk->ik", [A[0].half(), B.half()]),
    ],
)
def test_equations(equation: str, operands: list[torch.Tensor]) -> None:
    check_equals_torch(Einsum(equation), operands)


def test_a_sum_of_nan_is_nan_only_where_it_is_summed() -> None:
    x = torch.tensor([[float("nan"), 1.0], [2.0, 3.0]])
    (found,) = check_equals_torch(Einsum("ii->i"), [x])
    assert found.isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("equation", "types", "words"),
    [
        ("ij,jk", ["float32[2,3]"], "subscripts for 2 operands, 1 were given"),
        ("ijk", ["float32[2,3]"], "operand 1 has rank 2, its subscripts name 3"),
        ("i", ["float32[2,3]"], "operand 1 has rank 2, its subscripts name 1"),
        ("ij,jk", ["float32[2,3]", "float32[4,5]"], "`j` is 3 in one operand and 4 in another"),
        ("ij->ii", ["float32[2,3]"], "`i` stands twice in the result"),
        ("ij->k", ["float32[2,3]"], "`k` of the result is not one of an operand"),
        ("i1", ["float32[2,3]"], "a subscript is a letter, not `1`"),
        ("..i", ["float32[2,3]"], "a subscript is a letter, not `.`"),
        ("...i...", ["float32[2,3]"], "at most one `...`"),
        ("ij->i->j", ["float32[2,3]"], "a subscript is a letter, not `-`"),
        ("ii", ["float32[2,3]"], "repeated for dimensions of 2 and 3"),
        ("ij,jk", ["float16[2,3]", "float32[3,5]"], "needs one dtype"),
        ("ij,jk", ["int32[2,3]", "int32[3,5]"], "does not sum int32 tensors"),
    ],
)
def test_what_is_refused(equation: str, types: list[str], words: str) -> None:
    assert words in refused(Einsum(equation), [t(each) for each in types])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "call",
    ['einsum("ij,kj->ik", x, x)', 'einsum("ij,kj->ik", [x, x])', '(x, x) -> einsum("ij,kj->ik")'],
)
def test_operands_stand_behind_the_equation_or_in_front_of_a_pipe(call: str) -> None:
    (node,) = graph_of(f"output y = {call}", declared="input x: float32[2, 3]\n").nodes
    assert node.op == Einsum("ij,kj->ik")
    assert len(node.operands) == 2


def test_an_equation_is_a_string() -> None:
    assert mistakes_of("output y = einsum(x, x)") == [
        "`equation` of `einsum` must be known at compile time, but this is a tensor"
    ]


def test_tensordot_names_dimensions_of_both() -> None:
    check_equals_torch(Tensordot(((2, 0), (0, -1))), A, torch.randn(4, 5, 2))
    check_equals_torch(Tensordot(1), torch.randn(2, 1), B)
    check_equals_torch(Tensordot(0), torch.tensor(3.0), B)
    assert "over 3 dimensions" in refused(Tensordot(3), t("float32[2,3]"), t("float32[2,3]"))
    assert "named twice" in refused(Tensordot(((0, 0), (0, 1))), t("float32[2,2]"), t("float32[2,2]"))
    assert "as of the other" in refused(Tensordot(((0,), (0, 1))), t("float32[2,2]"), t("float32[2,2]"))
