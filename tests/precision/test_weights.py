"""Linear layers whose weights alone are narrow: how they are rounded, and what TensorRT makes of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.command import trtdsl
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Graph, show
from trtdsl.passes import convert_precision, optimize
from trtdsl.precision.batches import Batches
from trtdsl.precision.compensate import compensated
from trtdsl.precision.error import output_error as error_of
from trtdsl.precision.grids import Grid, best_scales, largest_scales, nearest
from trtdsl.precision.layers import quantisable_layers
from trtdsl.precision.moments import moments, output_error
from trtdsl.precision.pipeline import narrow
from trtdsl.precision.placement import Policy
from trtdsl.precision.quantize import held_scales
from trtdsl.precision.weights import round_weights
from trtdsl.recipe import Recipe
from trtdsl.reference import random_weights, run
from trtdsl.trt.lower import lower
from trtdsl.trt.manifest import load_manifest
from trtdsl.types import DType

INT4 = Grid(DType.INT4, 32)
MODEL = """model m() {
  dim N = 1 .. 4 .. 8
  input x: float32[N, 256]
  h = x -> norm: LayerNorm(256)
  a = (h -> q: Linear(64)) * (h -> k: Linear(64))
  b = (a -> wide: Linear(128) -> gelu -> narrow: Linear(64)) + a
  output y = b -> head: Linear(10)
}
"""
FILES = ("m.trtnet", "m.safetensors")


def in_float16(scales: Any) -> Any:
    return held_scales(scales, DType.FLOAT16)


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


@pytest.fixture
def graph() -> Graph:
    return optimize(random_weights(elaborate_text(MODEL), 1))


@pytest.fixture
def data() -> dict[str, Any]:
    """Channels of which some are large."""
    x = normal(24, 256, seed=1)
    x[:, :8] *= 12
    return {"x": x}


# --- Rounding ----------------------------------------------------------------------------------------------


def test_a_scale_of_each_block_is_one_of_float16() -> None:
    weight = normal(64, 256)
    weight[3, 32:64] = 0
    found = nearest(weight, INT4, in_float16)
    assert found.codes.dtype == DType.INT4.numpy and found.scales.shape == (64, 8)
    np.testing.assert_array_equal(found.scales, found.scales.astype(np.float16).astype(np.float32))
    assert found.scales[3, 1] == 1 and (found.codes[3, 32:64].astype(int) == 0).all()
    half = found.scales.repeat(32, 1) / 2
    inside = np.abs(weight) <= 7 * found.scales.repeat(32, 1)
    assert (np.abs(found.weight - weight)[inside] <= half[inside] * (1 + 1e-6)).all()


@pytest.mark.parametrize("dtype", [DType.INT4, DType.INT8, DType.FLOAT4, DType.FLOAT8], ids=str)
def test_cutting_off_is_never_worse_than_letting_all_through(dtype: DType) -> None:
    grid, weight = Grid(dtype, 32), normal(64, 256)

    def error(scales: Any) -> Any:
        spread = scales[..., None]
        blocks = grid.blocks(weight)
        return np.square(grid.round(blocks / spread) * spread - blocks).sum(axis=2)

    best = error(best_scales(weight, grid, in_float16))
    whole = error(in_float16(largest_scales(weight, grid)))
    assert (best <= whole).all()
    assert best.sum() < (0.9 if dtype is DType.INT4 else 1.0) * whole.sum()


def test_what_is_important_is_rounded_more_finely() -> None:
    weight, importance = normal(64, 64), np.ones(64)
    importance[::8] = 1000
    plain, weighted = (nearest(weight, INT4, in_float16, each).weight for each in (None, importance))
    error = [np.square(each - weight)[:, ::8].sum() for each in (plain, weighted)]
    assert error[1] < 0.8 * error[0]


def test_inputs_that_have_nothing_in_common_are_rounded_to_the_nearest() -> None:
    weight = normal(32, 128)
    found, plain = compensated(weight, INT4, in_float16, np.eye(128)), nearest(weight, INT4, in_float16)
    np.testing.assert_array_equal(found.codes, plain.codes)
    np.testing.assert_array_equal(found.scales, plain.scales)


def test_errors_are_made_up_for_by_inputs_that_are_alike() -> None:
    weight, mixed = normal(64, 128), normal(128, 128, seed=2)
    inputs = normal(2000, 16, seed=3) @ normal(16, 128, seed=4) + 0.1 * normal(2000, 128, seed=5) @ mixed
    matrix = inputs.T.astype(np.float64) @ inputs
    errors = [
        output_error(each.weight - weight, matrix)
        for each in (
            compensated(weight, INT4, in_float16, matrix),
            nearest(weight, INT4, in_float16, np.diag(matrix)),
        )
    ]
    exact = np.square(inputs @ (nearest(weight, INT4, in_float16, np.diag(matrix)).weight - weight).T).sum()
    assert errors[1] == pytest.approx(exact, rel=1e-3)
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["int4", "int8-weights", "mxfp8"])
def test_what_is_not_finite_is_refused(graph: Graph, precision: str, number: float) -> None:
    for weight in graph.weights:
        if weight.key == "wide.weight":
            np.asarray(weight.data)[3, 5] = number
    with pytest.raises(UsageError, match=r"the weight `wide.weight` has numbers that are not finite"):
        narrow(graph, Recipe(precision=precision))


# --- Moments -----------------------------------------------------------------------------------------------


def test_moments_do_not_depend_on_how_they_are_found(
    graph: Graph, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = list(quantisable_layers(graph))
    found = moments(graph, layers, Batches(graph, data))
    parts = [{"x": data["x"][:7]}, {"x": data["x"][7:]}]
    monkeypatch.setattr("trtdsl.precision.moments.MEMORY", 1)
    again = moments(graph, layers, Batches(graph, parts))
    assert found.keys() == again.keys()
    for weight, matrix in found.items():
        np.testing.assert_array_equal(matrix, again[weight])
    named = {weight.key: matrix for weight, matrix in found.items()}
    assert named["q.weight"] is named["k.weight"]
    norm = torch.nn.functional.layer_norm(torch.from_numpy(data["x"]), (256,))
    weights = {weight.key: torch.from_numpy(np.asarray(weight.data)) for weight in graph.weights}
    norm = norm * weights["norm.weight"] + weights["norm.bias"]
    np.testing.assert_allclose(named["q.weight"], norm.T @ norm, rtol=1e-3, atol=1e-3)


# --- Graphs ------------------------------------------------------------------------------------------------


def test_equalised_channels_compute_the_same(graph: Graph, data: dict[str, Any]) -> None:
    batches = Batches(graph, data)
    found = round_weights(graph, Policy("int4"), "awq", DType.FLOAT16, batches)
    assert found.alphas["q"] == found.alphas["k"] > 0
    inputs = {"x": data["x"][:8]}
    exact, other = run(graph, inputs)["y"], run(found.graph, inputs)["y"]
    torch.testing.assert_close(other, exact, rtol=1e-4, atol=1e-5)
    # The division goes into the norm where it can, and is a product elsewhere.
    added = {weight.key for weight in found.graph.weights} - {weight.key for weight in graph.weights}
    assert added <= {"wide.pre_quant_scale", "narrow.pre_quant_scale"}


def test_data_make_the_outputs_nearer(graph: Graph, data: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **data)
    errors = {
        method: narrow(graph, Recipe(precision="int4", method=method, calibrate=tmp_path / "d.npz")).error
        for method in ("nearest", "awq", "gptq")
    }
    sizes = {method: found.largest for method, found in errors.items() if found}
    assert sizes["gptq"] < 0.9 * sizes["nearest"] and sizes["awq"] < sizes["nearest"]


def test_the_error_is_of_samples_that_weights_are_not_rounded_for(graph: Graph, tmp_path: Path) -> None:
    """Of few samples a layer of many inputs is rounded as if there were no others."""
    data, held = normal(100, 256, seed=1), [*range(4, 100, 5)]
    np.savez(tmp_path / "d.npz", x=data)
    found = narrow(graph, Recipe(precision="int4", calibrate=tmp_path / "d.npz"))
    assert found.error and [*found.error.places] == held
    others = error_of(graph, found.graph, Batches(graph, {"x": normal(64, 256, seed=2)})).largest
    assert found.error.largest == pytest.approx(others, rel=0.15)
    seen = error_of(graph, found.graph, Batches(graph, {"x": np.delete(data, held, 0)})).largest
    assert seen < 0.8 * others
    text = "weights are rounded for 80 samples, and the error is of the other 20"
    assert text in [note.message for note in found.notes]
    # What rounds to the nearest is as far off on all.
    plain = narrow(graph, Recipe(precision="int4", calibrate=tmp_path / "d.npz", method="awq"))
    assert plain.error and plain.error.samples == 100


@pytest.mark.parametrize(("samples", "places"), [(1, (0,)), (2, (1,)), (4, (3,)), (5, (4,)), (11, (4, 9))])
def test_one_sample_of_five_is_kept_apart(
    graph: Graph, tmp_path: Path, samples: int, places: tuple[int, ...]
) -> None:
    data: dict[str, Any] = {"x": normal(samples, 256)}
    fitted, held = Batches(graph, data).apart()
    assert held.places == places
    assert {*fitted.places, *places} == {*range(samples)}
    np.testing.assert_array_equal([each["x"][0] for each in held], data["x"][[*places]])
    np.savez(tmp_path / "d.npz", **data)
    found = narrow(graph, Recipe(precision="int4", calibrate=tmp_path / "d.npz"))
    same = any("on others it is larger" in note.message for note in found.notes)
    assert same == (samples == 1)


def test_one_alpha_for_all(graph: Graph, data: dict[str, Any]) -> None:
    batches = Batches(graph, data)
    found = round_weights(graph, Policy("int4"), "awq", DType.FLOAT16, batches, alpha=0.3)
    assert {*found.alphas.values()} == {0.3}
    none = round_weights(graph, Policy("int4"), "awq", DType.FLOAT16, batches, alpha=0)
    assert none.alphas == {} and none.graph.nodes == graph.nodes


def test_the_network_computes_what_the_graph_does(graph: Graph, data: dict[str, Any]) -> None:
    found = narrow(graph, Recipe(precision="int4")).graph
    assert show(elaborate_text(show(found))) == show(found)
    lowered = lower(found)
    inputs = {"x": data["x"][:4]}
    computed = evaluate(lowered.network, inputs, weights=lowered.weights)["y"]
    torch.testing.assert_close(computed, run(found, inputs)["y"], rtol=1e-4, atol=1e-5)


def test_scales_have_all_their_digits_in_the_engine(graph: Graph) -> None:
    found = narrow(graph, Recipe(precision="int4")).graph
    rounded = convert_precision(DType.FLOAT16)(found)
    before, after = ({w.key: np.asarray(w.data) for w in each.weights} for each in (found, rounded))
    np.testing.assert_array_equal(before["wide.weight_scale"], after["wide.weight_scale"].astype(np.float32))


@pytest.mark.parametrize(
    ("line", "precision", "reason"),
    [
        ("x -> l: Linear(64)", "int4", None),
        ("x -> l: Linear(8)", "int4", "8 outputs: fewer than 16"),
        ("x[:, :250] -> l: Linear(64)", "int4", "250 inputs do not make blocks of 16, two at least"),
        ("x[:, :250] -> l: Linear(64)", "int8-weights", None),
        (
            "reshape(x, (4, 16, 4, 4)) -> l: Conv2d(64, 3)",
            "int8-weights",
            "a convolution would read its weights back in a kernel of its own",
        ),
        ("reshape(x, (4, 16, 4, 4)) -> l: Conv2d(64, 3)", "nvfp4", "nvfp4 is for linear layers"),
        ("reshape(x, (4, 2, 2, 64)) -> l: Linear(64)", "mxfp8", "its input has rank 4: TensorRT finds"),
        ("x[:1] -> l: Linear(64)", "int4", None),
        ("x -> l: Linear(1)", "mxfp8", "it has one output: TensorRT does not build"),
    ],
)
def test_which_layers(line: str, precision: str, reason: str | None) -> None:
    text = f"model m {{ input x: float32[4, 256]  output y = {line} }}"
    (layer,) = quantisable_layers(random_weights(elaborate_text(text)))
    found = Policy(precision).reason(layer)
    assert found == reason if reason is None else found and found.startswith(reason)


def test_blocks_are_as_large_as_divide_a_row() -> None:
    form = Policy("int4").format
    assert [form.block(size) for size in (256, 192, 96, 48, 40)] == [128, 64, 32, 16, None]
    # One block would be a scale for each output, which TensorRT does not read within the product.
    assert [form.block(size) for size in (128, 64, 16)] == [64, 32, None]
    assert form.block(256, 32) == 32


# --- The command -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: Graph, data: dict[str, Any]) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("m.trtnet").write_text(MODEL)
    save_file({weight.key: np.asarray(weight.data) for weight in graph.weights}, "m.safetensors")
    np.savez("d.npz", **data)
    return tmp_path


def closing(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.partition(" for sm89\n\n")[2]


def test_int4_needs_no_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("compile", *FILES, "--precision", "int4", "--target", "sm89") == 0
    assert closing(capsys) == (
        "layers   int4 4, float16 1\n"
        "weights  int4 24.6 kB, float16 4.2 kB\n"
        "error    unknown without data; `--calibrate` measures it\n"
        "kernels  TensorRT reads the weights of 4 of 4 planned layers in int4\n"
        "1 of 5 layers stays in floating point\n"
        "  head: float16, because 10 outputs: fewer than 16\n"
    )
    recipe = load_manifest("m.engine").recipe
    assert recipe == {"precision": "int4", "around": "float16", "method": "nearest"}


def test_the_engine_holds_int4(folder: Path) -> None:
    text = "model m { input x: float32[4, 1024]  output y = x -> fc: Linear(1024) }"
    Path("m.trtnet").write_text(text)
    graph = random_weights(elaborate_text(text))
    save_file({weight.key: np.asarray(weight.data) for weight in graph.weights}, "m.safetensors")
    sizes: dict[str, int] = {}
    for precision in ("float16", "int8-weights", "int4"):
        assert trtdsl("compile", *FILES, "--precision", precision, "--target", "sm89", "-q") == 0
        sizes[precision] = load_manifest("m.engine").size
    # Of the weight's 2 MiB in float16 a half and a quarter; kernels differ by a tenth of one.
    megabyte = 2**20
    assert sizes["float16"] - sizes["int8-weights"] == pytest.approx(megabyte, abs=0.2 * megabyte)
    assert sizes["int8-weights"] - sizes["int4"] == pytest.approx(megabyte / 2, abs=0.2 * megabyte)


def test_data_round_weights_and_measure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "int4", "--calibrate", "d.npz", "--block", "32", "--target", "sm89")
    assert trtdsl("compile", *FILES, *told) == 0
    said = closing(capsys)
    assert re.search(
        r"^error    0\.\d+ of y, in relative L2 on 4 samples; the worst is sample (4|9|14|19), ", said, re.M
    )
    assert re.search(r"^expected 0\.\d+ of the layers one by one; most of it: ", said, re.M)
    recipe = load_manifest("m.engine").recipe
    assert recipe and recipe["method"] == "gptq" and recipe["block"] == 32
    assert recipe["samples"] == 24 and "ranges" not in recipe and recipe["worst_error"] > 0
    assert trtdsl("explain", *FILES, *told, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["precision"] == "int4"
    assert [(each["layer"], each["dtype"], each["why"]) for each in found["layers"]] == [
        *((label, "int4", "") for label in ("q", "k", "wide", "narrow")),
        ("head", "float16", "10 outputs: fewer than 16"),
    ]


def test_an_error_leaves_layers_in_floating_point(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "int4", "--calibrate", "d.npz", "--target", "sm89")
    assert trtdsl("compile", *FILES, *told) == 0
    measured = float(re.findall(r"error    (\S+) of y", closing(capsys))[0])
    assert trtdsl("compile", *FILES, *told, "--max-error", str(measured / 2)) == 0
    said = closing(capsys)
    assert float(re.findall(r"error    (\S+) of y", said)[0]) <= measured / 2
    assert "float16, because it alone makes an error of" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["int4", "--target", "sm75"], "sm75 does not read weights in int4: sm80 is the first that does"),
        (["nvfp4", "--calibrate", "d.npz", "--target", "sm89"], "sm89 does not compute in nvfp4: sm100 is"),
        (["mxfp8", "--target", "sm89,sm120"], "sm89 does not compute in mxfp8: sm100 is the first that does"),
        (["nvfp4"], "nvfp4 needs the ranges of the model's tensors"),
        (["int4", "--method", "gptq"], "`--method` is about data, and there are none"),
        (["int4", "--method", "mse"], "`--method mse`: choose one of nearest, awq, gptq"),
        (["int4", "--block", "256"], "`--block` takes one of 128, 64, 32, 16, not 256"),
        (["int8-weights", "--block", "64"], "`--block` is for int4, not for int8-weights"),
        (["int8", "--block", "64", "--calibrate", "d.npz"], "`--block` is for int4, not for int8"),
        (["float16", "--block", "64"], "`--block` is for int4, not for float16"),
        (["int4", "--scales", "s.json", "--block", "32"], "`--block` is about rounding"),
        (["mxfp8", "--equalise", "0.5"], "`--equalise` is about ranges, and mxfp8 has none"),
        (["int4", "--calibrate", "d.npz", "--equalise", "0.5"], "`--equalise` is for another method"),
        (["int4", "--allow", "int8=head"], "`--allow int8=…` allows nothing where the precision is int4"),
        (["int4", "--keep", "float16=*"], "no layer of `m` would have weights in int4"),
        (["w4a16"], "the precision is `w4a16`: choose one of float32"),
    ],
)
def test_what_is_refused_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    before = sorted(folder.iterdir())
    assert trtdsl("compile", *FILES, "--precision", *arguments) == 2
    assert says in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_rules_of_size_are_lifted_by_the_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--precision", "int8-weights", "--allow", "int8-weights=head", "--target", "sm89")
    assert trtdsl("compile", *FILES, *told) == 0
    assert closing(capsys).startswith("layers   int8 5\n")
    assert "--allow int8-weights=head" in " ".join(load_manifest("m.engine").command)
