"""Where a tensor that no state dict has is written: as numbers, as an expression, in a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.importers.comparing import Calls, held
from tests.importers.programs import listed, read, statements, text_of
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.constants import place_constants
from trtdsl.importers.module import import_module
from trtdsl.importers.program import Array, Program
from trtdsl.importers.translate import constants_of, translatable, translate

MADE = """
x: float32[N, 4]
a: int64[4] = arange(4)
b: float32[4] = _to_copy(a, dtype=float32)
c: float32[4] = mul.Tensor(b, 0.5)
{more}
y = add.Tensor(x, {last})
return y
"""


def placed(more: str = "", last: str = "c", **known: Array) -> Program:
    """A program whose constants are those known, placed."""
    text = MADE.format(more=more, last=last)
    program = read(text, constants=known)
    return place_constants(program, translatable())


def test_few_operations_are_kept_in_the_place_of_their_values() -> None:
    found = placed(c=np.arange(4, dtype=np.float32) / 2)
    assert listed(found) == ["a = arange()", "b = _to_copy(a)", "c = mul(b)", "y = add(x, c)"]
    assert not found.constants


def test_many_operations_are_their_values() -> None:
    more = "d: float32[4] = cos(c)\ne: float32[4] = sin(d)"
    found = placed(more, "e", e=np.ones(4, np.float32))
    assert listed(found)[-1] == "y = add(x, e)"
    assert "e = sin(d)" not in listed(found)
    assert found.constants.keys() == {"e"}


def test_an_operation_that_the_language_does_not_have_is_its_values() -> None:
    found = placed("d: float32[4] = special_bessel_j0(c)", "d", d=np.ones(4, np.float32))
    assert found.constants.keys() == {"d"}


def test_what_begins_with_a_stored_tensor_is_its_values() -> None:
    stored = np.arange(4, dtype=np.float32)
    found = placed("d: float32[4] = add.Tensor(c, table)", "d", d=stored, table=stored)
    assert found.constants.keys() == {"d", "table"}


def test_what_begins_with_another_operation_is_its_values() -> None:
    """Only makers that a reader knows begin an expression."""
    text = "x: float32[N, 3]\na: int64[2, 3] = tril_indices(2, 2)\ny = add.Tensor(x, a)\nreturn y"
    program = read(text, constants={"a": np.ones((2, 3), np.int64)})
    assert place_constants(program, translatable()).constants.keys() == {"a"}


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (np.array([1, 2, 4], np.int64), "x + tensor([1, 2, 4])"),
        (np.array([0.1, 0.2], np.float32), "x + tensor([0.1, 0.2])"),
        (np.full((2, 30), 3.0, np.float32), "x + full((2, 30), 3.0)"),
        (np.arange(40), "x + arange(40)"),
        (np.linspace(0, 1, 17, dtype=np.float32), "x + (table: Constant(17))"),
        (
            np.array([1, 0] * 9, np.int32),
            "x + (table: Constant(18, dtype = int32))",
        ),
    ],
    ids=["integers", "floats", "one value", "a row", "a file", "a file of integers"],
)
def test_arrays(array: Array, line: str) -> None:
    text = "x: float32[N, 4]\ny = add.Tensor(x, table)\nreturn y"
    program, items = statements(text, constants={"table": array})
    assert text_of(program, items)[0].endswith(f" = {line}")
    assert bool(constants_of(translate(program), program)) == ("Constant" in line)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_float64_number_leaves_a_tensor_its_type(dtype: torch.dtype) -> None:
    held(Calls(lambda x: x.to(dtype) * torch.tensor(0.3, dtype=torch.float64).sqrt()), {"x": "float32[N, 4]"})


@pytest.mark.parametrize("factor", [0.3, [0.1, 0.2, 0.3, 0.4]])
def test_float64_is_refused(factor: float | list[float]) -> None:
    module = Calls(lambda x: x.int() * torch.tensor(factor, dtype=torch.float64))
    with pytest.raises(DiagnosticError, match=r"computes in float64(.|\n)+write `\.float"):
        import_module(module, {"x": "float32[N, 4]"})
