"""A number beside a tensor takes the dtype that PyTorch gives it."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.elaborate.bodies import graph_of
from trtdsl.diagnostics import DiagnosticError

DTYPES = ["float32", "float16", "bfloat16", "int8", "int32", "int64", "uint8", "bool"]
NUMBERS = ["2", "0.5", "true"]
OPERATORS = ["+", "*", "/", "//", "%", ">", "=="]
REFUSED = ("wraps round", "does not take", "cannot")
"""What is said of operators that PyTorch has and TensorRT has not; which those are, other tests say."""


def expected(dtype: str, number: str, operator: str, left: bool) -> str | None:
    """The dtype that PyTorch computes, or None where it refuses."""
    x = torch.ones(3, dtype=getattr(torch, dtype))
    value = eval(number.replace("true", "True"))
    try:
        result = eval(f"value {operator} x" if left else f"x {operator} value", {"x": x, "value": value})
    except RuntimeError:
        return None
    return str(result.dtype).removeprefix("torch.")


def found(dtype: str, number: str, operator: str, left: bool) -> str | None:
    """The dtype that is inferred, or None for what TensorRT cannot compute."""
    expression = f"{number} {operator} t" if left else f"t {operator} {number}"
    try:
        graph = graph_of(f"output o = {expression}", declared=f"input t: {dtype}[3]\n")
    except DiagnosticError as error:
        assert any(words in str(error) for words in REFUSED)
        return None
    return str(graph.outputs[0].value.type.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_dtype_is_pytorchs(dtype: str, operator: str) -> None:
    for number, left in itertools.product(NUMBERS, (False, True)):
        ours = found(dtype, number, operator, left)
        if ours is not None:
            assert ours == expected(dtype, number, operator, left), f"{dtype} {operator} {number}, {left=}"


def test_most_are_accepted() -> None:
    cases = itertools.product(DTYPES, NUMBERS, OPERATORS, (False, True))
    assert sum(found(*case) is not None for case in cases) > 220


def test_the_number_itself_is_a_constant_of_rank_0() -> None:
    full, mul = graph_of("output o = t * 0.5", declared="input t: float16[3]\n").nodes
    assert (full.op.name, str(full.result.type)) == ("full", "float16[]")
    assert mul.slots == ("input", "other")


def test_a_number_in_a_functions_tensor_place_is_one_too() -> None:
    graph = graph_of("output o = where(x > 0, x, 0)\noutput p = maximum(x, 0)")
    assert [str(o.value.type) for o in graph.outputs] == ["float32[N, 3, 8, 8]"] * 2
