"""Narrowing, diagonals, splits at places: what PyTorch allows and what it does not."""

from __future__ import annotations

import pytest
import torch

from tests.closeness import expected, require_outputs
from tests.elaborate.bodies import graph_of, mistakes_of
from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from trtdsl.evaluate import evaluate
from trtdsl.ops.splitting import Dsplit, Hsplit, TensorSplit, Vsplit
from trtdsl.ops.views import BroadcastTo, Diagonal, ExpandAs, Narrow, ReshapeAs
from trtdsl.trt.lower import lower

X = torch.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("offset", range(-4, 6))
@pytest.mark.parametrize("dims", [(0, 1), (2, 1), (-1, -3)])
def test_diagonals(offset: int, dims: tuple[int, int]) -> None:
    x = X.float().masked_fill(X == 5, float("nan"))
    length = torch.diagonal(x, offset, *dims).shape[-1]
    if length:
        check_equals_torch(Diagonal(offset, *dims), x)
    assert Diagonal(offset, *dims).infer(t("float32[2,3,4]")).shape[-1] == length


def test_what_has_no_diagonal() -> None:
    assert "two dimensions, not one" in refused(Diagonal(0, 1, -1), t("float32[2,3]"))
    assert "no dimension 1" in refused(Diagonal(), t("float32[3]"))


def test_narrow_counts_from_the_end() -> None:
    check_equals_torch(Narrow(2, -3, 2), X)
    assert Narrow(1, 3, 0).infer(t("float32[2,3]")).shape == (2, 0)
    assert "3 elements from 1 on reach beyond" in refused(Narrow(1, 1, 3), t("float32[2,3]"))
    assert "out of range" in refused(Narrow(1, -4, 1), t("float32[2,3]"))
    assert "cannot be negative" in refused(Narrow(1, 0, -1), t("float32[2,3]"))
    assert "nothing to narrow" in refused(Narrow(0, 0, 1), t("float32[]"))


def test_pieces_at_places_may_overlap_or_be_empty() -> None:
    check_equals_torch(TensorSplit((2, 1), 2), X[..., :3])
    sizes = [piece.shape for piece in TensorSplit((1, -1, 7, 2), 1).infer(t("int64[2,3]"))]
    assert sizes == [piece.shape for piece in torch.tensor_split(torch.ones(2, 3), (1, -1, 7, 2), 1)]
    assert [each.shape for each in TensorSplit(4, 1).infer(t("int64[2,3]"))][-1] == (2, 0)


def test_what_cannot_be_split() -> None:
    assert "into 0 pieces" in refused(TensorSplit(0), t("float32[2,3]"))
    assert "leaves 1" in refused(Hsplit(2), t("float32[2,3]"))
    assert "rank 1 at least" in refused(Hsplit(1), t("float32[]"))
    assert "rank 2 at least" in refused(Vsplit(2), t("float32[2]"))
    assert "rank 3 at least" in refused(Dsplit(2), t("float32[2,2]"))


DECLARED = """
dim N = 1 .. 2 .. 4
dim S = 3 .. 4 .. 4
input x: float32[3 * N, 4]
input w: float32[S, 4]
"""


@pytest.mark.parametrize(
    "split", ["split(x, [N, 2 * N])", "split(x, [0, 3 * N])", "split(w, 2)", "split(x, 2 * N)"]
)
@pytest.mark.parametrize(("n", "s"), [(1, 3), (4, 4)])
def test_pieces_of_dynamic_sizes(split: str, n: int, s: int) -> None:
    graph = graph_of(f"a, b = {split}  output a  output b", declared=DECLARED)
    inputs = {"x": X.float().reshape(-1, 4).repeat(2, 1)[: 3 * n], "w": -X[0].float().repeat(2, 1)[:s]}
    dialect = RecordingDialect(facts("8.5.3"))
    lower(graph, dialect)
    require_outputs(evaluate(dialect.network, inputs), expected(graph, inputs), 0)


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ("split(x, S)", "how many pieces of S are in 3 * N depends on the input's size"),
        ("split(w, 1)", "how many pieces of 1 are in S depends on the input's size"),
        ("split(x, [N, S])", "whether pieces [N, S] add up to 3 * N"),
        ("split(w, [1, 1])", "pieces [1, 1] do not add up to S"),
        ("split(x, [N - 2, 2 * N + 2])", "at least 0 elements, not N - 2 for every size in range"),
        ("split(x, [-1, 3 * N + 1])", "at least 0 elements, not -1"),
        ("split(x, N - 1)", "at least 1 element, not N - 1 for every size in range"),
        ("split(w, 0)", "at least 1 element, not 0"),
    ],
)
def test_dynamic_pieces_that_are_refused(split: str, problem: str) -> None:
    assert problem in mistakes_of(f"a, b = {split}  output a  output b", declared=DECLARED)[0]


def test_shapes_of_other_tensors() -> None:
    check_equals_torch(BroadcastTo((2, -1, 3, 4)), X[:1, None])
    assert "do not fill" in refused(ReshapeAs(), t("float32[2,3]"), t("float32[5]"))
    assert "only a dimension of size 1" in refused(ExpandAs(), t("float32[2]"), t("float32[3]"))


@pytest.mark.parametrize("name", ["clone", "contiguous", "detach"])
def test_copies_are_nothing(name: str) -> None:
    (node,) = graph_of(f"output y = x -> {name}").nodes
    assert node.op.name == "clone"
