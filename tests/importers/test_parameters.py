"""Numbers that differ from use to use: the constructor's parameters, sizes, multiples, new names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from trtdsl.importers.holes import Function
from trtdsl.importers.parameters import Inferred, Instance, infer
from trtdsl.importers.program import ModuleFacts
from trtdsl.importers.sketch import Expression, Items, Literal, Text
from trtdsl.importers.variants import ANYTHING
from trtdsl.types import Dim, DType, TensorType, symbol

N = symbol("N", 1, 8, 32)


def inferred(
    *columns: tuple[str, Sequence[Any]],
    channels: Sequence[Dim] = (16, 24),
    attributes: Sequence[Mapping[str, Any]] = (),
    defaults: Mapping[str, Any] = {},
) -> Inferred:
    """Columns are ``(role, values)``; each use is given a tensor of so many channels."""
    facts = attributes or [{}] * len(channels)
    instances = [
        Instance(
            [TensorType(DType.FLOAT32, (N, size, 8, 8))],
            ModuleFacts("Block", parameters=each, defaults=defaults),
        )
        for size, each in zip(channels, facts, strict=True)
    ]
    roles, values = zip(*columns, strict=True)
    return infer(list(zip(*values, strict=True)), roles, instances)


def one(role: str, values: Sequence[Any], **given: Any) -> tuple[Expression, dict[str, list[Any]]]:
    found = inferred((role, values), **given)
    return found.expressions[0], found.parameters


def test_what_is_the_same_is_a_number() -> None:
    assert one("stride", [2, 2]) == (Literal(2), {})


def test_what_differs_is_a_parameter_called_after_what_it_is_given_for() -> None:
    assert one("padding", [1, 3]) == (Text("padding"), {"padding": [1, 3]})


def test_a_constructor_s_parameter_comes_first() -> None:
    found = one("out_channels", [16, 24], attributes=[{"planes": 16}, {"planes": 24}])
    assert found == (Text("planes"), {"planes": [16, 24]})


def test_a_default_is_a_parameter_too() -> None:
    found = one("stride", [1, 2], attributes=[{"step": 1}, {"step": 2}], defaults={"step": 1})
    assert found == (Text("step"), {"step": [1, 2]})


def test_a_size_of_the_tensor() -> None:
    found = inferred(("out_channels", [16, 24]))
    assert (found.expressions, found.parameters) == ([Text("C")], {})
    assert found.headers == ["[N, C, H, W]"]


def test_no_size_no_header() -> None:
    assert inferred(("padding", [1, 3])).headers == [""]


@pytest.mark.parametrize(("values", "text"), [([32, 48], "2 * C"), ([8, 12], "C // 2"), ([64, 96], "4 * C")])
def test_a_multiple_of_the_channels(values: list[int], text: str) -> None:
    assert one("out_channels", values) == (Text(text), {})


@pytest.mark.parametrize("role", ["kernel_size", "stride", "padding", "dilation"])
def test_no_window_is_a_multiple_of_the_channels(role: str) -> None:
    assert one(role, [8, 12]) == (Text(role), {role: [8, 12]})


def test_a_multiple_of_the_height_is_chance() -> None:
    instances = [
        Instance([TensorType(DType.FLOAT32, (N, 5, size, 8))], ModuleFacts("Block")) for size in (8, 12)
    ]
    found = infer([[16], [24]], ["out_channels"], instances)
    assert found.expressions == [Text("out_channels")]


def test_a_multiple_of_a_parameter() -> None:
    found = inferred(("planes", [5, 7]), ("out_channels", [20, 28]))
    assert found.expressions == [Text("planes"), Text("4 * planes")]


def test_the_same_values_are_the_same_parameter() -> None:
    found = inferred(("stride", [1, 2]), ("padding", [1, 2]))
    assert found.expressions == [Text("stride"), Text("stride")]
    assert found.parameters == {"stride": [1, 2]}


def test_another_value_of_the_same_role_gets_a_number() -> None:
    found = inferred(("padding", [1, 3]), ("padding", [0, 5]))
    assert found.parameters == {"padding": [1, 3], "padding2": [0, 5]}


def test_true_is_not_one() -> None:
    found = inferred(("padding", [1, 0]), ("bias", [True, False]))
    assert found.expressions == [Text("padding"), Text("bias")]


def test_a_function_is_a_parameter() -> None:
    values = [Function("relu"), Function("gelu")]
    assert one("activation", values) == (Text("activation"), {"activation": values})


def test_a_tuple_whose_parts_are_explained() -> None:
    found, parameters = one("shape", [(1, 16), (1, 24)])
    assert found == Items((Literal(1), Text("C")))
    assert parameters == {}


def test_a_dynamic_size_is_the_tensor_s() -> None:
    assert one("size", [N, N])[0] == Text("N")
    assert one("size", [2 * N, 2 * N])[0] == Text("2 * N")
    assert one("size", [16 * N, 24 * N])[0] == Text("C * N")


def test_what_a_use_leaves_out_says_nothing() -> None:
    assert one("stride", [ANYTHING, 2]) == (Literal(2), {})
    found = inferred(("out_channels", [ANYTHING, 48, 64]), channels=(16, 24, 32))
    assert found.expressions == [Text("2 * C")]
