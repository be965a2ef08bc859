"""A number beside a tensor takes the dtype that PyTorch gives it."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.elaborate.bodies import graph_of
from trtdsl import reference
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.options import CompileOptions
from trtdsl.passes import optimize
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower

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


SIZES = """model m {{
  dim N = 1 .. 2 .. 4
  dim S = 2 .. 5 .. 9
  input x: float32[N, S, 8]
  input i: int64[N, S]
  input h: float16[N, S]
  output y = {}
}}"""


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("x / S", "x / S"),
        ("S * x - N", "S * x - N"),
        ("i % S", "i % S"),
        ("i // N", "i // N"),
        ("N - i", "N - i"),
        ("h * S", "h * S"),
        ("i == S", "i == S"),
        ("x ** N", "x ** N"),
        ("i > N * S", "i > N * S"),
        ("(i > 2) * S", "(i > 2) * S"),
        ("i / N", "i / N"),
        ("where(i > N, i, S)", "torch.where(i > N, i, S)"),
        ("masked_fill(x, x > 0, N)", "x.masked_fill(x > 0, N)"),
        ("sum(x, 1) -> div(size(x, -2))", "x.sum(1).div(x.size(-2))"),
        ("x / numel(x)", "x / x.numel()"),
        ("x * size(x)[0]", "x * x.size()[0]"),
        ("full((S,), N)", "torch.full((S,), N)"),
        ("full_like(h, S)", "torch.full_like(h, S)"),
    ],
)
def test_a_size_beside_a_tensor_is_a_number(text: str, python: str) -> None:
    graph = elaborate_text(SIZES.format(text))
    lowered = lower(optimize(graph))
    for n, s in ((1, 2), (2, 5), (4, 9)):
        noise = torch.Generator().manual_seed(s)
        x, h = torch.randn(n, s, 8, generator=noise), torch.randn(n, s, generator=noise).half()
        inputs = {"x": x, "i": torch.randint(0, 20, (n, s), generator=noise), "h": h}
        wanted = eval(python, {"torch": torch, "N": n, "S": s, **inputs})
        for found in (
            reference.run(graph, inputs)["y"],
            evaluate(lowered.network, inputs, weights=lowered.weights)["y"],
        ):
            assert found.dtype is wanted.dtype
            torch.testing.assert_close(
                found, wanted, rtol=2e-3 if wanted.dtype is torch.float16 else 1e-5, atol=0
            )


def test_a_size_that_the_tensors_dtype_may_not_hold() -> None:
    text = "model m { dim N = 1 .. 2 .. 200  input x: int8[N]  output y = x + N }"
    with pytest.raises(DiagnosticError, match="`200` does not fit int8"):
        elaborate_text(text)


def test_a_size_is_built_by_tensorrt() -> None:
    lowered = lower(elaborate_text(SIZES.format("x / S + unsqueeze(h * N, 2) + unsqueeze(i % S, 2)")))
    assert len(build(lowered, CompileOptions(targets=("sm89",)))) > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("size(x, 3)", "`size` has no dimension 3: the tensor is of rank 3"),
        ("size(x, -4)", "`size` has no dimension -4: the tensor is of rank 3"),
        ("size(x, 0.5)", "`size` takes a whole number for its dimension, not `0.5`"),
        ("size([1, 2])", "`size` takes a tensor, not the list [1, 2]"),
        ("numel(3)", "`numel` takes a tensor, not `3`"),
    ],
)
def test_what_has_no_size(call: str, message: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        elaborate_text(SIZES.format(f"x * {call}"))
    assert error.value.diagnostics[0].message == message
