"""Programs as JSON are read back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from tests.importers import modules
from trtdsl.importers.capture import capture
from trtdsl.importers.inputs import read_inputs
from trtdsl.importers.module import import_program
from trtdsl.importers.program import Program, Ref
from trtdsl.importers.program_json import from_json, to_json
from trtdsl.types import DType, TensorType, maximum, minimum, symbol, symbols

N = symbol("N", 1, 8, 32)
S = symbol("S", 2, 8, 60, 2)


def program(**changes: object) -> Program:
    plain: dict[str, object] = {
        "name": "m",
        "symbols": tuple(each for dim in (N, S) for each in symbols(dim)),
        "inputs": {},
        "weights": {},
        "constants": {},
        "operations": (),
        "outputs": (),
        "types": {},
    }
    return Program(**{**plain, **changes})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "size",
    [3, N, 4 * N * S, N * N + 3, S // 2 - 1, (N + 7) // 8, N % 4, maximum(N, S) + 1, minimum(N, 4)],
    ids=str,
)
def test_sizes(size: object) -> None:
    before = program(types={"x": TensorType(DType.FLOAT16, (2, size))})  # pyright: ignore[reportArgumentType]
    assert from_json(to_json(before)).types == before.types


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -0.5, float("inf"), "same", Ref("x"), 2 * N, DType.INT64, (1, (Ref("y"), None)), ()],
    ids=str,
)
def test_arguments(value: object) -> None:
    assert from_json(to_json(program(outputs=(("y", value),)))).outputs == (("y", value),)


@pytest.mark.parametrize("dtype", DType, ids=str)
def test_arrays(dtype: DType) -> None:
    array = np.array([[2, 1], [1, 1]]).astype(dtype.numpy)
    found = from_json(to_json(program(constants={"c": array, "d": array[0, 1]}))).constants
    assert [each.dtype for each in found.values()] == [array.dtype] * 2
    np.testing.assert_array_equal(found["c"], array)
    assert found["d"].shape == ()


def test_a_captured_program_gives_the_same_text() -> None:
    inputs = read_inputs({"ids": "int64[N, S] in 0 .. 49", "mask": "float32[N, S]"}, {"S": "2 .. 8 .. 60"})
    before = capture(modules.Words().eval(), "words", inputs, "words").program
    after = from_json(to_json(before))
    assert to_json(after) == to_json(before)
    assert import_program(after).text == import_program(before).text
    assert import_program(after).constants.keys() == {"table"}
