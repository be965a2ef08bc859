"""Dimensions that only take multiples of a step: what is decided, printed, measured and refused."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from tests.elaborate.bodies import mistakes_of
from tests.runtime.test_binding import manifest
from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import difference, show
from trtdsl.reference import random_inputs, solve
from trtdsl.runtime.binding import check_shapes
from trtdsl.trt.profiles import input_range
from trtdsl.types import DType, Symbol, TensorType, bounds, equal, evaluate, symbol, within
from trtdsl.types.relations import deciding_step
from trtdsl.verification.inputs import choose_inputs

H = symbol("H", 64, 256, 512, 32)
N = symbol("N", 1, 2, 4)


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (H, "H"),
        (H // 2, "H // 2"),
        (H // 32 * 32, "H"),
        (H // 4 * 4 - 1, "H - 1"),
        (H // 32, "H // 32"),
        (H // 64, "(H // 32) // 2"),
        (3 * (H // 2), "3 * (H // 2)"),
        (N * H // 8 + 2, "N * (H // 8) + 2"),
        (H * (H // 16), "H * (H // 16)"),
        ((H + 1) // 2, "H // 2"),
        ((H - 1) // 2 + 1, "H // 2"),
        (-H, "-H"),
    ],
)
def test_says_the_name_and_parses_back(dim: object, text: str) -> None:
    assert str(dim) == text
    assert eval(text, {"H": H, "N": N}) == dim


def test_the_values_are_those_of_arithmetic() -> None:
    for divisor, offset, size in itertools.product((2, 3, 24, 32, 48), (-5, 0, 7), (64, 96, 512)):
        assert evaluate((H + offset) // divisor, {"H": size}) == (size + offset) // divisor
        assert evaluate(H * 3 % divisor, {"H": size}) == size * 3 % divisor


def test_bounds_and_profiles() -> None:
    assert (bounds(H), bounds(H // 32)) == ((64, 512), (2, 16))
    assert bounds(within(H // 2, {"H": (96, 96, 128)})) == (48, 64)
    type = TensorType(DType.FLOAT32, (N, H // 4))
    assert input_range(type, {"N": (1, 2, 4), "H": (64, 96, 128)}) == ((1, 16), (2, 24), (4, 32))


def test_other_sizes_are_not_values() -> None:
    with pytest.raises(ValueError, match="H is 100, which is not a multiple of 32"):
        evaluate(H, {"H": 100})
    with pytest.raises(ValueError, match="must be multiples of its step 32"):
        Symbol("H", 64, 100, 128, 32)
    assert solve([(H, 96)]) == solve([(H // 4 + 1, 25)]) == {"H": 96}
    for dim, size in ((H, 100), (H // 4, 20)):
        with pytest.raises(ValueError, match="no value of H makes"):
            solve([(dim, size)])


@pytest.mark.parametrize(("depth", "step"), [(1, 2), (3, 8), (5, 32)])
def test_the_step_that_would_do(depth: int, step: int) -> None:
    wide = symbol("W", 64, 100, 640)
    halved = wide
    for _ in range(depth):
        halved = halved // 2
    assert deciding_step(wide, halved * 2**depth) == ("W", step)
    cut = symbol("W", 64, 64, 640, step)
    assert equal(cut, cut // 2**depth * 2**depth)
    assert deciding_step(wide, wide + 1) is None


UNET = """
model unet {
  dim N = 1 .. 2 .. 4
  dim H = 64 .. 96 .. 128, step = 32
  profile large { H = 128 .. 128 .. 256 }
  input x: float32[N, 3, H, 64]
  y = x
  for i in range(5) { y = y -> max_pool2d(2) }
  output deep = reshape(y, N, 3 * (H // 32), 2)
  for i in range(5) { y = y -> interpolate(scale_factor = 2.0) }
  output result = x + y
}
"""


def test_a_u_net_is_written_as_in_pytorch() -> None:
    graph = elaborate_text(UNET)
    assert [str(out.value.type) for out in graph.outputs] == [
        "float32[N, 3 * (H // 32), 2]",
        "float32[N, 3, H, 64]",
    ]
    assert "dim H = 64 .. 96 .. 128, step = 32\n" in show(graph)
    assert difference(graph, elaborate_text(show(graph))) is None
    assert random_inputs(graph, "opt")["x"].shape == (2, 3, 96, 64)
    without = graph.replace(symbols=(graph.symbols[0], Symbol("H", 64, 96, 256)))
    assert difference(graph, without) is not None


def test_given_arrays_are_multiples() -> None:
    graph = elaborate_text(UNET)
    assert choose_inputs(graph, {"x": np.zeros((1, 3, 160, 64), np.float32)}, "opt", 0)
    with pytest.raises(UsageError, match="no H from 64 to 256 in steps of 32 makes `H` that"):
        choose_inputs(graph, {"x": np.zeros((1, 3, 100, 64), np.float32)}, "opt", 0)


def test_an_engine_refuses_others() -> None:
    stepped = manifest()
    name = next(iter(stepped.profiles[0].dims))
    stepped = dataclasses.replace(stepped, steps={name: 7})
    shapes = {
        binding.name: tuple(size if isinstance(size, int) else 8 for size in binding.shape)
        for binding in stepped.inputs
    }
    with pytest.raises(UsageError, match=f"`{name}` must be a multiple of 7, but it is 8 in dimension"):
        check_shapes(stepped, shapes)


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ("dim H = 64 .. 100 .. 128, step = 32", "`H` goes in steps of 32, which do not reach 100"),
        ("dim H = 64 .. 64 .. 128, step = 0", "a step must be at least 1, not 0"),
        ("dim H = 64 .. 64 .. 128, step = 0.5", "a step is a whole number, not `0.5`"),
        (
            "dim H = 64 .. 64 .. 128, step = 32 profile p { H = 33 }",
            "`H` goes in steps of 32, which do not reach 33",
        ),
        ("dim H = 64, step = 32", "a step belongs to a range"),
        ("dim H = 64 .. 64 .. 128, steps = 32", "expected `step`, found `steps`"),
    ],
)
def test_mistakes(dims: str, message: str) -> None:
    assert mistakes_of("output y = relu(x)", declared=f"{dims} input x: float32[H]\n")[0] == message


def test_a_shape_that_fails_names_the_step() -> None:
    text = UNET.replace(", step = 32", "")
    with pytest.raises(DiagnosticError) as caught:
        elaborate_text(text)
    helps = [help for diagnostic in caught.value.diagnostics for help in diagnostic.help]
    assert any("`dim H = min .. opt .. max, step = 32`" in help for help in helps)
