"""Which tensors a network has rounded to a narrower type, in a wide precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorrt_rtx as trt
import torch

from trtdsl.evaluate import evaluate_all, rounded_types

PROD = trt.ElementWiseOperation.PROD
HALF, BFLOAT16 = torch.float16, torch.bfloat16


def _rounded(bench: Any, *outputs: Any, precision: Any = "float32") -> list[set[torch.dtype]]:
    """The types that have rounded each of some tensors."""
    names = [output.name for output in outputs]
    values = evaluate_all(bench.net, bench.values, precision=precision, outputs=names)
    found = rounded_types(bench.net, values)
    return [set(found.get(name, ())) for name in names]


def _product(bench: Any, a: Any, b: Any) -> Any:
    return bench.net.add_elementwise(a, b, PROD).get_output(0)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_cast_and_what_is_computed_of_it(bench: Any, precision: str) -> None:
    x = bench.input([1.0, 2.0])
    wide = _product(bench, x, x)
    half = bench.net.add_cast(wide, trt.float16).get_output(0)
    back = bench.net.add_cast(half, trt.float32).get_output(0)
    both = bench.net.add_cast(_product(bench, back, x), trt.bfloat16).get_output(0)
    assert _rounded(bench, wide, half, back, both, precision=precision) == [
        set(),
        {HALF},
        {HALF},
        {HALF, BFLOAT16},
    ]


def test_a_narrow_input_is_kept_wide_and_a_constant_is_not(bench: Any) -> None:
    x = bench.input(torch.tensor([1.0, 2.0], dtype=torch.float16))
    square = _product(bench, x, x)
    scaled = _product(bench, x, bench.constant([0.7], np.float16))
    assert _rounded(bench, square, scaled) == [set(), {HALF}]
    assert _rounded(bench, square, scaled, precision="native") == [{HALF}, {HALF}]


def test_a_shape_is_not_rounded(bench: Any) -> None:
    half = bench.net.add_cast(bench.input([1.0, 2.0]), trt.float16).get_output(0)
    assert _rounded(bench, bench.net.add_shape(half).get_output(0)) == [set()]


@pytest.mark.parametrize("casts", [True, False])
def test_what_a_loop_rounds_within(bench: Any, casts: bool) -> None:
    """A cast in one iteration rounds what the next ones read, and what comes out."""
    loop = bench.net.add_loop()
    loop.add_trip_limit(bench.constant(3, np.int32), trt.TripLimit.COUNT)
    x = loop.add_recurrence(bench.input([1.1]))
    start = _product(bench, x.get_output(0), x.get_output(0))
    following = start
    if casts:
        half = bench.net.add_cast(start, trt.float16).get_output(0)
        following = bench.net.add_cast(half, trt.float32).get_output(0)
    x.set_input(1, following)
    output = loop.add_loop_output(x.get_output(0), trt.LoopOutput.LAST_VALUE).get_output(0)
    assert _rounded(bench, output) == [{HALF} if casts else set()]
