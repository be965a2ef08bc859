"""Rolling, flipping and repeating: what PyTorch allows and what it does not."""

from __future__ import annotations

import pytest
import torch

from tests.elaborate.bodies import mistakes_of
from tests.ops.one_node import check_equals_torch, refused, t
from trtdsl.ops.movement import Flip, Repeat, RepeatInterleave, Roll, Rot90, Tile

X = torch.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("shift", [0, 1, -1, 5, -9, 300])
def test_a_shift_wraps_round_as_often_as_it_has_to(shift: int) -> None:
    check_equals_torch(Roll(shift, 2), X)
    check_equals_torch(Roll(shift), X)
    check_equals_torch(Roll((shift, 1, shift), (0, -1, 2)), X.to(torch.int8))


def test_shifts_of_one_dimension_add_up() -> None:
    (found,) = check_equals_torch(Roll((1, -3), (1, -2)), X)
    assert torch.equal(found, torch.roll(X, -2, 1))


def test_what_cannot_be_rolled() -> None:
    assert refused(Roll((1, 2), (1,)), t("float32[2,3]")) == "2 shifts for 1 dimension"
    assert refused(Roll((1, 2)), t("float32[2,3]")) == "2 shifts for 0 dimensions"
    assert refused(Roll(()), t("float32[2,3]")) == "roll needs a shift"
    assert refused(Roll(1, 0), t("float32[]")) == "a tensor of rank 0 has no dimension to roll"
    assert "no dimension 2" in refused(Roll(1, 2), t("float32[2,3]"))


def test_nan_and_infinities_are_moved_untouched() -> None:
    x = torch.tensor([[float("nan"), float("inf")], [-float("inf"), -0.0]])
    for op in (Roll(1), Flip((0, 1)), Rot90(), Repeat((2, 3)), Tile((2,)), RepeatInterleave(2)):
        (found,) = check_equals_torch(op, x)
        assert found.isnan().any()


@pytest.mark.parametrize("k", range(-4, 5))
def test_turns_are_pytorchs(k: int) -> None:
    check_equals_torch(Rot90(k, (2, 0)), X)


def test_what_cannot_be_turned() -> None:
    assert refused(Rot90(1, (0, -2)), t("float32[2,3]")) == "a dimension is named twice"
    assert "plane of two dimensions, not 1" in refused(Rot90(1, (0,)), t("float32[2,3]"))
    assert "rank 2 at least, not 1" in refused(Rot90(), t("float32[2]"))
    assert refused(Flip((0, 0)), t("float32[2,3]")) == "a dimension is named twice"


def test_what_cannot_be_repeated() -> None:
    assert "each of the 2 dimensions, not 1" in refused(Repeat((2,)), t("float32[2,3]"))
    assert refused(Repeat((-1, 2)), t("float32[2,3]")) == "a dimension cannot be repeated -1 times"
    assert refused(Tile((2, -1)), t("float32[2]")) == "a dimension cannot be repeated -1 times"
    assert refused(RepeatInterleave(-1), t("float32[2]")) == "a slice cannot be repeated -1 times"


def test_repeats_given_by_a_tensor_are_not_known() -> None:
    assert mistakes_of("output y = repeat_interleave(x, x)") == [
        "`repeats` of `repeat_interleave` must be known at compile time, but this is a tensor"
    ]
