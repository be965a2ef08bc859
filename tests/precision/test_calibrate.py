"""Ranges of tensors: the same however the data come, what the methods make of them, and their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.command import trtdsl
from trtdsl.calibrate import calibrate_graph
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.options import CompileOptions
from trtdsl.precision.calibrate import Observed, calibrate
from trtdsl.precision.histogram import BINS, Histogram, rounded
from trtdsl.precision.ranges import digest, ranges_of, read_ranges
from trtdsl.recipe import Method, Recipe
from trtdsl.reference import random_weights
from trtdsl.types import DType

MODEL = """
model m() {
  dim N = 1 .. 8 .. 64
  input x: float32[N, 3, 8, 8]
  h = x -> conv1: Conv2d(16, 3) -> relu -> conv2: Conv2d(16, 3, groups = 2) -> relu
  h = permute(h, (0, 2, 3, 1)) -> fc: Linear(8) -> relu
  output y = h -> tied: Linear(8) -> tied: Linear(8)
}
"""


@pytest.fixture(scope="module")
def graph() -> Graph:
    return random_weights(elaborate_text(MODEL))


@pytest.fixture(scope="module")
def data() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(0, 1, (48, 3, 8, 8)).astype(np.float32)


def same(one: dict[str, Observed], other: dict[str, Observed]) -> bool:
    """Whether two calibrations agree to the bit."""
    return one.keys() == other.keys() and all(
        a.magnitudes.largest == b.magnitudes.largest
        and np.array_equal(a.magnitudes.counts, b.magnitudes.counts)
        and np.array_equal(a.channels, b.channels)
        for a, b in zip(one.values(), other.values(), strict=True)
    )


@pytest.mark.parametrize("size", [1, 8, 48])
def test_batches_and_order_change_nothing(graph: Graph, data: np.ndarray[Any, Any], size: int) -> None:
    whole = calibrate(graph, {"x": data})
    parts = [{"x": data[start : start + size]} for start in range(0, 48, size)]
    assert same(calibrate(graph, parts), whole)
    assert same(calibrate(graph, {"x": data[::-1]}), whole)
    assert not same(calibrate(graph, {"x": data * np.float32(1.0001)}), whole)
    assert not same(calibrate(graph, {"x": data}, samples=47), whole)


CACHED = """
model m() {
  dim N = 1 .. 8 .. 64
  dim P = 1 .. 8 .. 64
  input ids: int64[N, 1] in 0 .. 9
  input cache: float32[2, N, P, 16]
  q = ids -> words: Embedding(10, 16) -> query: Linear(16)
  output y = scaled_dot_product_attention(q, cache[0], cache[1]) -> out: Linear(16)
}
"""


def test_samples_are_along_the_dimension_that_all_inputs_have() -> None:
    random = np.random.default_rng(0)
    cached = random_weights(elaborate_text(CACHED))
    ids, cache = random.integers(0, 10, (6, 1)), random.normal(0, 1, (2, 6, 4, 16)).astype(np.float32)
    found = calibrate(cached, {"ids": ids, "cache": cache})
    parts = [{"ids": ids[i : i + 2], "cache": cache[:, i : i + 2]} for i in (0, 2, 4)]
    assert found["out"].magnitudes.counts.sum() == 6 * 16
    assert same(calibrate(cached, parts), found)
    assert same(calibrate(cached, parts[:2]), calibrate(cached, {"ids": ids, "cache": cache}, samples=4))
    with pytest.raises(UsageError, match="different numbers of samples: 6 of `ids`, 3 of `cache`"):
        calibrate(cached, {"ids": ids, "cache": cache[:, :3]})


@pytest.mark.parametrize("second", ["float32[S, 4]", "float32[]", "float32[4, N, N]"])
def test_inputs_without_a_dimension_in_common(second: str) -> None:
    dims = "dim N = 1 .. 2 .. 3 dim S = 1 .. 2 .. 3"
    text = f"model m {{ {dims} input x: float32[N, 4] input z: {second} output y = sum(x) + z }}"
    with pytest.raises(UsageError, match="no dimension in common along which data could have samples"):
        calibrate(elaborate_text(text), {"x": np.ones((2, 4), np.float32)})


def test_what_is_observed(graph: Graph, data: np.ndarray[Any, Any]) -> None:
    found = calibrate(graph, {"x": data})
    assert list(found) == ["conv1", "conv2", "fc", "tied"]
    assert found["conv1"].magnitudes.largest == float(np.abs(data).max())
    np.testing.assert_array_equal(found["conv1"].channels, np.abs(data).max((0, 2, 3)))
    assert {label: len(each.channels) for label, each in found.items()} == {
        "conv1": 3,
        "conv2": 16,
        "fc": 16,
        "tied": 8,
    }
    # Both uses of one label are in its counts.
    assert found["tied"].magnitudes.counts.sum() == 2 * 48 * 4 * 4 * 8
    seen = found["conv1"].magnitudes
    bins = np.minimum((np.abs(data).astype(float) * (BINS / seen.largest)).astype(int), BINS - 1)
    np.testing.assert_array_equal(seen.counts, np.bincount(bins.ravel(), minlength=BINS))


def test_progress_is_told(graph: Graph, data: np.ndarray[Any, Any]) -> None:
    told: list[tuple[int, int]] = []
    calibrate(graph, {"x": data[:3]}, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


def test_what_stands_for_infinity_is_left_out(graph: Graph, data: np.ndarray[Any, Any]) -> None:
    masked = data[:2].copy()
    masked[0, 0, 0, :3] = -np.inf, -3.4e38, 1e31
    found = calibrate(model_on_masks(), {"x": masked})["fc"]
    rest = np.abs(masked)[np.abs(masked) < 1e30]
    assert found.infinite == 3
    assert found.magnitudes.largest == float(rest.max())
    assert found.magnitudes.counts.sum() == rest.size


def test_what_has_no_number_but_infinities_is_refused() -> None:
    graph = model_on_masks()
    with pytest.raises(UsageError, match=r"all numbers of the input of `fc` are 1e\+30 or more"):
        calibrate(graph, {"x": np.full((2, 3, 8, 8), -3.4e38, np.float32)})
    # Zeros have a range.
    assert calibrate(graph, {"x": np.zeros((2, 3, 8, 8), np.float32)})["fc"].magnitudes.largest == 0


def model_on_masks() -> Graph:
    text = (
        "model m {\n  dim N = 1 .. 2 .. 4\n  input x: float32[N, 3, 8, 8]\n  output y = fc: Linear(4)(x)\n}"
    )
    return random_weights(elaborate_text(text))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"z": np.zeros((2, 3, 8, 8), np.float32)}, "the model has no input `z`"),
        ({}, "the data have no `x`"),
        ({"x": np.zeros((2, 3, 8), np.float32)}, r"input `x` is float32\[N, 3, 8, 8\]"),
        ({"x": np.zeros((2, 3, 8, 8))}, "but the data are float64"),
        ({"x": np.zeros((0, 3, 8, 8), np.float32)}, "the data have 0 samples, and the model takes 1"),
        ({"x": np.full((1, 3, 8, 8), np.nan, np.float32)}, "the input of `conv1` has NaN"),
    ],
)
def test_data_that_do_not_fit(graph: Graph, data: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        calibrate(graph, data)


TEXTS = """
model m() {
  dim N = 1 .. 2 .. 8
  dim S = 1 .. 4 .. 9
  input ids: int64[N, S] in 0 .. 30
  input x: float32[N, S, 16]
  output y = (ids -> table: Embedding(31, 16)) + x -> fc: Linear(16)
}
"""


@pytest.mark.parametrize(
    ("ids", "x", "reason"),
    [
        (np.zeros((3, 5)), (3, 5, 8), "input `x`: dimension 2 must be 16, not 8"),
        (np.zeros((3, 5)), (3, 6, 16), "input `x`: dimension 1 is 6, but `S` is 5 by input `ids`"),
        (np.zeros((3, 12)), (3, 12, 16), "`S` is 12, outside of 1 .. 9"),
        (np.full((3, 5), 31), (3, 5, 16), r"input `ids` takes values in 0 .. 30, but `ids\[0, 0\]` is 31"),
    ],
)
def test_sizes_and_values_that_do_not_fit(ids: Any, x: tuple[int, ...], reason: str) -> None:
    graph = random_weights(elaborate_text(TEXTS))
    with pytest.raises(UsageError, match=reason):
        calibrate(graph, {"ids": ids.astype(np.int64), "x": np.zeros(x, np.float32)})


def test_an_index_beyond_its_table_is_told_where_it_is_read() -> None:
    graph = random_weights(elaborate_text(TEXTS.replace(" in 0 .. 30", "")))
    data = {"ids": np.full((3, 5), 31, np.int64), "x": np.ones((3, 5, 16), np.float32)}
    with pytest.raises(UsageError, match="`Embedding` is given an index that is out of range") as raised:
        calibrate(graph, data)
    assert raised.value.diagnostics[0].span


def test_samples_may_be_more_than_a_batch() -> None:
    graph = random_weights(elaborate_text(TEXTS))
    data = {"ids": np.zeros((20, 9), np.int64), "x": np.ones((20, 9, 16), np.float32)}
    assert calibrate(graph, data)["fc"].magnitudes.largest


def test_a_fixed_batch_is_filled() -> None:
    text = "model m {\n  input x: float32[4, 8]\n  output y = fc: Linear(4)(x)\n}"
    graph = random_weights(elaborate_text(text))
    data = np.random.default_rng(0).normal(0, 1, (11, 8)).astype(np.float32)
    parts = [{"x": data[:3]}, {"x": data[3:]}]
    assert same(calibrate(graph, parts), calibrate(graph, {"x": data}))
    assert calibrate(graph, parts)["fc"].magnitudes.largest == float(np.abs(data[:8]).max())
    with pytest.raises(UsageError, match="3 samples, and the model takes 4"):
        calibrate(graph, {"x": data[:3]})
    with pytest.raises(UsageError, match="`--samples` asks for 1 sample, and the model takes 4"):
        calibrate(graph, {"x": data}, samples=1)


# --- Methods -----------------------------------------------------------------------------------------------


def histogram(numbers: np.ndarray[Any, Any]) -> Histogram:
    largest = float(np.abs(numbers).max())
    bins = np.minimum((np.abs(numbers) / largest * BINS).astype(int), BINS - 1)
    return Histogram(largest, np.bincount(bins.ravel(), minlength=BINS))


def error(numbers: np.ndarray[Any, Any], end: float, dtype: DType) -> float:
    """The squared error of rounding numbers to a type by a range."""
    levels = {DType.INT8: 127.0, DType.FLOAT8: 448.0}[dtype]
    back = rounded(np.abs(numbers) / (end / levels), dtype) * (end / levels)
    return float(((np.abs(numbers) - back) ** 2).sum())


def test_a_few_large_numbers_are_cut_off_by_all_methods_but_one() -> None:
    numbers = np.random.default_rng(0).normal(0, 1, 200_000)
    numbers[:3] = 40.0
    found = histogram(numbers)
    assert found.range("max") == 40.0
    assert 3.5 < found.range("percentile", percentile=99.99) < 4.5
    assert 4.0 < found.range("mse") < 30.0
    assert 2.0 < found.range("entropy") < 10.0
    assert found.share_beyond(20.0) == pytest.approx(3 / 200_000)


def test_zeros_do_not_decide_a_range() -> None:
    numbers = np.maximum(np.random.default_rng(0).normal(0, 1, 200_000), 0)
    assert histogram(numbers).range("entropy") > 2.5
    assert histogram(numbers).range("mse") > 2.5


@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT8], ids=str)
def test_mse_has_the_least_error(dtype: DType) -> None:
    numbers = np.random.default_rng(0).laplace(0, 1, 100_000)
    found = histogram(numbers)
    best = found.range("mse", dtype)
    others = [found.largest * share for share in np.linspace(0.1, 1, 40)]
    assert error(numbers, best, dtype) <= 1.01 * min(error(numbers, end, dtype) for end in others)


@pytest.mark.parametrize("method", ["max", "percentile", "mse", "entropy"])
def test_zeros_have_the_range_0_and_equal_numbers_their_own(method: Method) -> None:
    assert Histogram(0.0, np.zeros(BINS, np.int64)).range(method) == 0.0
    assert histogram(np.full(1000, 2.5)).range(method) == 2.5


# --- The file ----------------------------------------------------------------------------------------------


def test_the_file_is_read_back(graph: Graph, data: np.ndarray[Any, Any], tmp_path: Path) -> None:
    found = ranges_of(calibrate(graph, {"x": data}), "m", "percentile", 48, digest({"x": data}))
    found.write(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    assert read_ranges(tmp_path / "r.json").text() == text
    assert sum(line.startswith('    "') for line in text.splitlines()) == 4 + 4
    read = read_ranges(tmp_path / "r.json").layers
    assert all(read[label].channels == layer.channels for label, layer in found.layers.items())
    # Channels are rounded up, to four digits.
    for label, each in calibrate(graph, {"x": data}).items():
        told = np.array(found.layers[label].channels)
        assert (told >= each.channels * (1 - 1e-6)).all() and (told <= each.channels * 1.0011).all()
        assert np.float32(max(told)) == each.channels.max()
        assert all(len(f"{size:g}".replace(".", "").lstrip("0")) <= 4 for size in told[told < max(told)])
    assert all(
        np.float32(read.input) == np.float32(kept.input)
        for read, kept in zip(
            read_ranges(tmp_path / "r.json").layers.values(), found.layers.values(), strict=True
        )
    )
    assert digest({"x": data}) != digest({"x": data[:47]})


FIXED = """model m {
  dim N = 1 .. 2 .. 4
  dim S = 5 .. 5 .. 5
  input x: float32[N, S, 32]
  e = cos(arange(S)[:, none] * arange(1, 33)) -> e: Linear(32)
  output y = (x -> a: Linear(32)) + e
}
"""


def test_dimensions_of_one_size_have_the_layers_that_are_built(tmp_path: Path) -> None:
    """Data may come in other batches, and what is computed of constants has a range."""
    (tmp_path / "m.trtnet").write_text(FIXED)
    graph = random_weights(elaborate_text(FIXED))
    save_file({weight.key: np.asarray(weight.data) for weight in graph.weights}, tmp_path / "m.safetensors")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((7, 5, 32), np.float32))
    recipe = Recipe(precision="int8", calibrate=tmp_path / "x.npz")
    for size in (1, 4):
        ranges = calibrate_graph(graph, recipe, CompileOptions(profiles=f"N={size}"))
        assert (sorted(ranges.layers), ranges.samples) == (["a", "e"], 7)
    (tmp_path / "r.json").write_text(ranges.text())
    files = [str(tmp_path / name) for name in ("m.trtnet", "m.safetensors")]
    told = ["-o", str(tmp_path / "m.engine"), "--precision", "int8", "--scales", str(tmp_path / "r.json")]
    assert trtdsl("compile", *files, *told, "--profile", "N=4") == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "it is not a JSON object"),
        ("{", "it is not valid JSON"),
        ('{"format": 2}', "its format is 2, not 1"),
        ('{"format": 1}', "it has no object `layers`"),
        ('{"format": 1, "layers": {"fc": {}}}', "`input` of `fc` must be a number from 0 on, not None"),
        ('{"format": 1, "layers": {"fc": {"input": -1}}}', "must be a number from 0 on, not -1"),
        ('{"format": 1, "layers": {"fc": {"input": NaN}}}', "must be a number from 0 on, not nan"),
        ('{"format": 1, "layers": {"fc": {"input": 1}, "fc": {"input": 2}}}', "`fc` is there twice"),
        ('{"format": 1, "layers": {}, "channels": {"fc": "a"}}', "the channels of `fc` must be numbers"),
        ('{"format": 1, "layers": {}, "channels": {"fc": [1, -1]}}', "the channels of `fc` must be numbers"),
    ],
)
def test_what_is_not_a_file_of_ranges(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UsageError, match=reason):
        read_ranges(tmp_path / "r.json")
    with pytest.raises(UsageError, match="cannot read"):
        read_ranges(tmp_path / "none.json")


def test_channels_of_one_tensor_stand_in_the_file_once(tmp_path: Path) -> None:
    text = (
        "model m {\n  dim N = 1 .. 2 .. 4\n  input x: float32[N, 8]\n"
        "  output y = (x -> a: Linear(4)) + (x -> b: Linear(4))\n}"
    )
    graph = random_weights(elaborate_text(text))
    inputs = {"x": np.eye(8, dtype=np.float32) * 2}
    found = ranges_of(calibrate(graph, inputs), "m", "max", 8)
    assert '"a": [2, 2, 2, 2, 2, 2, 2, 2],\n    "b": "a"' in found.text()
    found.write(tmp_path / "r.json")
    assert read_ranges(tmp_path / "r.json").layers["b"].channels == (2.0,) * 8


def test_the_command_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.trtnet").write_text(MODEL.strip() + "\n")
    graph = random_weights(elaborate_text(MODEL))
    save_file({weight.key: np.asarray(weight.data) for weight in graph.weights}, tmp_path / "m.safetensors")
    data = np.random.default_rng(0).normal(0, 1, (5, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", data)
    np.savez(tmp_path / "x.npz", x=data)
    files = [str(tmp_path / name) for name in ("m.trtnet", "m.safetensors")]
    for name in ("x.npy", "x.npz"):
        told = ["--calibrate", str(tmp_path / name), "-o", str(tmp_path / f"{name}.json"), "--samples", "4"]
        assert trtdsl("calibrate", *files, *told) == 0
    assert "4 ranges, from 4 samples" in capsys.readouterr().out
    found = read_ranges(tmp_path / "x.npz.json")
    assert found.text() == read_ranges(tmp_path / "x.npy.json").text()
    assert np.float32(found.layers["conv1"].input) == np.abs(data[:4]).max()
    assert trtdsl("calibrate", *files, "--calibrate", str(tmp_path / "none.npz")) == 2
    told = ["--calibrate", str(tmp_path / "x.npy"), "-o", str(tmp_path / "one.json"), "--samples", "1"]
    assert trtdsl("calibrate", *files, *told) == 0
    assert "4 ranges, from 1 sample\n" in capsys.readouterr().out
    for words, reason in (
        (("--percentile", "50"), "`--percentile` is for another method"),
        (("--method", "percentile", "--percentile", "nan"), "a percentage from 50 to 100, not nan"),
    ):
        assert trtdsl("calibrate", *files, *told, *words) == 2
        assert reason in capsys.readouterr().err
