"""Each activation, unary and binary operation against its formula in plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx
import torch

from trtdsl.evaluate import EvaluationError

trt: Any = tensorrt_rtx

POINTS = [-30.0, -2.5, -1.0, -0.5, 0.0, 0.25, 0.75, 1.0, 3.0, 30.0]
# float32 results of float32 inputs, compared with double precision formulas.
CLOSE: dict[str, Any] = {"rtol": 2e-6, "atol": 2e-7}


def _gelu_tanh(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (0.044715 * x**3 + x)))


# alpha = 0.75 and beta = 1.5 everywhere: exact in float32, and different from every default.
ACTIVATIONS = {
    "RELU": lambda x: max(x, 0.0),
    "SIGMOID": lambda x: 1 / (1 + math.exp(-x)),
    "TANH": math.tanh,
    "LEAKY_RELU": lambda x: x if x >= 0 else 0.75 * x,
    "ELU": lambda x: x if x >= 0 else 0.75 * (math.exp(x) - 1),
    "SELU": lambda x: 1.5 * x if x > 0 else 1.5 * (0.75 * math.exp(x) - 0.75),
    "SOFTSIGN": lambda x: x / (1 + abs(x)),
    "SOFTPLUS": lambda x: 0.75 * math.log1p(math.exp(1.5 * x)),
    "CLIP": lambda x: max(0.75, min(1.5, x)),
    "HARD_SIGMOID": lambda x: max(0.0, min(1.0, 0.75 * x + 1.5)),
    "SCALED_TANH": lambda x: 0.75 * math.tanh(1.5 * x),
    "THRESHOLDED_RELU": lambda x: x if x > 0.75 else 0.0,
    "GELU_ERF": lambda x: 0.5 * x * (1 + math.erf(math.sqrt(0.5) * x)),
    "GELU_TANH": _gelu_tanh,
}


def test_every_activation_has_a_formula_here() -> None:
    assert set(ACTIVATIONS) == set(trt.ActivationType.__members__)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation(bench: Any, kind: str) -> None:
    layer = bench.net.add_activation(bench.input(POINTS), trt.ActivationType.__members__[kind])
    layer.alpha, layer.beta = 0.75, 1.5
    want = torch.tensor([ACTIVATIONS[kind](x) for x in POINTS])
    torch.testing.assert_close(bench.value(layer), want, **CLOSE)


def test_leaky_relu_slope_by_default_is_a_hundredth(bench: Any) -> None:
    layer = bench.net.add_activation(bench.input([-100.0]), trt.ActivationType.LEAKY_RELU)
    assert bench.value(layer).item() == pytest.approx(-1.0)


UNARIES = {
    "EXP": math.exp,
    "LOG": math.log,
    "SQRT": math.sqrt,
    "RECIP": lambda x: 1 / x,
    "ABS": abs,
    "NEG": lambda x: -x,
    "SIN": math.sin,
    "COS": math.cos,
    "TAN": math.tan,
    "SINH": math.sinh,
    "COSH": math.cosh,
    "ASIN": math.asin,
    "ACOS": math.acos,
    "ATAN": math.atan,
    "ASINH": math.asinh,
    "ACOSH": math.acosh,
    "ATANH": math.atanh,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
    "ERF": math.erf,
    "SIGN": lambda x: (x > 0) - (x < 0),
    "ROUND": round,
}
DOMAINS = {
    "LOG": [0.5, 1.0, 8.0],
    "SQRT": [0.0, 2.0, 9.0],
    "RECIP": [-4.0, 0.5, 3.0],
    "TAN": [-1.0, 0.0, 1.0],
    "ASIN": [-1.0, 0.5, 1.0],
    "ACOS": [-1.0, 0.5, 1.0],
    "ACOSH": [1.0, 1.5, 7.0],
    "ATANH": [-0.5, 0.0, 0.75],
}


@pytest.mark.parametrize("operation", UNARIES)
def test_unary(bench: Any, operation: str) -> None:
    points = DOMAINS.get(operation, [-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.25])
    layer = bench.net.add_unary(bench.input(points), trt.UnaryOperation.__members__[operation])
    want = torch.tensor([float(UNARIES[operation](x)) for x in points])
    torch.testing.assert_close(bench.value(layer), want, **CLOSE)


def test_every_unary_operation_is_tested() -> None:
    assert {*UNARIES, "NOT", "ISINF", "ISNAN"} == set(trt.UnaryOperation.__members__)


def test_unary_predicates(bench: Any) -> None:
    x = bench.input([1.0, math.inf, -math.inf, math.nan])
    flags = bench.input(np.array([True, False]))
    infinite = bench.net.add_unary(x, trt.UnaryOperation.ISINF)
    invalid = bench.net.add_unary(x, trt.UnaryOperation.ISNAN)
    flipped = bench.net.add_unary(flags, trt.UnaryOperation.NOT)
    values = [value.tolist() for value in bench.evaluate(infinite, invalid, flipped)]
    assert values == [[False, True, True, False], [False, False, False, True], [False, True]]


def test_unary_of_integers(bench: Any) -> None:
    x = bench.input(np.array([-3, 0, 4], np.int32))
    layers = [bench.net.add_unary(x, getattr(trt.UnaryOperation, op)) for op in ("ABS", "NEG", "SIGN")]
    assert [v.tolist() for v in bench.evaluate(*layers)] == [[3, 0, 4], [3, 0, -4], [-1, 0, 1]]


X, Y = [-7.0, 7.0, 2.5, 0.0], [2.0, -2.0, 2.5, 4.0]
BINARIES = {
    "SUM": [-5.0, 5.0, 5.0, 4.0],
    "PROD": [-14.0, -14.0, 6.25, 0.0],
    "MAX": [2.0, 7.0, 2.5, 4.0],
    "MIN": [-7.0, -2.0, 2.5, 0.0],
    "SUB": [-9.0, 9.0, 0.0, -4.0],
    "DIV": [-3.5, -3.5, 1.0, 0.0],
    "POW": [49.0, 7.0**-2, 2.5**2.5, 0.0],
    "FLOOR_DIV": [-4.0, -4.0, 1.0, 0.0],
    "EQUAL": [False, False, True, False],
    "GREATER": [False, True, False, False],
    "LESS": [True, False, False, True],
}


@pytest.mark.parametrize("operation", BINARIES)
def test_binary(bench: Any, operation: str) -> None:
    layer = bench.net.add_elementwise(
        bench.input(X), bench.input(Y), trt.ElementWiseOperation.__members__[operation]
    )
    torch.testing.assert_close(bench.value(layer), torch.tensor(BINARIES[operation]), **CLOSE)


INTEGERS = {
    "SUM": [-5, 5],
    "PROD": [-14, -14],
    "MAX": [2, 7],
    "MIN": [-7, -2],
    "SUB": [-9, 9],
    "DIV": [-3, -3],
    "FLOOR_DIV": [-4, -4],
    "EQUAL": [False, False],
    "GREATER": [False, True],
    "LESS": [True, False],
}


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("operation", INTEGERS)
def test_binary_of_integers(bench: Any, operation: str, dtype: Any) -> None:
    x, y = bench.input(np.array([-7, 7], dtype)), bench.input(np.array([2, -2], dtype))
    layer = bench.net.add_elementwise(x, y, trt.ElementWiseOperation.__members__[operation])
    assert bench.value(layer).tolist() == INTEGERS[operation]


def test_integer_division_by_zero_is_refused(bench: Any) -> None:
    x, y = bench.input(np.array([1], np.int32)), bench.input(np.array([0], np.int32))
    layer = bench.net.add_elementwise(x, y, trt.ElementWiseOperation.DIV)
    with pytest.raises(EvaluationError, match="division by zero"):
        bench.value(layer)


@pytest.mark.parametrize(
    ("operation", "want"),
    [("AND", [True, False, False]), ("OR", [True, True, False]), ("XOR", [False, True, False])],
)
def test_logic(bench: Any, operation: str, want: list[bool]) -> None:
    x, y = bench.input(np.array([True, True, False])), bench.input(np.array([True, False, False]))
    layer = bench.net.add_elementwise(x, y, trt.ElementWiseOperation.__members__[operation])
    assert bench.value(layer).tolist() == want


def test_every_binary_operation_is_tested() -> None:
    assert {*BINARIES, "AND", "OR", "XOR"} == set(trt.ElementWiseOperation.__members__)


def test_binary_broadcasts_unit_dimensions(bench: Any) -> None:
    x, y = bench.input([[1.0], [2.0]]), bench.input([[10.0, 20.0, 30.0]])
    layer = bench.net.add_elementwise(x, y, trt.ElementWiseOperation.SUM)
    assert bench.value(layer).tolist() == [[11.0, 21.0, 31.0], [12.0, 22.0, 32.0]]


def test_select_broadcasts(bench: Any) -> None:
    layer = bench.net.add_select(
        bench.input(np.array([[True], [False]])), bench.input([[1.0, 2.0]]), bench.input([[3.0, 4.0]])
    )
    assert bench.value(layer).tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_parametric_relu(bench: Any) -> None:
    layer = bench.net.add_parametric_relu(
        bench.input([[[[-2.0]], [[-2.0]], [[4.0]]]]), bench.constant([[[[0.5]], [[2.0]], [[9.0]]]])
    )
    assert bench.value(layer).flatten().tolist() == [-1.0, -4.0, 4.0]


def _scaled(bench: Any, mode: Any, count: int, axis: int) -> Any:
    """Scale 2, 3, ..., shift 1, 2, ... and power 2 on ones of shape [2, 2, 2, 2]."""
    factors = np.arange(2, 2 + count, dtype=np.float32)
    shifts = np.arange(1, 1 + count, dtype=np.float32)
    powers = np.full(count, 2, np.float32)
    return bench.net.add_scale_nd(bench.input(np.ones((2, 2, 2, 2))), mode, shifts, factors, powers, axis)


def test_scale_uniform(bench: Any) -> None:
    value = bench.value(_scaled(bench, trt.ScaleMode.UNIFORM, 1, 1))
    assert value.unique().tolist() == [9.0]


@pytest.mark.parametrize("axis", [1, 0])
def test_scale_channel(bench: Any, axis: int) -> None:
    value = bench.value(_scaled(bench, trt.ScaleMode.CHANNEL, 2, axis))
    want = torch.tensor([9.0, 25.0]).reshape([2 if d == axis else 1 for d in range(4)])
    assert torch.equal(value, want.expand(2, 2, 2, 2))


def test_scale_elementwise(bench: Any) -> None:
    value = bench.value(_scaled(bench, trt.ScaleMode.ELEMENTWISE, 8, 1))
    want = torch.tensor([(2.0 + i + 1 + i) ** 2 for i in range(8)]).reshape(1, 2, 2, 2)
    assert torch.equal(value, want.expand(2, 2, 2, 2))


def test_scale_without_weights_is_the_identity(bench: Any) -> None:
    layer = bench.net.add_scale(bench.input(np.full((1, 1, 1, 2), 3.0)), trt.ScaleMode.UNIFORM)
    assert bench.value(layer).tolist() == [[[[3.0, 3.0]]]]


@pytest.mark.parametrize(
    ("target", "want"),
    [
        ("INT32", [-1, 0, 0, 2]),
        ("INT64", [-1, 0, 0, 2]),
        ("BOOL", [True, True, False, True]),
        ("HALF", [-1.5, -0.5, 0.0, 2.75]),
        ("BF16", [-1.5, -0.5, 0.0, 2.75]),
    ],
)
def test_cast_from_float(bench: Any, target: str, want: list[Any]) -> None:
    layer = bench.net.add_cast(bench.input([-1.5, -0.5, 0.0, 2.75]), trt.DataType.__members__[target])
    assert bench.value(layer).tolist() == want


def test_cast_from_bool_and_integer(bench: Any) -> None:
    flags = bench.net.add_cast(bench.input(np.array([True, False])), trt.float32)
    numbers = bench.net.add_cast(bench.input(np.array([3, -4], np.int32)), trt.float32)
    assert [v.tolist() for v in bench.evaluate(flags, numbers)] == [[1.0, 0.0], [3.0, -4.0]]


@pytest.mark.parametrize(
    ("value", "target"),
    [(3e9, trt.int32), (-3e9, trt.int32), (1e19, trt.int64), (math.nan, trt.int8), (math.inf, trt.int8)],
)
def test_cast_refuses_what_the_integer_cannot_hold(bench: Any, value: float, target: Any) -> None:
    layer = bench.net.add_cast(bench.input([value]), target)
    with pytest.raises(EvaluationError, match=r"CAST.*INT\d+ cannot hold"):
        bench.value(layer)


@pytest.mark.parametrize("target", [trt.int32, trt.int64])
def test_cast_makes_ends_of_infinities(bench: Any, target: Any) -> None:
    layer = bench.net.add_cast(bench.input([-math.inf, -1.5, math.nan, 7.9, math.inf]), target)
    ends = np.iinfo(np.int32 if target == trt.int32 else np.int64)
    assert bench.value(layer).tolist() == [ends.min, -1, 0, 7, ends.max]


@pytest.mark.parametrize(
    ("array", "target", "says"),
    [
        (
            np.array([[1, 2], [300, 4]], np.float32),
            trt.int8,
            r"element \[1, 0\] is 300, which INT8 cannot ",
        ),
        (np.array([1e20, -1e20, 0], np.float32), trt.int64, r"is 1\.00000002e\+20, .*; 1 more is out"),
        (np.array([2.0**63], np.float32), trt.int64, r"element \[0\] is 9\.22337204e\+18, "),
        (np.array([0, 300], np.int32), trt.int8, r"element \[1\] is 300, "),
        (np.array(math.nan, np.float32), trt.int8, "its input is nan, "),
    ],
)
def test_what_an_integer_cannot_hold_is_said_with_its_place(
    bench: Any, array: Any, target: Any, says: str
) -> None:
    layer = bench.net.add_cast(bench.input(array), target)
    layer.metadata = "net.trtnet:3:9"
    with pytest.raises(EvaluationError, match=rf"\(CAST\) of net\.trtnet:3:9: .*{says}"):
        bench.value(layer)


def test_identity(bench: Any) -> None:
    assert bench.value(bench.net.add_identity(bench.input([1.0, 2.0]))).tolist() == [1.0, 2.0]


def test_half_results_are_rounded_only_natively(bench: Any) -> None:
    # 1 + 2**-11 lies between two halves: native rounds it to 1 (ties to even), float32 keeps it.
    x = bench.input(torch.tensor([1.0], dtype=torch.float16))
    y = bench.input(torch.tensor([2.0**-11], dtype=torch.float16))
    layer = bench.net.add_elementwise(x, y, trt.ElementWiseOperation.SUM)
    native, single, double = (bench.value(layer, precision=p) for p in ("native", "float32", "float64"))
    assert (native.dtype, native.item()) == (torch.float16, 1.0)
    assert (single.dtype, single.item()) == (torch.float32, 1 + 2.0**-11)
    assert (double.dtype, double.item()) == (torch.float64, 1 + 2.0**-11)


PRECISIONS = ("native", "float32", "float64")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("narrow", "step"), [(trt.float16, 2.0**-11), (trt.bfloat16, 2.0**-8)])
def test_casts_round_in_every_precision(bench: Any, narrow: Any, step: float, precision: str) -> None:
    cast = bench.net.add_cast(bench.input([1 + step, -3.0, 1e39]), narrow)
    back = bench.net.add_cast(cast.get_output(0), trt.float32)
    assert bench.value(back, precision=precision).tolist() == [1.0, -3.0, math.inf]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_computed_of_rounded_values_is_rounded(bench: Any, precision: str) -> None:
    """60000 * 2 has no half, whatever the precision, unless an operand is kept wide."""
    cast = bench.net.add_cast(bench.input([60000.0]), trt.float16).get_output(0)
    two = bench.constant([2.0], np.float16)
    own = bench.net.add_elementwise(cast, two, trt.ElementWiseOperation.PROD)
    back = bench.net.add_cast(own.get_output(0), trt.float32)
    wide = bench.input(torch.tensor([2.0], dtype=torch.float16))
    mixed = bench.net.add_elementwise(cast, wide, trt.ElementWiseOperation.PROD)
    found, beside = bench.evaluate(back, mixed, precision=precision)
    assert found.item() == math.inf
    assert beside.item() == (math.inf if precision == "native" else 120000.0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_integers_in_a_narrow_type_are_rounded(bench: Any, precision: str) -> None:
    cast = bench.net.add_cast(bench.input(np.array([2049, 70000], np.int32)), trt.float16)
    assert bench.value(cast, precision=precision).tolist() == [2048.0, math.inf]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_smallest_integer_is_divided_by_minus_one(bench: Any, dtype: Any) -> None:
    """The processor traps there, so that this would end the process; two's complement wraps round."""
    smallest = np.full(9, np.iinfo(dtype).min, dtype)
    x, y = bench.input(smallest), bench.input(np.full(9, -1, dtype))
    divided = bench.net.add_elementwise(x, y, trt.ElementWiseOperation.DIV)
    assert bench.value(divided).tolist() == smallest.tolist()
