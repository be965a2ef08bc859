"""Weights that checkpoints hold in few bits: files that tools themselves wrote, and packings by definition.

The files in `packed` were written by compressed-tensors 0.20, torchao 0.18 and ModelOpt 0.47 from a weight
`[32, 64]`, with what the tool itself makes of it as ``expected``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_dtypes import float4_e2m1fn, float8_e4m3fn
from safetensors.numpy import save_file

from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.passes import optimize
from trtdsl.precision.pipeline import narrow
from trtdsl.recipe import Recipe
from trtdsl.types import DType, packed
from trtdsl.weights import bind, load_checkpoint
from trtdsl.weights.entries import packed_entry

FOLDER = Path(__file__).parent / "packed"
MODEL = "model m { input x: float32[4, 64]  output y = x -> fc: Linear(32, bias = false) }"
RANDOM = np.random.default_rng(0)
CODES = RANDOM.integers(-8, 8, (32, 64)).astype(np.int8)
SCALES = RANDOM.uniform(0.01, 0.1, (32, 4)).astype(np.float16)
WEIGHT = CODES * SCALES.astype(np.float32).repeat(16, 1)


def bound(arrays: Any) -> Any:
    """The weight that a model gets, without a key that is left unread."""
    found = bind(elaborate_text(MODEL), arrays)
    assert found.warnings == ()
    (weight,) = found.graph.weights
    return weight.data


@pytest.mark.parametrize(
    ("name", "dtype", "blocks"),
    [
        ("compressed_tensors_int4", DType.INT4, 4),
        ("compressed_tensors_int8", DType.INT8, 4),
        ("compressed_tensors_nvfp4", DType.FLOAT4, 4),
        ("torchao_int4", DType.INT4, 4),
        ("torchao_int8", DType.INT8, 1),
    ],
)
def test_files_that_the_tools_wrote(name: str, dtype: DType, blocks: int) -> None:
    checkpoint = load_checkpoint(FOLDER / f"{name}.safetensors")
    arrays = {key: checkpoint[key] for key in checkpoint if key != "expected"}
    wanted = checkpoint["expected"]
    # compressed-tensors reads nvfp4 back in bfloat16, of eight bits.
    np.testing.assert_allclose(bound(arrays), wanted, rtol=2**-8 if "nvfp4" in name else 1e-6, atol=1e-7)
    entry = packed_entry(checkpoint, "fc.weight", DType.FLOAT32)
    assert entry
    found = entry.packed()
    assert (found.dtype, found.scales.shape, found.lacking) == (dtype, (32, blocks), "")


FACTORS = "its inputs are multiplied by factors of their own first, which the model lacks"


def test_int4_awq_of_modelopt() -> None:
    checkpoint = load_checkpoint(FOLDER / "modelopt_int4_awq.safetensors")
    arrays = {key: checkpoint[key] for key in checkpoint if key != "expected"}
    np.testing.assert_allclose(bound(arrays), checkpoint["expected"], rtol=1e-5, atol=1e-6)
    entry = packed_entry(checkpoint, "fc.weight", DType.FLOAT32)
    assert entry and entry.packed().lacking == FACTORS
    # Of a layer whose factors went into a normalisation before it TensorRT can have the codes.
    alone = {**arrays, "fc.pre_quant_scale": np.ones(64, np.float32)}
    entry = packed_entry(alone, "fc.weight", DType.FLOAT32)
    assert entry and entry.packed().lacking == ""
    np.testing.assert_allclose(
        bound(alone) * arrays["fc.pre_quant_scale"], checkpoint["expected"], rtol=1e-5, atol=1e-6
    )


def int4_of_torchao(**entries: Any) -> dict[str, Any]:
    """By definition: what is made of a code is ``code * scale + zero``."""
    low, high = CODES[:, ::2], CODES[:, 1::2]
    given = {
        "qdata": (low & 15 | high << 4).astype(np.int8),
        "scale": np.ascontiguousarray(SCALES.T),
        "zero_point": np.ascontiguousarray(ADDED.T),
    }
    return {f"fc._weight_{name}": array for name, array in {**given, **entries}.items()}


ADDED = RANDOM.normal(0, 0.1, SCALES.shape).astype(np.float16)


def test_int4_tensors_of_torchao() -> None:
    arrays = int4_of_torchao()
    wanted = WEIGHT + ADDED.astype(np.float32).repeat(16, 1)
    np.testing.assert_allclose(bound(arrays), wanted, rtol=1e-5, atol=1e-6)
    entry = packed_entry(arrays, "fc.weight", DType.FLOAT32)
    assert entry and entry.packed().lacking == "its numbers have zero points, which TensorRT lacks"
    arrays = int4_of_torchao(zero_point=np.zeros((4, 32), np.float16))
    np.testing.assert_array_equal(bound(arrays), WEIGHT)
    entry = packed_entry(arrays, "fc.weight", DType.FLOAT32)
    assert entry and entry.packed().lacking == "" and entry.packed().dtype is DType.INT4
    factors = RANDOM.uniform(0.5, 2, 64).astype(np.float32)
    arrays["fc._weight_act_pre_scale"] = factors
    np.testing.assert_allclose(bound(arrays), WEIGHT * factors, rtol=1e-6)


def test_factors_of_inputs_count_for_other_types_of_modelopt() -> None:
    factors = RANDOM.uniform(0.5, 2, 64).astype(np.float32)
    arrays = {
        "fc.weight": CODES,
        "fc.weight_scale": np.ascontiguousarray(SCALES[:, 0]),
        "fc.pre_quant_scale": factors,
    }
    wanted = CODES * SCALES[:, :1].astype(np.float32) * factors
    np.testing.assert_allclose(bound(arrays), wanted, rtol=1e-6)
    with pytest.raises(DiagnosticError, match="has 3 factors for 64 inputs"):
        bound({**arrays, "fc.pre_quant_scale": factors[:3]})


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (int4_of_torchao(qdata=np.zeros((4, 2, 8, 4), np.int32)), r"holds int32\[4, 2, 8, 4\]: of its types"),
        ({"fc._weight_qdata": np.zeros((32, 64), float8_e4m3fn)}, r"holds float8_e4m3fn\[32, 64\]: of its"),
        ({"fc.weight": np.zeros((1024, 1), np.uint8), "fc.weight.absmax": np.ones(32)}, "is not read"),
        (
            {
                "fc.weight": np.zeros((16, 64), np.uint8),
                "fc.weight_scale": np.ones((32, 4), np.float32),
                "fc.weight_scale_2": np.ones((), np.float32),
            },
            "is in w4a8_awq",
        ),
    ],
)
def test_what_is_known_and_not_read_is_named(arrays: Any, reason: str) -> None:
    with pytest.raises(DiagnosticError, match=f"`fc.weight` is packed as by .*, and {reason}"):
        bound(arrays)


def in_int32(numbers: Any) -> Any:
    """Unsigned numbers of four bits, eight to a word of the last dimension, the first in the lowest bits."""
    eights = numbers.reshape(*numbers.shape[:-1], -1, 8).astype(np.uint32)
    return (eights << np.arange(0, 32, 4, dtype=np.uint32)).sum(-1, dtype=np.uint32).view(np.int32)


def gptq(zero: int = 7) -> dict[str, Any]:
    return {
        "fc.qweight": np.ascontiguousarray(in_int32(CODES + 8).T),
        "fc.qzeros": in_int32(np.full((4, 32), zero)),
        "fc.scales": np.ascontiguousarray(SCALES.T),
        "fc.g_idx": (np.arange(64) // 16).astype(np.int32),
    }


@pytest.mark.parametrize("zero", [7, 8])
def test_gptq(zero: int) -> None:
    np.testing.assert_array_equal(bound(gptq(zero)), WEIGHT)


def compressed(**entries: Any) -> dict[str, Any]:
    given = {"weight_packed": in_int32(CODES + 8), "weight_scale": SCALES, "weight_shape": np.array([32, 64])}
    return {f"fc.{name}": array for name, array in {**given, **entries}.items()}


ZEROS = RANDOM.integers(-8, 8, SCALES.shape)


@pytest.mark.parametrize(
    "zeros", [ZEROS.astype(np.int8), np.ascontiguousarray(in_int32(ZEROS.T + 8).T)], ids=["plain", "packed"]
)
def test_zero_points_of_compressed_tensors(zeros: Any) -> None:
    arrays = compressed(weight_zero_point=zeros)
    wanted = (CODES - ZEROS.repeat(16, 1)) * SCALES.astype(np.float32).repeat(16, 1)
    np.testing.assert_array_equal(bound(arrays), wanted.astype(np.float32))
    entry = packed_entry(arrays, "fc.weight", DType.FLOAT32)
    assert entry and entry.packed().lacking == "its numbers have zero points, which TensorRT lacks"


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (compressed(weight_scale=np.ones((32, 5), np.float16)), "has scales of 32 × 5 for 32 × 64 codes"),
        (compressed(weight_scale=np.ones((32, 128), np.float16)), "has scales of 32 × 128 for 32 × 64 codes"),
        (compressed(weight_packed=in_int32(CODES[:16] + 8)), "has 16 × 64 codes for a weight of 32 × 64"),
        (
            compressed(weight_g_idx=(np.arange(64) // 8).astype(np.int32)),
            "has scales of 32 × 4 for 32 × 64 codes",
        ),
        ({**gptq(), "fc.g_idx": np.zeros(8, np.int32)}, "names the blocks of 8 inputs, of which it has 64"),
    ],
)
def test_what_is_packed_otherwise_is_refused(arrays: Any, reason: str) -> None:
    with pytest.raises(DiagnosticError, match=f"`fc.weight` is packed as by .*, and {reason}"):
        bound(arrays)


def test_gptq_in_an_order_of_its_own() -> None:
    order = RANDOM.permutation(np.arange(64) // 16).astype(np.int32)
    arrays = {**gptq(), "fc.g_idx": order}
    np.testing.assert_array_equal(bound(arrays), CODES * SCALES.astype(np.float32)[:, order])
    entry = packed_entry(arrays, "fc.weight", DType.FLOAT32)
    assert entry and entry.packed().lacking == "its inputs are not in the order of their blocks"


def test_zero_points_of_gptq_are_of_two_kinds() -> None:
    with pytest.raises(DiagnosticError, match=r"`fc.weight` is packed as by GPTQ, and has zero points"):
        bound(gptq(5))


OF_TWO: dict[str, tuple[str, dict[str, Any], int]] = {
    "of the first, by default": ("quantize_config.json", {"bits": 4, "group_size": 16}, 1),
    "of the first": (
        "config.json",
        {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 16}},
        1,
    ),
    "of the second": (
        "config.json",
        {"quantization_config": {"checkpoint_format": "gptq_v2", "bits": 4, "group_size": 16}},
        0,
    ),
}


@pytest.mark.parametrize("case", OF_TWO)
def test_a_configuration_says_which_zero_points_those_of_gptq_are(case: str, tmp_path: Path) -> None:
    name, config, less = OF_TWO[case]
    zeros = RANDOM.integers(0, 16, (4, 32))
    words = in_int32(zeros).view(np.uint32) - np.uint32(0x11111111 * less)
    save_file({**gptq(), "fc.qzeros": words.view(np.int32)}, tmp_path / "c.safetensors")
    with pytest.raises(DiagnosticError, match=r"no `config.json` beside it says of which version"):
        bound(load_checkpoint(tmp_path / "c.safetensors"))
    (tmp_path / name).write_text(json.dumps(config))
    wanted = (CODES + 8 - zeros.T.repeat(16, 1)) * SCALES.astype(np.float32).repeat(16, 1)
    np.testing.assert_allclose(bound(load_checkpoint(tmp_path / "c.safetensors")), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"quant_method": "awq", "bits": 4, "group_size": 16}', '{"hidden_size": 64}']
)
def test_configurations_of_others_say_nothing_of_gptq(text: str, tmp_path: Path) -> None:
    save_file(gptq(5), tmp_path / "c.safetensors")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DiagnosticError, match=r"no `config.json` beside it says of which version"):
        bound(load_checkpoint(tmp_path / "c.safetensors"))


@pytest.mark.parametrize("zero", [8, 3])
def test_awq(zero: int) -> None:
    def packing(numbers: Any) -> Any:
        eights = numbers.reshape(len(numbers), -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]]
        return in_int32(eights.reshape(len(numbers), -1))

    arrays = {
        "fc.qweight": packing((CODES + 8).T),
        "fc.qzeros": packing(np.full((4, 32), zero)),
        "fc.scales": np.ascontiguousarray(SCALES.T),
    }
    wanted = (CODES + 8.0 - zero) * SCALES.astype(np.float32).repeat(16, 1)
    np.testing.assert_array_equal(bound(arrays), wanted.astype(np.float32))
    entry = packed_entry(arrays, "fc.weight", DType.FLOAT32)
    assert entry and bool(entry.packed().lacking) == (zero != 8)


def test_nvfp4_of_modelopt() -> None:
    codes = RANDOM.choice([0.5, -1, 3, 6, -4, 0], (32, 64)).astype(float4_e2m1fn)
    scales = RANDOM.uniform(1, 400, (32, 4)).astype(float8_e4m3fn)
    arrays = {
        "fc.weight": packed(codes).reshape(32, 32),
        "fc.weight_scale": scales,
        "fc.weight_scale_2": np.float32(0.001),
        "fc.input_scale": np.float32(0.002),
    }
    wanted = codes.astype(np.float32) * scales.astype(np.float32).repeat(16, 1) * np.float32(0.001)
    np.testing.assert_allclose(bound(arrays), wanted, rtol=1e-6)


def test_what_is_not_packed_is_bound_as_it_is() -> None:
    np.testing.assert_array_equal(bound({"fc.weight": WEIGHT}), WEIGHT)


# --- Codes and scales of a checkpoint ----------------------------------------------------------------------


def model(arrays: Any) -> Graph:
    return bind(elaborate_text(MODEL), arrays).graph


def test_codes_are_taken_as_they_are(tmp_path: Path) -> None:
    save_file(gptq(), tmp_path / "c.safetensors")
    found = narrow(model(gptq()), Recipe(precision="int4", scales=tmp_path / "c.safetensors"))
    held = {weight.key: np.asarray(weight.data) for weight in found.graph.weights}
    np.testing.assert_array_equal(held["fc.weight"].astype(np.int8), CODES)
    np.testing.assert_array_equal(held["fc.weight_scale"], SCALES.astype(np.float32))
    assert found.recipe["method"] == "stored"


@pytest.mark.parametrize(
    ("arrays", "precision", "reason"),
    [
        ({"fc.weight": WEIGHT}, "int4", "`fc`: the checkpoint has no packed weight of it"),
        (gptq(), "int8-weights", "`fc`: the checkpoint has it in int4"),
        ({**gptq(), "fc.scales": SCALES.T * np.float16(2)}, "int4", "`fc`: a pass has changed its weight"),
    ],
)
def test_why_codes_are_not_taken(arrays: Any, precision: str, reason: str, tmp_path: Path) -> None:
    save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, tmp_path / "c.safetensors")
    with pytest.raises(UsageError, match=f"has no weights of `m` in {precision}") as error:
        narrow(model(gptq()), Recipe(precision=precision, scales=tmp_path / "c.safetensors"))
    assert error.value.diagnostics[0].help == (reason,)


ATTENTION = """
model m {
  input x: float32[4, 5, 64]
  parts = x -> fc: Linear(32, bias = false) -> reshape(4, 5, 4, 2, 4) -> permute(2, 0, 3, 1, 4)
  q, k, v, w = unbind(parts)
  y = scaled_dot_product_attention(q, k, v, scale = SCALE)
  output z = y + w
}
"""


@pytest.mark.parametrize(("scale", "same"), [(0.25, True), (0.3, False)])
def test_scales_have_the_scale_of_an_attention_in_them(scale: float, same: bool, tmp_path: Path) -> None:
    save_file(gptq(), tmp_path / "c.safetensors")
    text = ATTENTION.replace("SCALE", str(scale))
    graph = optimize(bind(elaborate_text(text), gptq()).graph)
    recipe = Recipe(precision="int4", scales=tmp_path / "c.safetensors")
    if not same:
        with pytest.raises(UsageError, match="no weights of `m` in int4") as error:
            narrow(graph, recipe)
        assert error.value.diagnostics[0].help == ("`fc+y`: its scales have not all their digits in float16",)
        return
    held = {weight.key: np.asarray(weight.data) for weight in narrow(graph, recipe).graph.weights}
    np.testing.assert_array_equal(held["fc+y.weight"].astype(np.int8), CODES)
    wanted = SCALES.astype(np.float32) * np.repeat([scale, 1, 1, 1], 8)[:, None]
    np.testing.assert_array_equal(held["fc+y.weight_scale"], wanted)


HEADS = """
model m {
  input x: float32[4, 5, 64]
  output q = transpose(reshape(x -> q: Linear(32, bias = false), (4, 5, 4, 8)), 1, 2)
  output k = transpose(reshape(x -> k: Linear(32, bias = false), (4, 5, 4, 8)), 1, 2)
}
"""
INT8 = {"_weight_qdata": CODES, "_weight_scale": np.full((32, 1), 0.5, np.float32)}
HALVES = {
    "qweight": np.ascontiguousarray(in_int32(CODES + 8).T),
    "qzeros": in_int32(np.full((2, 32), 7)),
    "scales": np.ascontiguousarray(SCALES.T[:2]),
}


@pytest.mark.parametrize(
    ("of_k", "reason"),
    [(INT8, "it in int8"), (HALVES, "its parts in blocks of different sizes")],
    ids=["types", "blocks"],
)
def test_layers_made_one_are_packed_alike(of_k: dict[str, Any], reason: str, tmp_path: Path) -> None:
    arrays = {key.replace("fc.", "q."): array for key, array in gptq().items()}
    arrays |= {f"k.{name}": array for name, array in of_k.items()}
    save_file(arrays, tmp_path / "c.safetensors")
    graph = optimize(bind(elaborate_text(HEADS), arrays).graph)
    with pytest.raises(UsageError) as error:
        narrow(graph, Recipe(precision="int4", scales=tmp_path / "c.safetensors"))
    assert error.value.diagnostics[0].help == (f"`q+k`: the checkpoint has {reason}",)


@pytest.mark.parametrize("word", [{"method": "nearest"}, {"block": 32}, {"equalise": 0.5}])
def test_what_was_rounded_is_not_rounded_again(word: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is about rounding, and `--scales` has rounded weights"):
        Recipe(precision="int4", scales="c.safetensors", calibrate="d.npz", **word)
