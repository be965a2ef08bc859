"""The manifest beside an engine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.trt import networks as nets
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Profile
from trtdsl.options import CompileOptions
from trtdsl.output import write_atomically
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower
from trtdsl.trt.manifest import (
    Binding,
    LayerEntry,
    Manifest,
    hash_of,
    load_manifest,
    make_manifest,
    manifest_path,
)
from trtdsl.types import symbol

N = symbol("N", 1, 4, 16)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    graph = nets.dynamic(nets.conv_relu(shape=(N, 3, 8, 8)), Profile("one", {"N": (1, 1, 1)}))
    lowered = lower(graph)
    options = CompileOptions(targets=("sm89",))
    return make_manifest(lowered, build(lowered, options), options, passes=("fold_constants",))


def test_what_a_manifest_says(manifest: Manifest) -> None:
    assert (manifest.model, manifest.targets, manifest.passes) == ("cnn", ("sm89",), ("fold_constants",))
    assert manifest.inputs == (Binding("data", "float32", ("N", 3, 8, 8)),)
    assert manifest.outputs == (Binding("logits", "float32", ("N", 8, 8, 8)),)
    assert manifest.layers[0] == LayerEntry("conv1", "Conv", "conv1", "cnn.trtnet:1:13")
    default, one = manifest.profiles
    assert default.dims == {"N": (1, 4, 16)}
    assert default.inputs == {"data": ((1, 3, 8, 8), (4, 3, 8, 8), (16, 3, 8, 8))}
    assert one.inputs["data"][2] == (1, 3, 8, 8)
    assert [(entry.key, entry.shape) for entry in manifest.weights] == [
        ("conv1.weight", (8, 3, 3, 3)),
        ("conv1.bias", (8,)),
    ]
    assert manifest.runtime == "tensorrt_rtx"
    assert (manifest.precision, manifest.tf32) == ("float32", True)


PRECISIONS = {
    "float32": ("float32", "x + x"),
    "float16 inside": ("float16", "to(to(x, float16) + 1.0, float32)"),
    "both": ("bfloat16", "to(to(x, float16) * 2.0, float32) + to(to(x, bfloat16) * 2.0, float32)"),
    "casts at the edges": ("float32", "to(type_as(to(x, float16), x) + x, bfloat16)"),
    "nothing but casts": ("bfloat16", "to(x, bfloat16)"),
    "integers only": ("float32", "argmax(x, 0)"),
}


@pytest.mark.parametrize(("coarsest", "computed"), PRECISIONS.values(), ids=PRECISIONS.keys())
def test_the_coarsest_type_that_is_computed_in(coarsest: str, computed: str) -> None:
    graph = elaborate_text(f"model m() {{\n  input x: float32[4]\n  output y = {computed}\n}}\n", "m.trtnet")
    assert make_manifest(lower(graph), b"").precision == coarsest


@pytest.mark.parametrize(("given", "recorded"), [(None, True), (True, True), (False, False)])
def test_tf32_is_used_unless_it_is_forbidden(given: bool | None, recorded: bool) -> None:
    lowered = lower(nets.conv_relu())
    assert make_manifest(lowered, b"", CompileOptions(tf32=given)).tf32 is recorded
    config = lowered.builder.create_builder_config()
    lowered.dialect.configure(config, float16=False, tf32=given)
    assert config.get_flag(lowered.dialect.trt.BuilderFlag.TF32) is recorded


def test_arithmetic_is_the_precision_and_what_products_round_to(manifest: Manifest) -> None:
    assert manifest.arithmetic == "float32 with TF32"
    assert dataclasses.replace(manifest, tf32=False).arithmetic == "float32"
    # TF32 rounds operands to as many bits as float16 has.
    assert dataclasses.replace(manifest, precision="float16").arithmetic == "float16"


def test_the_hashes_are_those_of_the_bytes() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert hash_of(array) == hashlib.sha256(array.tobytes()).hexdigest()
    assert hash_of(array.T) == hashlib.sha256(array.T.tobytes()).hexdigest()
    assert hash_of(np.float32(1).reshape(())) == hashlib.sha256(np.float32(1).tobytes()).hexdigest()
    narrow = array.astype(ml_dtypes.bfloat16)
    assert hash_of(narrow) == hashlib.sha256(narrow.tobytes()).hexdigest()


def test_a_manifest_reads_back(manifest: Manifest, tmp_path: Path) -> None:
    engine = tmp_path / "cnn.engine"
    write_atomically(manifest_path(engine), manifest.to_json().encode())
    assert manifest_path(engine).name == "cnn.engine.json"
    assert load_manifest(engine) == manifest


def test_the_ranges_of_inputs_read_back(tmp_path: Path) -> None:
    inputs = "input ids: int64[4] in 0 .. 9\n  input x: float32[4] in -1 .. 1e20\n  input free: float32[4]"
    graph = elaborate_text(f"model m() {{\n  {inputs}\n  output y = x + ids + free\n}}\n", "m.trtnet")
    manifest = make_manifest(lower(graph), b"engine")
    assert [binding.range for binding in manifest.inputs] == [(0, 9), (-1.0, 1e20), None]
    fields = json.loads(manifest.to_json())
    assert [each.get("range", "none") for each in fields["inputs"]] == [[0, 9], [-1.0, 1e20], "none"]
    assert [*fields["outputs"][0]] == ["name", "dtype", "shape"]
    engine = tmp_path / "m.engine"
    manifest_path(engine).write_text(manifest.to_json())
    assert load_manifest(engine) == manifest


def test_the_text_is_deterministic_and_plain_json(manifest: Manifest) -> None:
    assert manifest.to_json() == manifest.to_json()
    assert json.loads(manifest.to_json())["inputs"][0]["shape"] == ["N", 3, 8, 8]
    assert "/" not in json.loads(manifest.to_json())["layers"][0]["source"]


def test_hashing_is_cheap() -> None:
    array = np.zeros(25_000_000, np.float32)
    start = time.process_time()
    hash_of(array)
    # 0.06 s on one core of a 2021 server; ten times that still is little beside a build.
    assert time.process_time() - start < 0.6


def broken(change: Any) -> str:
    graph = nets.conv_relu(shape=(N, 3, 8, 8))
    fields = json.loads(make_manifest(lower(graph), b"engine").to_json())
    change(fields)
    return json.dumps(fields)


BROKEN = {
    "not JSON": ("{", "is not a manifest: it is not valid JSON from line 1, column 2 on"),
    "nested too deeply": ('{"a":' * 100_000, "is not a manifest: its JSON is nested too deeply"),
    "no object": ("[]", "it is not a JSON object"),
    "other format": (broken(lambda f: f.update(format=99)), "its format is 99, this release reads 4"),
    "no engine hash": (broken(lambda f: f.pop("sha256")), "`sha256` is missing"),
    "precision": (
        broken(lambda f: f.update(precision="int8")),
        "one of float32, float16, bfloat16 is expected, not 'int8'",
    ),
    "tf32": (broken(lambda f: f.update(tf32=1)), "true or false is expected, not 1"),
    "no precision": (broken(lambda f: f.pop("precision")), "`precision` is missing"),
    "size": (broken(lambda f: f.update(size="1")), "an integer is expected, not '1'"),
    "input": (
        broken(lambda f: f["inputs"][0].update(shape=[1.5])),
        "an integer is expected, not 1.5",
    ),
    "range of one end": (
        broken(lambda f: f["inputs"][0].update(range=[0.0])),
        "the lowest and the highest value are expected, not [0.0]",
    ),
    "empty range": (
        broken(lambda f: f["inputs"][0].update(range=[1.0, 0.0])),
        "the lowest and the highest value are expected, not [1.0, 0.0]",
    ),
    "range of another type": (
        broken(lambda f: f["inputs"][0].update(range=[0, 1.0])),
        "a float is expected, not 0",
    ),
    "layer": (broken(lambda f: f["layers"][0].pop("scope")), "`scope` is missing"),
    "layers": (broken(lambda f: f.update(layers={})), "a list is expected, not {}"),
    "profile": (
        broken(lambda f: f["profiles"][0].update(dims={"N": [1, 2]})),
        "min, opt and max are expected, not [1, 2]",
    ),
    "profiles": (broken(lambda f: f.update(profiles=[1])), "is not a manifest"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_manifest(text: str, said: str, tmp_path: Path) -> None:
    engine = tmp_path / "cnn.engine"
    manifest_path(engine).write_text(text)
    with pytest.raises(DiagnosticError) as error:
        load_manifest(engine)
    assert said in str(error.value)
    assert "compile the model again" in str(error.value)


def test_no_manifest(tmp_path: Path) -> None:
    said = r"has no manifest: cannot read `.*cnn.engine.json`: no such file"
    with pytest.raises(DiagnosticError, match=said):
        load_manifest(tmp_path / "cnn.engine")


def test_the_page_has_every_field() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "manifest.md").read_text(encoding="utf-8")
    listed = {
        name
        for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert listed == {field.name for field in dataclasses.fields(Manifest)}
