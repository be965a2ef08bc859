"""Inputs that say what values they take: printed, kept, drawn, checked, told."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from tests.elaborate.bodies import graph_of, mistakes_of
from tests.runtime.test_binding import arrays
from tests.runtime.test_binding import manifest as manifest_of_two
from trtdsl.compile import optimize_graph
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, difference, rebuild, show, verify
from trtdsl.options import CompileOptions
from trtdsl.passes import PIPELINE, graph_pass, optimize
from trtdsl.reference import random_inputs, random_weights
from trtdsl.runtime.bench import random_arrays
from trtdsl.runtime.binding import show_binding
from trtdsl.runtime.engine import check_arrays
from trtdsl.trt.manifest import Binding
from trtdsl.types import DType, ValueRange
from trtdsl.verification.inputs import choose_inputs, input_advice

MODEL = """
model m(V = 50257) {
  dim N = 1 .. 2 .. 4
  input ids: int64[N, 300] in V - 20000 .. V - 1
  input image: float32[N, 3, 8, 8] in -1 .. 0.5
  input free: float32[N]
  a = image -> conv: Conv2d(4, 3) -> bn: BatchNorm2d -> relu
  output y = ids -> wte: Embedding(V, 4)
  output z = a
  output w = free
}
"""
IDS, IMAGE = ValueRange(30257, 50256), ValueRange(-1.0, 0.5)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return random_weights(elaborate_text(MODEL))


def test_prints_and_parses_back(graph: Graph) -> None:
    assert graph.ranges == {"ids": IDS, "image": IMAGE}
    assert "  input ids: int64[N, 300] in 30257 .. 50256\n" in show(graph)
    assert "  input image: float32[N, 3, 8, 8] in -1.0 .. 0.5\n" in show(graph)
    assert difference(graph, elaborate_text(show(graph))) is None
    other = show(graph).replace("-1.0 .. 0.5", "-1.0 .. 1e+16")
    assert difference(graph, elaborate_text(other)) is not None
    assert elaborate_text(other).ranges["image"] == (-1, 1e16)


def test_every_pass_keeps_it(graph: Graph) -> None:
    seen: list[str] = []

    def after(name: str, changed: Graph) -> None:
        seen.append(name)
        assert changed.ranges == graph.ranges

    optimize(graph, after=after)
    assert seen == [step.name for step in PIPELINE]
    converted = optimize_graph(graph, CompileOptions(precision="float16")).graph
    assert converted is not graph and converted.ranges == graph.ranges
    assert rebuild(graph, graph.nodes[:0], {}).ranges == graph.ranges


def test_a_pass_that_loses_it_is_caught(graph: Graph) -> None:
    @graph_pass()
    def lose(graph: Graph) -> Graph:
        """Wrong."""
        return graph.replace(ranges={})

    with pytest.raises(TypeError, match="changes the names, types or ranges of the inputs"):
        optimize(graph, [lose])


@pytest.mark.parametrize(
    "ranges", [{"y": IDS}, {"ids": ValueRange(3, 2)}, {"image": ValueRange(float("nan"), 1.0)}]
)
def test_the_verifier_sees_what_cannot_be(graph: Graph, ranges: dict[str, ValueRange]) -> None:
    assert not verify(graph)
    assert len(verify(graph.replace(ranges=ranges))) == 1


FLOATS = [DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT8]


# Too coarse for what is drawn here.
COARSE = (DType.BOOL, DType.FLOAT4, DType.FLOAT8_E8M0)


@pytest.mark.parametrize("dtype", [d for d in DType if d not in COARSE], ids=str)
def test_drawn_values_are_inside_and_everywhere(dtype: DType) -> None:
    values = ValueRange(0.1, 0.9) if dtype.is_floating else ValueRange(3, 6)
    array = values.draw(dtype, (50, 40), np.random.default_rng(0))
    assert (array.shape, array.dtype) == ((50, 40), dtype.numpy)
    assert values.stray(array) is None
    if dtype.is_integer:
        assert set(array.reshape(-1).tolist()) == {3, 4, 5, 6}
    else:
        assert np.histogram(array.astype(np.float32), 4, (0.1, 0.9))[0].min() > 200
    outside = array.copy()
    outside[7, 3], outside[9, 0] = (1.5, 2) if dtype.is_floating else (7, 2)
    assert values.stray(outside) == (7, 3)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_an_end_belongs_to_the_range_as_its_dtype_rounds_it(dtype: DType) -> None:
    ends = np.asarray([0.1, 0.3], np.float64).astype(dtype.numpy)
    assert ValueRange(0.1, 0.3).stray(ends) is None
    assert ValueRange(0.1, 0.3).stray(np.asarray([0.2, np.nan], np.float32).astype(dtype.numpy)) == (1,)
    same = ValueRange(0.1, 0.1).draw(dtype, (9,), np.random.default_rng(0))
    assert ValueRange(0.1, 0.1).stray(same) is None


@pytest.mark.parametrize("dtype", [d for d in DType if d.is_integer], ids=str)
def test_all_of_a_dtype_is_a_range(dtype: DType) -> None:
    values = ValueRange(*dtype.limits)
    drawn = values.draw(dtype, (2000,), np.random.default_rng(0))
    assert values.stray(np.asarray(dtype.limits, dtype.numpy)) is values.stray(drawn) is None
    assert drawn.min() < dtype.limits[0] // 2 + 16
    # What the engine holds in a narrower dtype than the model is drawn of what that holds.
    assert ValueRange(0, 2**40).draw(dtype, (9,), np.random.default_rng(0)).min() >= 0


def test_made_up_inputs_stay_inside(graph: Graph) -> None:
    for made in (random_inputs(graph, seed=1), choose_inputs(graph, {}, "opt", 1)):
        assert IDS.stray(made["ids"]) is IMAGE.stray(made["image"]) is None
        assert made["ids"].max() > 50000
        assert made["image"].max() > 0.4
        assert made["free"].dtype == np.float32
    (advice,) = input_advice(graph, ["ids", "image"])
    assert "random integers from 30257 to 50256" in advice


def outside(name: str, place: Any, value: float) -> dict[str, Any]:
    made = {"ids": np.full((2, 300), 40000), "image": np.zeros((2, 3, 8, 8), np.float32)}
    made[name][place] = value
    return made


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("ids", (1, 7), 50257, "input `ids` takes values in 30257 .. 50256, but `ids[1, 7]` is 50257"),
        ("ids", (0, 0), -1, "input `ids` takes values in 30257 .. 50256, but `ids[0, 0]` is -1"),
        (
            "image",
            (1, 2, 0, 5),
            0.75,
            "input `image` takes values in -1.0 .. 0.5, but `image[1, 2, 0, 5]` is 0.75",
        ),
        (
            "image",
            (0, 0, 0, 0),
            np.nan,
            "input `image` takes values in -1.0 .. 0.5, but `image[0, 0, 0, 0]` is nan",
        ),
    ],
)
def test_given_arrays_are_checked(graph: Graph, name: str, place: Any, value: float, message: str) -> None:
    given = outside(name, place, value)
    with pytest.raises(UsageError) as caught:
        choose_inputs(graph, given, "opt", 0)
    assert caught.value.diagnostics[0].message == message
    assert choose_inputs(graph, outside(name, place, graph.ranges[name].high), "opt", 0)


def test_an_engine_checks_what_lies_on_the_cpu() -> None:
    image, boxes = manifest_of_two().inputs
    ranged = dataclasses.replace(
        manifest_of_two(),
        inputs=(
            dataclasses.replace(image, range=ValueRange(0.0, 1.0)),
            dataclasses.replace(boxes, range=IMAGE),
        ),
    )
    assert check_arrays(ranged, arrays(4))
    given = arrays(4)
    given["image"][2, 0, 1, 1], given["boxes"][3, 0] = 255, 0.75
    with pytest.raises(UsageError) as caught:
        check_arrays(ranged, given)
    assert [diagnostic.message for diagnostic in caught.value.diagnostics] == [
        "input `image` takes values in 0.0 .. 1.0, but `image[2, 0, 1, 1]` is 255.0",
        "input `boxes` takes values in -1.0 .. 0.5, but `boxes[3, 0]` is 0.75",
    ]
    made = random_arrays(ranged, {"image": (8, 3, 8, 8), "boxes": (16, 4)}, seed=0)
    assert check_arrays(ranged, made)
    assert made["image"].std() > 0.2


def test_a_scalar_has_no_place() -> None:
    assert ValueRange(0, 3).problem("n", np.asarray(4)) == "input `n` takes values in 0 .. 3, but `n` is 4"
    assert ValueRange(0, 3).stray(np.zeros((0, 4), np.int64)) is None


def test_the_binding_says_it() -> None:
    assert show_binding(Binding("ids", "int64", ("N",), IDS)) == "int64[N] in 30257 .. 50256"
    without = json.loads(manifest_of_two().to_json())
    assert "range" not in without["inputs"][0]


LOOKUPS = "dim S = 4 .. 8 .. 16\ninput x: float32[S, 8]\ninput ids: int64[3] in {}\n"
WORDS = "ids -> wte: Embedding(50257, 4)"


@pytest.mark.parametrize(
    ("ids", "use"),
    [("0 .. 7", "x[:, ids]"), ("-8 .. 7", "x[:, ids]"), ("-16 .. 15", "x[ids]"), ("0 .. 50256", WORDS)],
)
def test_a_lookup_that_can_hold_the_range(ids: str, use: str) -> None:
    assert graph_of(f"output y = {use}", declared=LOOKUPS.format(ids)).ranges


@pytest.mark.parametrize(
    ("ids", "use", "stray"),
    [
        ("0 .. 8", "x[:, ids]", 8),
        ("-9 .. 7", "x[:, ids]", -9),
        ("0 .. 16", "x[ids]", 16),
        ("-17 .. 0", "x[ids]", -17),
        ("-1 .. 3", WORDS, -1),
        ("3 .. 50257", WORDS, 50257),
    ],
)
def test_a_lookup_that_can_never_hold_the_range(ids: str, use: str, stray: int) -> None:
    (message,) = mistakes_of(f"output y = {use}", declared=LOOKUPS.format(ids))
    assert f"`ids` is in {ids}, but position {stray} is out of range" in message
