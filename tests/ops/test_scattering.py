"""Writing and adding at positions: many to one place, what is not finite, bounds; against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.elaborate.bodies import graph_of, mistakes_of
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.evaluate import evaluate
from trtdsl.ops.base import OPERATORS
from trtdsl.trt.lower import lower

OPS: Any = OPERATORS

ALL_TO_ONE = torch.tensor([1, 1, 3, 1, 3])
SPECIAL = torch.tensor([math.inf, -1.0, math.nan, 2.0, 4.0])


@pytest.mark.parametrize("name", ["scatter_add", "index_add"])
def test_what_is_not_finite_stays_at_its_place(name: str) -> None:
    """As it would not in a product with ones and zeros."""
    (found,) = check_equals_torch(OPS[name](0), torch.ones(5), ALL_TO_ONE, SPECIAL)
    assert found[[0, 2, 4]].tolist() == [1, 1, 1]


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int32, torch.int64])
def test_many_are_reduced_to_one(reduce: str, include_self: bool, dtype: torch.dtype) -> None:
    op = OPS["scatter_reduce"](0, reduce, include_self)
    source = torch.tensor([3, -2, 7, -9, 5]).to(dtype)
    (found,) = check_equals_torch(op, torch.tensor([4, 10, 2, 8]).to(dtype), ALL_TO_ONE, source)
    assert found[0] == 4


def test_an_integer_mean_is_rounded_down() -> None:
    op = OPS["scatter_reduce"](0, "mean", False)
    (found,) = check_equals_torch(
        op, torch.zeros(2, dtype=torch.int64), torch.tensor([0, 0]), torch.tensor([-3, -4])
    )
    assert found.tolist() == [-4, 0]


def test_half_precision_sums_are_not_rounded_at_each_step() -> None:
    source = torch.full((4096,), 0.01, dtype=torch.float16)
    index = torch.zeros(4096, dtype=torch.int64)
    graph = graph_of(
        "output y = scatter_add(x, 0, i, s)",
        declared="input x: float16[1]\ninput i: int64[4096]\ninput s: float16[4096]\n",
    )
    given = {"x": torch.zeros(1, dtype=torch.float16), "i": index, "s": source}
    lowered = lower(graph)
    found = evaluate(lowered.network, given, weights=lowered.weights)["y"]
    assert abs(float(found) - float(source.double().sum())) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.uint8, torch.int64])
def test_a_position_may_be_filled_twice(dtype: torch.dtype) -> None:
    x = torch.zeros(3, 4).to(dtype)
    value = torch.tensor(1).to(dtype)
    check_equals_torch(OPS["index_fill"](1), x, torch.tensor([0, 0, -1]), value)


@pytest.mark.parametrize("accumulate", [True, False])
def test_index_put_takes_positions_that_broadcast(accumulate: bool) -> None:
    rows, columns = torch.tensor([[0], [-1]]), torch.tensor([1, 2, 0])
    op = OPS["index_put"](accumulate)
    check_equals_torch(op, torch.ones(4, 3, 2), [rows, columns], torch.tensor([5.0, 6.0]))
    if accumulate:
        check_equals_torch(op, torch.ones(4, 3), [torch.tensor([1, 1, 1])], torch.arange(9.0).reshape(3, 3))


def test_index_put_with_a_mask() -> None:
    x, mask = torch.arange(12.0).reshape(3, 4), torch.tensor([True, False, True])
    check_equals_torch(OPS["index_put"](), x, [mask], torch.tensor([7.0, 8.0, 9.0, 5.0]))
    check_equals_torch(OPS["index_put"](), x > 3, [x > 2], torch.tensor(False))
    said = refused_put("float32[3, 4]", "bool[3]", "float32[2, 4]")
    assert "one value goes to all elements that it keeps" in said
    assert "the mask bool[4] does not cover" in refused_put("float32[3, 4]", "bool[4]", "float32[]")


def refused_put(x: str, index: str, values: str) -> str:
    from trtdsl.ops.refused import Refused

    with pytest.raises(Refused) as info:
        OPS["index_put"]().infer(input=t(x), indices=[t(index)], values=t(values))
    return info.value.message


@pytest.mark.parametrize(
    ("name", "parameters", "types", "message"),
    [
        ("gather", (1,), ("float32[2, 3]", "int64[3]"), "gather needs an index of the rank of the input"),
        ("gather", (1,), ("float32[2, 3]", "int64[3, 1]"), "larger than the input along dimension 0"),
        ("gather", (0,), ("float32[2]", "float32[2]"), "an index must be int32 or int64"),
        ("gather", (0,), ("float32[0]", "int64[2]"), "gather needs elements along dimension 0"),
        ("take", (), ("float32[2]", "int32[2]"), "take needs an int64 index, not int32"),
        ("take_along_dim", (0,), ("float32[2]", "int32[2]"), "take_along_dim needs an int64 index"),
        ("scatter", (0,), ("float32[2]", "int64[2]", "float16[2]"), "scatter needs one dtype"),
        ("scatter", (0,), ("int32[2]", "int64[2]", "float32[]"), "a float32 value does not fit into a int32"),
        ("scatter", (1,), ("float32[2, 3]", "int64[2, 2]", "float32[2, 1]"), "larger than the source"),
        ("scatter_add", (0,), ("uint8[2]", "int64[2]", "uint8[2]"), "wraps round"),
        ("scatter_add", (0,), ("bool[2]", "int64[2]", "bool[2]"), "does not take bool"),
        ("index_add", (0,), ("float32[2]", "int64[3]", "float32[2]"), "needs a source of shape float32[3]"),
        ("index_copy", (0,), ("float32[2]", "int32[2]", "float32[2]"), "index_copy needs an int64 index"),
        ("index_fill", (0,), ("float32[2]", "int64[2]", "float32[2]"), "value must be a single number"),
        ("one_hot", (), ("int64[2]",), "one_hot needs `num_classes` here"),
        ("one_hot", (3,), ("int32[2]",), "one_hot needs an int64 index"),
        ("select_scatter", (0, 5), ("float32[2]", "float32[]"), "position 5 is out of range"),
        ("slice_scatter", (0, 1), ("float32[4]", "float32[2]"), "needs a source of shape [3], not [2]"),
        ("tril", (), ("float32[4]",), "tril needs a tensor of rank 2 at least"),
        ("diagonal", (0, 1, -1), ("float32[4, 4]",), "a diagonal runs through two dimensions"),
        ("diag", (), ("float32[4, 4, 4]",), "diag needs a tensor of rank 1 or 2, not 3"),
    ],
)
def test_refuses(name: str, parameters: tuple[object, ...], types: tuple[str, ...], message: str) -> None:
    cls = OPS[name]
    op = cls(**dict(zip(cls.parameters, parameters, strict=False)))
    assert message in refused(op, *map(t, types))


def test_a_constant_position_is_checked() -> None:
    declared = "input x: float32[3, 4]\n"
    (found,) = mistakes_of("output y = gather(x, 1, tensor([[4], [0]]))", declared=declared)
    assert found == "position 4 is out of range in a dimension of 4"
    (found,) = mistakes_of("output y = index_fill(x, 0, tensor([-4]), 0)", declared=declared)
    assert found == "position -4 is out of range in a dimension of 3"


def test_one_number_at_positions_that_repeat() -> None:
    x, index = torch.arange(12.0).reshape(3, 4), torch.tensor([[1, 1, 3], [0, 2, 0], [3, 3, 3]])
    check_equals_torch(OPS["scatter"](1), x, index, torch.tensor(7.5))
    check_equals_torch(
        OPS["index_put"](), x, [torch.tensor([0, 2, 0]), torch.tensor([1, 1, 1])], torch.tensor(7.5)
    )


@pytest.mark.parametrize("right", [True, False])
def test_numbers_among_boundaries(right: bool) -> None:
    values = torch.tensor([-math.inf, 0.0, 1.0, 1.5, 2.0, math.inf, math.nan])
    check_equals_torch(OPS["bucketize"](right=right), values, torch.tensor([0.0, 1.0, 1.0, 2.0]))
    rows = torch.tensor([[0, 2, 2, 5], [1, 1, 4, 9]])
    check_equals_torch(OPS["searchsorted"](right=right), rows, torch.tensor([[2, 6, -1], [1, 9, 10]]))


def test_numbers_among_those_in_the_order_of_a_sorter() -> None:
    rows = torch.randint(0, 9, (3, 6), generator=torch.Generator().manual_seed(1))
    numbers = torch.tensor([[2, 6], [1, 9], [-1, 4]])
    found = check_equals_torch(OPS["searchsorted"](), rows, numbers, torch.argsort(rows))
    assert not torch.equal(found[0], torch.searchsorted(rows, numbers))
    sorter = t("int32[3, 6]")
    assert "sorter must be int64[3, 6]" in refused(
        OPS["searchsorted"](), t("int64[3, 6]"), t("int64[3, 2]"), sorter
    )


@pytest.mark.parametrize("offset", range(-4, 5))
def test_diagonals_at_every_offset(offset: int) -> None:
    if -3 < offset < 4:
        check_equals_torch(OPS["diagonal"](offset), torch.arange(12.0).reshape(3, 4))
    for name in ("tril", "triu"):
        check_equals_torch(OPS[name](offset), torch.arange(1, 13).reshape(3, 4))
    check_equals_torch(OPS["diag_embed"](offset), torch.arange(1.0, 7).reshape(2, 3))


def test_triangles_keep_what_is_not_finite() -> None:
    check_equals_torch(OPS["tril"](), torch.full((3, 3), math.inf))
    check_equals_torch(OPS["triu"](), torch.full((3, 3), math.nan))


def test_large_dynamic_ranges_are_counted_without_a_large_constant() -> None:
    declared = "dim S = 1 .. 5 .. 1000000\ninput x: float32[S]\n"
    lowered = lower(graph_of("output y = diag_embed(x)[0] + eye(S)[0]", declared=declared))
    assert max(array.nbytes for slots in lowered.weights.values() for array in slots.values()) < 100_000
    x = torch.randn(5000)
    found = evaluate(lowered.network, {"x": x}, weights=lowered.weights)["y"]
    assert torch.equal(found[1:], torch.zeros(4999))
    assert found[0] == x[0] + 1
