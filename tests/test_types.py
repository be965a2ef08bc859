"""Dimensions against brute force: whatever the normal form says must be true at every point of the range."""

from __future__ import annotations

import itertools
import math
import operator
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trtdsl import types
from trtdsl.types import (
    Dim,
    DType,
    Symbol,
    SymbolicDim,
    TensorType,
    Undecided,
    bounds,
    divide_exact,
    equal,
    evaluate,
    evaluate_shape,
    greater,
    greater_equal,
    less,
    less_equal,
    product,
    symbol,
    symbols,
)

NAMES = ("N", "H", "W")
H = symbol("H", 32, 224, 512)
W = symbol("W", 1, 100, 100_000)
N = symbol("N", 1, 8, 64)


@dataclass(frozen=True)
class World:
    """A range for each name; ``points`` is the product of the ranges."""

    ranges: dict[str, tuple[int, int]]

    def points(self) -> Iterator[dict[str, int]]:
        for values in itertools.product(*(range(low, high + 1) for low, high in self.ranges.values())):
            yield dict(zip(self.ranges, values, strict=True))

    def symbolic(self, text: str) -> Dim:
        """The dimension a text means; a division by what may be zero is not a case to test."""
        names = {name: symbol(name, low, low, high) for name, (low, high) in self.ranges.items()}
        try:
            return eval(text, {"min": types.minimum, "max": types.maximum}, names)
        except ZeroDivisionError:
            assume(False)
            raise

    def values(self, text: str) -> dict[tuple[int, ...], int]:
        """Python's own value of a text at each point, without those that divide by zero."""
        function = eval(f"lambda {', '.join(self.ranges)}: {text}")
        found: dict[tuple[int, ...], int] = {}
        for point in self.points():
            try:
                found[tuple(point.values())] = function(**point)
            except ZeroDivisionError:
                continue
        assume(found)
        return found


def worlds(width: int, names: tuple[str, ...] = NAMES) -> st.SearchStrategy[World]:
    span = st.tuples(st.integers(0, 9), st.integers(0, width)).map(lambda s: (s[0], s[0] + s[1]))
    ranges = st.tuples(*[span] * len(names))
    return ranges.map(lambda spans: World(dict(zip(names, spans, strict=True))))


def _join(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    infix = st.builds("({} {} {})".format, parts, st.sampled_from(["+", "-", "*", "//", "//", "%"]), parts)
    return infix | st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), parts, parts)


def expressions(names: tuple[str, ...] = NAMES, leaves: int = 6) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(names) | st.integers(-7, 7).map("({})".format)
    return st.recursive(leaf, _join, max_leaves=leaves)


def linear() -> st.SearchStrategy[str]:
    return st.builds("({} * H + {} * W + {})".format, *[st.integers(-9, 9)] * 3)


# --- Values ------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(worlds(4), expressions())
def test_arithmetic_commutes_with_evaluation(world: World, text: str):
    dim = world.symbolic(text)
    for point, value in world.values(text).items():
        assert evaluate(dim, dict(zip(NAMES, point, strict=True))) == value


@settings(max_examples=300, deadline=None)
@given(worlds(4), expressions())
def test_text_means_the_same_to_python_and_has_the_same_normal_form(world: World, text: str):
    dim = world.symbolic(text)
    again = world.values(str(dim))
    assert all(again[point] == value for point, value in world.values(text).items())
    assert world.symbolic(str(dim)) == dim


@settings(max_examples=200, deadline=None)
@given(worlds(4), expressions())
def test_bounds_are_exact_where_the_range_can_be_enumerated(world: World, text: str):
    dim = world.symbolic(text)
    values = [evaluate(dim, point) for point in world.points()]
    assert bounds(dim) == (min(values), max(values))


@settings(max_examples=100, deadline=None)
@given(worlds(25), expressions())
def test_bounds_hold_where_the_range_is_too_large(world: World, text: str):
    low, high = bounds(world.symbolic(text))
    assert all(low <= value <= high for value in world.values(text).values())


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        "{} * (({} * W + {}) // {}) + {} * W".format,
        *[st.integers(-9, 9)] * 3,
        st.integers(2, 9),
        st.integers(-9, 9),
    )
)
def test_bounds_of_a_division_hold_over_a_long_range(text: str):
    world = World({"W": (0, 5000)})
    low, high = bounds(world.symbolic(text))
    values = world.values(text).values()
    assert low <= min(values) and max(values) <= high


@pytest.mark.parametrize(
    ("dim", "low", "high"),
    [
        (W % 16, 0, 15),
        (16 * (W // 16) - W, -15, 0),
        ((W + 1) // 2 * 2 - W, 0, 1),
        (W - (W + 1) // 2, 0, 50_000),
        (W // 3 + W // 2 - W, -16_667, -1),
    ],
)
def test_bounds_over_a_long_range_see_what_cancels(dim: Dim, low: int, high: int):
    assert bounds(dim) == (low, high)


RELATIONS: list[tuple[Callable[[Dim, Dim], bool], Callable[[int, int], bool]]] = [
    (equal, operator.eq),
    (less, operator.lt),
    (less_equal, operator.le),
]


@pytest.mark.parametrize(("relation", "meaning"), RELATIONS)
@settings(max_examples=150, deadline=None)
@given(world=worlds(4), left=expressions(leaves=4), right=expressions(leaves=4))
def test_relation_is_decided_exactly_where_the_range_can_be_enumerated(
    relation: Callable[[Dim, Dim], bool],
    meaning: Callable[[int, int], bool],
    world: World,
    left: str,
    right: str,
):
    a, b = world.symbolic(left), world.symbolic(right)
    truth = {meaning(evaluate(a, point), evaluate(b, point)) for point in world.points()}
    if len(truth) == 2:
        with pytest.raises(Undecided):
            relation(a, b)
    else:
        assert {relation(a, b)} == truth


@pytest.mark.parametrize(("relation", "meaning"), RELATIONS)
@settings(max_examples=40, deadline=None)
@given(world=worlds(25), left=expressions(leaves=4), right=expressions(leaves=3))
def test_relation_is_never_wrong_where_the_range_is_too_large(
    relation: Callable[[Dim, Dim], bool],
    meaning: Callable[[int, int], bool],
    world: World,
    left: str,
    right: str,
):
    try:
        answer = relation(world.symbolic(left), world.symbolic(right))
    except Undecided:
        return
    a, b = world.values(left), world.values(right)
    assert all(meaning(a[point], b[point]) == answer for point in a.keys() & b.keys())


# --- The normal form ---------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(worlds(9), expressions(leaves=4), expressions(leaves=4), expressions(leaves=4))
def test_normal_form_is_a_commutative_ring(world: World, x: str, y: str, z: str):
    a, b, c = map(world.symbolic, (x, y, z))
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a - b == -(b - a)
    assert isinstance(a - a, int)


@settings(max_examples=200, deadline=None)
@given(worlds(9), expressions(leaves=5), expressions(leaves=4), expressions(leaves=3))
def test_multiples_of_the_divisor_leave_a_division(world: World, x: str, q: str, k: str):
    a, whole, divisor = map(world.symbolic, (x, q, k))
    try:
        expected = a // divisor + whole
    except ZeroDivisionError:
        assume(False)
        return
    assert (a + whole * divisor) // divisor == expected


@given(linear(), st.integers(1, 9), st.integers(-9, 9), st.integers(1, 9))
def test_nested_division_is_one_division(x: str, a: int, c: int, b: int):
    # Ranges wider than any divisor, 81: narrower ones settle some divisions early, which changes the form.
    value = World({"H": (2, 90), "W": (0, 900)}).symbolic(x)
    assert (value // a + c) // b == (value + a * c) // (a * b)


@given(worlds(400), linear(), st.integers(1, 9))
def test_quotient_and_remainder_recombine(world: World, x: str, k: int):
    value = world.symbolic(x)
    assert k * (value // k) + value % k == value
    assert value // -k == -value // k
    low, high = bounds(value % k)
    assert high - low >= 0 and bounds(value // k)[0] <= bounds(value // k)[1]


@given(worlds(9), expressions(leaves=4), expressions(leaves=4))
def test_exact_division_undoes_multiplication(world: World, x: str, y: str):
    a, b = map(world.symbolic, (x, y))
    assume(b != 0)
    assert divide_exact(a * b, b) == a
    assert a * b // b == a


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        ((H - 1) // 2 + 1, "(H + 1) // 2"),
        (((H + 1) // 2 + 1) // 2, "(H + 3) // 4"),
        ((H + 2 * 3 - 7) // 2 + 1, "(H + 1) // 2"),
        ((H + 4) // 2, "H // 2 + 2"),
        ((6 * H + 4) // 4, "H + H // 2 + 1"),
        (H // 1000, "0"),
        (H // 600 + W * 0, "0"),
        (N * H // N, "H"),
        (N * 32 * 16 * 16 // (32 * 8 * 8), "4 * N"),
        ((N * H + 3) // N, "H + 3 // N"),
        (N * H // (N * W), "H // W"),
        (H // 2 // N, "H // (2 * N)"),
        (H // N // 2, "H // (2 * N)"),
        (W * H * N, "N * H * W"),
        (3 * (H // 2) * N, "3 * N * (H // 2)"),
        (1 - H, "1 - H"),
        (-H - 1, "-H - 1"),
        (-(H // 2), "-(H // 2)"),
        (7 // N, "7 // N"),
        (-7 // N, "(-7) // N"),
        (H % 2, "H - 2 * (H // 2)"),
        (2**40 % H, "1099511627776 - H * (1099511627776 // H)"),
        ((H + N) * (H - N), "H * H - N * N"),
        (types.minimum(H, 100), "min(H, 100)"),
        (types.maximum(W, N * 2), "max(W, 2 * N)"),
    ],
)
def test_normal_form_reads_well(dim: Dim, text: str):
    assert str(dim) == repr(dim) == text


def test_constant_results_are_plain_integers():
    for result in (H - H, 0 * H, H // H, N // 65, (2 * H + 1) % 2, types.minimum(H, 5), H - H // 1):
        assert type(result) is int


def test_dimension_is_never_equal_to_an_integer():
    fixed = symbol("S", 5, 5, 5)
    assert fixed != 5
    assert equal(fixed, 5)


# --- Questions ---------------------------------------------------------------------------------------------


def test_undecided_says_what_it_depends_on():
    with pytest.raises(Undecided, match=r"^whether H and 2 \* \(H // 2\) are equal depends on H$") as caught:
        equal(H, 2 * (H // 2))
    assert (caught.value.left, caught.value.right) == (H, 2 * (H // 2))
    with pytest.raises(Undecided, match=r"^whether H is less than W depends on H and W$"):
        less(H, W)
    with pytest.raises(Undecided, match=r"^whether W is at most 7 depends on W$"):
        less_equal(W, 7)
    with pytest.raises(Undecided, match=r"^whether H is greater than W depends on H and W$"):
        greater(H, W)
    with pytest.raises(Undecided, match=r"^whether 7 is at least W depends on W$"):
        greater_equal(7, W)


@pytest.mark.parametrize(
    ("relation", "left", "right", "answer"),
    [
        (equal, 3, 3, True),
        (equal, H, H, True),
        (equal, H, 31, False),
        (equal, H - H // 2, (H + 1) // 2, True),
        (equal, 2 * W, 2 * H + 1, False),
        (less, H, 513, True),
        (less, H, 32, False),
        (less_equal, H, 512, True),
        (less_equal, 32, H, True),
        (less_equal, N * H + 1, N * H, False),
        (less_equal, (W + 1) // 2, W, True),
        (less, W % 16, 16, True),
        (less_equal, 0, W - 16 * (W // 16), True),
        (equal, 2 * (W // 2) + 2, W, False),
    ],
)
def test_relation(relation: Callable[[Dim, Dim], bool], left: Dim, right: Dim, answer: bool):
    assert relation(left, right) is answer


def test_order_and_truth_have_no_operator():
    with pytest.raises(TypeError):
        _ = H < 3  # pyright: ignore[reportOperatorIssue]
    with pytest.raises(TypeError, match="whether H is zero"):
        bool(H)
    with pytest.raises(TypeError):
        _ = H * 1.5  # pyright: ignore[reportOperatorIssue]


@pytest.mark.parametrize("divisor", [0, H - 40, symbol("Z", 0, 1, 2), -symbol("Z", 0, 1, 2), N - H])
def test_division_by_what_may_be_zero_is_refused(divisor: Dim):
    why = r"// 0$|which may be zero$"
    with pytest.raises(ZeroDivisionError, match=why):
        _ = W // divisor
    with pytest.raises(ZeroDivisionError, match=why):
        _ = W % divisor
    with pytest.raises(ZeroDivisionError, match=why):
        _ = (W + 3) // (N * divisor)


def test_divisor_that_holds_a_division_terminates():
    n, h, w = symbol("N", 2, 2, 3), symbol("H", 5, 5, 6), symbol("W", 3, 3, 8)
    dim = (w * h - w + n) // (n // -4 % h)
    values = {"N": 3, "H": 6, "W": 8}
    assert evaluate(dim, values) == (8 * 6 - 8 + 3) // (3 // -4 % 6)


def test_division_cancels_what_may_be_zero():
    z = symbol("Z", 0, 1, 2)
    assert z * H // z == H
    assert divide_exact(z * H, z) == H


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [
        (N * 3 * H, 3 * N, H),
        (12, 4, 3),
        (12, 5, None),
        (12, 0, None),
        (H, 2, None),
        (12, H, None),
        (0, H, 0),
        (N * N + 2 * N * H + H * H, N + H, N + H),
        (N * H, W, None),
    ],
)
def test_divide_exact(dividend: Dim, divisor: Dim, quotient: Dim | None):
    assert divide_exact(dividend, divisor) == quotient


# --- Symbols -----------------------------------------------------------------------------------------------


def test_symbol_is_its_name_and_its_range():
    assert symbol("H", 32, 224, 512) == H
    assert hash(symbol("H", 32, 224, 512) // 2 + 1) == hash(1 + H // 2)
    other = symbol("H", 32, 224, 513)
    assert other != H
    assert other * H == H * other
    assert not isinstance(other - H, int)


@pytest.mark.parametrize("limits", [(-1, 1, 2), (2, 1, 3), (1, 4, 3)])
def test_impossible_range_is_refused(limits: tuple[int, int, int]):
    with pytest.raises(ValueError, match="the range of N must be"):
        symbol("N", *limits)


def test_symbols_are_found_inside_every_atom():
    dim = types.minimum(H // N, 9) + 2 * W * W
    assert symbols(dim) == {Symbol("H", 32, 224, 512), Symbol("N", 1, 8, 64), Symbol("W", 1, 100, 100_000)}
    assert symbols(7) == frozenset()


def test_dimension_survives_pickling_into_another_process():
    dim = types.maximum(H // N, 9) * W + H % 3
    assert pickle.loads(pickle.dumps(dim)) == dim
    check = (
        "import pickle, sys; from trtdsl.types import symbol\n"
        "dim = pickle.loads(sys.stdin.buffer.read()); h = symbol('H', 32, 224, 512)\n"
        "assert hash(dim) == hash(h // 2), 'hash'; assert dim in {h // 2}"
    )
    hash(half := H // 2)
    subprocess.run([sys.executable, "-c", check], input=pickle.dumps(half), check=True)


def test_values_are_looked_up_by_name():
    assert evaluate(N * (H // 2), {"N": 2, "H": 33, "unused": 0}) == 32
    assert evaluate_shape((N, 3, H + 1), {"N": 2, "H": 9}) == (2, 3, 10)
    with pytest.raises(KeyError, match="H"):
        evaluate(N * H, {"N": 2})


# --- Element types and tensor types ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DType)
def test_dtype_and_numpy_agree(dtype: DType):
    assert DType.of_numpy(dtype.numpy) is dtype
    assert dtype.numpy.name == str(dtype) == dtype.value
    assert (dtype.bits + 7) // 8 == dtype.numpy.itemsize
    assert dtype.is_integer == (np.issubdtype(dtype.numpy, np.integer) or dtype is DType.INT4)
    assert [dtype.is_floating, dtype.is_integer, dtype.is_bool].count(True) == 1


def test_dtypes_that_numpy_lacks_are_those_of_ml_dtypes():
    # In a fresh process, because numpy knows the names once anything has imported ml_dtypes.
    check = "from trtdsl.types import DType; print(DType.BFLOAT16.numpy, DType.FLOAT8.numpy)"
    shown = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout
    assert shown == "bfloat16 float8_e4m3fn\n"
    assert DType.BFLOAT16.numpy == np.dtype(ml_dtypes.bfloat16)
    assert DType.FLOAT8.numpy == np.dtype(ml_dtypes.float8_e4m3fn)
    assert DType.BFLOAT16.is_floating and DType.FLOAT8.is_floating


@pytest.mark.parametrize("unknown", ["float64", "complex64", "U3", ">f4"])
def test_dtype_without_a_spelling_is_refused(unknown: str):
    with pytest.raises(ValueError, match=r"float64|complex64|str|byte order"):
        DType.of_numpy(unknown)


def test_tensor_type_prints_and_counts():
    image = TensorType(DType.FLOAT32, (N, 3, H // 2, 224))
    assert str(image) == "float32[N, 3, H // 2, 224]"
    assert (image.rank, image.is_static) == (4, False)
    assert image.size == product((N, 672, H // 2)) == 672 * N * (H // 2)
    half = image.with_dtype(DType.FLOAT16).with_shape([2, 3])
    assert (str(half), half.is_static, half.size) == ("float16[2, 3]", True, 6)
    scalar = TensorType(DType.BOOL, ())
    assert (str(scalar), scalar.size, scalar.rank) == ("bool[]", 1, 0)
    assert image == TensorType(DType.FLOAT32, (1 * N, 3, (H + 2) // 2 - 1, 224))
    assert hash(image) == hash(TensorType(DType.FLOAT32, (N, 3, H // 2, 224)))


def test_import_needs_no_third_party_package():
    check = "import sys, trtdsl.types; sys.exit(bool({'numpy', 'ml_dtypes', 'sympy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_symbolic_dim_is_the_type_of_what_is_not_constant():
    assert isinstance(H // 2, SymbolicDim)


# Numbers that float4 cannot hold become its largest for numpy, and powers of two have neither 0 nor a sign.
FLOATS = [dtype for dtype in DType if dtype.is_floating and dtype not in (DType.FLOAT4, DType.FLOAT8_E8M0)]


def test_what_the_narrowest_floats_hold() -> None:
    assert DType.FLOAT4.holds(-6.0) and DType.FLOAT4.holds(6.9) and not DType.FLOAT4.holds(8)
    assert DType.FLOAT8_E8M0.holds(2.0**127) and not DType.FLOAT8_E8M0.holds(2.0**128)
    assert not DType.FLOAT8_E8M0.holds(0) and not DType.FLOAT8_E8M0.holds(-1.0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(st.floats() | st.integers(-(2**130), 2**130) | st.floats(0.99, 1.01))
def test_a_float_holds_what_numpy_rounds_to_a_finite_number(dtype: DType, number: float) -> None:
    largest = float(ml_dtypes.finfo(dtype.numpy).max)
    edges = [number, number * largest, -number * largest]
    for bound in (largest, math.ldexp(1.0, 128), 65520.0, 464.0):
        edges += [bound, math.nextafter(bound, 0), math.nextafter(bound, math.inf)]
    with np.errstate(over="ignore", invalid="ignore"):
        for edge in map(float, edges):
            fits = bool(np.isfinite(np.float64(edge).astype(dtype.numpy)))
            assert dtype.holds(edge) == (fits or not math.isfinite(edge)), edge


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_largest_float_that_a_dtype_holds(dtype: DType) -> None:
    """Where numpy stops rounding to a finite number, found by halving."""
    low, high = 1.0, 2.0**129
    with np.errstate(over="ignore"):
        while (middle := (low + high) / 2) not in (low, high):
            low, high = (
                (middle, high) if np.isfinite(np.float64(middle).astype(dtype.numpy)) else (low, middle)
            )
    assert dtype.holds(low)
    assert not dtype.holds(high)
