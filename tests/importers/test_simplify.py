"""What does nothing goes, and what nobody reads."""

from __future__ import annotations

import numpy as np
import pytest

from tests.importers.programs import listed, read
from trtdsl.importers.program import Ref
from trtdsl.importers.simplify import simplify, without_nothing, without_unread


@pytest.mark.parametrize(
    "nothing",
    [
        "alias(x)",
        "clone(x)",
        "contiguous(x)",
        "detach(x)",
        "dropout(x, 0.5, False)",
        "feature_dropout(x, 0.5, False)",
        "_to_copy(x, dtype=float32)",
        "reshape(x, (N, 4))",
        "expand(x, (N, 4))",
        "pad(x, (0, 0))",
        "constant_pad_nd(x, (0, 0))",
    ],
)
def test_it_does_nothing(nothing: str) -> None:
    found = without_nothing(read(f"x: float32[N, 4]\na = {nothing}\nb = relu(a)\nreturn b"))
    assert listed(found) == ["b = relu(x)"]


@pytest.mark.parametrize(
    ("upsampling", "is_nothing"),
    [
        ("upsample_bilinear2d.vec(x, (8, 8), False, None)", True),
        ("upsample_nearest2d.vec(x, None, (1.0, 1.0))", True),
        ("upsample_bicubic2d(x, (8, 8), True)", True),
        ("upsample_bilinear2d.vec(x, None, False, (1.1, 1.1))", False),
        ("upsample_bilinear2d(x, (8, 8), False, 1.1, 1.1)", False),
    ],
)
def test_an_image_of_its_own_size_is_not_resized(upsampling: str, is_nothing: bool) -> None:
    program = read(f"x: float32[N, 4, 8, 8]\na = {upsampling}\nb = relu(a)\nreturn b")
    found = without_nothing(program)
    assert listed(found) == ["b = relu(x)"] if is_nothing else found == program


@pytest.mark.parametrize(
    "something",
    [
        "a = dropout(x, 0.5, True)",
        "a: float16[N, 4] = _to_copy(x, dtype=float16)",
        "a: float32[N, 2, 2] = reshape(x, (N, 2, 2))",
        "a = pad(x, (1, -1))",
        "a = relu(x)",
    ],
)
def test_it_does_something(something: str) -> None:
    program = read(f"x: float32[N, 4]\n{something}\nreturn a")
    assert without_nothing(program) == program


def test_an_output_that_was_a_copy_is_the_original() -> None:
    found = without_nothing(read("x: float32[N, 4]\na = relu(x)\nb = clone(a)\nreturn b"))
    assert (listed(found), found.outputs) == (["a = relu(x)"], (("out_b", Ref("a")),))


def test_what_nobody_reads_goes_with_all_behind_it() -> None:
    program = read(
        """
x: float32[N, 4]
a = add.Tensor(x, table)
b = linear(a, w("unread.weight", 4, 4))
c = linear(x, w("read.weight", 4, 4))
return c
""",
        constants={"table": np.ones(4, np.float32)},
    )
    found = without_unread(program)
    assert [each.base for each in found.operations] == ["linear"]
    assert list(found.weights.values()) == ["read.weight"]
    assert not found.constants


def test_one_result_that_is_read_keeps_the_others() -> None:
    program = read("x: float32[N, 4]\na, b = chunk(x, 2, 1)\nreturn b")
    assert listed(simplify(program)) == ["a, b = chunk(x)"]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (4,)])
def test_times_ones_is_nothing_where_the_shape_stays(shape: tuple[int, ...]) -> None:
    ones = {"ones": np.ones(shape, np.float32)}
    text = "x: float32[N, 4]\na = mul.Tensor(x, ones)\nb = relu(a)\nreturn b"
    assert listed(without_nothing(read(text, constants=ones))) == ["b = relu(x)"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: float32[1, N, 4] = mul.Tensor(x, c)", [[[1.0]]]),
        ("a: float16[N, 4] = mul.Tensor(x, c)", [1.0]),
        ("a = mul.Tensor(x, c)", [1.0, 1.0, 1.0, 2.0]),
        ("a = div.Tensor(c, x)", [1.0]),
    ],
)
def test_times_other_arrays_is_something(text: str, values: list[float]) -> None:
    program = read(f"x: float32[N, 4]\n{text}\nreturn a", constants={"c": np.array(values, np.float32)})
    assert without_nothing(program) == program


@pytest.mark.parametrize(
    ("state", "count"),
    [
        ("full((1, N, 8), 0.0, dtype=float32)", 1),
        ("zeros((1, N, 8), dtype=float32)", 1),
        ("slice.Tensor(zeros, 0, 0, 1)", 1),
        ("slice.Tensor(ones, 0, 0, 1)", 3),
        ("full((1, N, 8), 1.0, dtype=float32)", 2),
    ],
)
def test_zeros_that_a_recurrent_layer_begins_with_anyway_go(state: str, count: int) -> None:
    weights = 'w("a", 24, 4), w("b", 24, 8), w("c", 24), w("d", 24)'
    program = read(
        f"""
x: float32[S, N, 4]
zeros: float32[2, N, 8] = zeros((2, N, 8), dtype=float32)
ones: float32[2, N, 8] = ones((2, N, 8), dtype=float32)
h: float32[1, N, 8] = {state}
y: float32[S, N, 8] = gru.input(x, h, ({weights}), True, 1, 0.0, False, False, False)
return y
"""
    )
    assert len(simplify(program).operations) == count
