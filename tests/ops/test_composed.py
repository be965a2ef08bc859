"""Operators made of others: one statement gives types, layers and folding."""

from __future__ import annotations

import numpy as np
import pytest

from trtdsl.ops.base import OPERATORS
from trtdsl.ops.composed import Composed, Emit, Part
from trtdsl.ops.logic import Gt, Where
from trtdsl.ops.pointwise import Add, Lerp, Mul
from trtdsl.ops.stacking import Hstack, Vstack
from trtdsl.types import DType, TensorType


class Twice(Composed, abstract=True):
    """``2 * input + other``."""

    name = "twice_and"
    examples = ("twice_and",)

    def compose(self, emit: Emit, input: Part, other: Part) -> Part:
        return emit(Add(), emit(Mul(), input, 2), other)


class Unfolding(Composed, abstract=True):
    """An interpolation, which folds nothing."""

    name = "unfolding"
    examples = ("unfolding",)

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Lerp(), input, input, input)


def test_operands_are_the_arguments_behind_the_first() -> None:
    assert [operand.name for operand in Hstack.operands] == ["tensors"]
    assert Hstack.operands[0].variadic
    assert [operand.name for operand in OPERATORS["lerp"].operands] == ["input", "end", "weight"]


def test_types_are_those_of_the_operators_inside() -> None:
    half, whole = TensorType(DType.FLOAT16, (3,)), TensorType(DType.FLOAT32, (2, 1))
    assert Twice().infer(half, whole) == TensorType(DType.FLOAT32, (2, 3))


def test_a_number_has_the_dtype_beside_it() -> None:
    folded = Twice().fold(np.array([1, 2], np.int32), np.array([3, 4], np.int32))
    assert folded.dtype == np.int32
    np.testing.assert_array_equal(folded, [5, 8])


class Positive(Composed, abstract=True):
    """1 where ``input`` is above 0.5, else itself."""

    name = "one_or_itself"
    examples = ("one_or_itself",)

    def compose(self, emit: Emit, input: Part) -> Part:
        return emit(Where(), emit(Gt(), input, 0.5), 1.5, input)


def test_a_number_beside_a_condition_is_not_a_bool_nor_a_fraction_beside_integers_one() -> None:
    np.testing.assert_array_equal(Positive().fold(np.array([0.25, 2], np.float16)), [0.25, 1.5])
    assert Positive().infer(TensorType(DType.FLOAT16, (3,))) == TensorType(DType.FLOAT16, (3,))
    np.testing.assert_array_equal(Positive().fold(np.array([0, 2], np.int32)), [0, 1.5])


def test_lists_fold() -> None:
    np.testing.assert_array_equal(Hstack().fold([np.arange(2), np.arange(3)]), [0, 1, 0, 1, 2])
    np.testing.assert_array_equal(Vstack().fold([np.arange(2), np.arange(2)]), [[0, 1], [0, 1]])


def test_what_does_not_fold_inside_does_not_fold() -> None:
    assert Unfolding().fold(np.ones(2, np.float32)) is None


def test_more_operands_than_the_operator_has_are_a_bug() -> None:
    class Wrong(Composed, abstract=True):
        name = "wrong"
        examples = ("wrong",)

        def compose(self, emit: Emit, input: Part) -> Part:
            return emit(Add(), input, input, input)

    with pytest.raises(TypeError, match="Add takes 2 operands, not 3"):
        Wrong().infer(TensorType(DType.FLOAT32, ()))
