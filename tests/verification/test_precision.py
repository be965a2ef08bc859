"""`verify --precision`: the model as it is lowered, computed as TensorRT rounds it, beside the original."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trtdsl
from tests.command import trtdsl as command
from tests.verification.networks import TEXT, Net, graph_of, state
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.precision.lower_floats import lower_floats
from trtdsl.recipe import Recipe
from trtdsl.reference import random_weights
from trtdsl.types import DType
from trtdsl.verification import lowered, show_verification
from trtdsl.verification.roundings import LOSSES, allowed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, image=np.random.default_rng(0).normal(0, 1, (16, 3, 16, 16)).astype("f4"))
    return path


def recipe(precision: str, data: Path, **words: Any) -> Recipe:
    narrow: dict[str, Any] = {}
    if precision in ("int8", "float8"):
        narrow = {"calibrate": data, "allow": {precision: ["*"]}}
    return Recipe(precision=precision, **{**narrow, **words})


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8", "float8"])
@pytest.mark.parametrize("against", ["the module", "itself"])
def test_a_right_model_is_equal_within_its_roundings(
    precision: str, against: str, net: Net, data: Path
) -> None:
    chosen = recipe(precision, data)
    if against == "itself":
        found = trtdsl.verify(graph_of(TEXT), state(net), recipe=chosen)
    else:
        found = trtdsl.verify(graph_of(TEXT), None, net, recipe=chosen)
    assert found.equal, show_verification(found)
    (output,) = found.outputs
    assert output.measure is not None and output.tolerance is not None
    # The roundings are there, and no more is allowed than they cost.
    assert 1e-5 < output.measure.relative <= output.tolerance < 0.3
    assert any(note.startswith("of the layers `") for note in found.notes)
    assert f"net in {chosen.precision} against" in show_verification(found)


def test_dimensions_of_one_size_are_named() -> None:
    text = """model m {
      dim N = 2 .. 2 .. 2
      dim S = 1 .. 4 .. 8
      input x: float32[N, S, 8]
      output y = x -> fc: Linear(8)
    }"""
    found = trtdsl.verify(random_weights(elaborate_text(text)), recipe=Recipe(precision="float16"))
    assert found.equal and found.sizes == {"N": 2, "S": 4}


LAYERS = "".join(f" -> fc{i}: Linear(64) -> relu" for i in range(12))
DEEP = f"model m {{ dim N = 1 .. 4 .. 8  input x: float32[N, 64]  output y = x{LAYERS} }}"


@pytest.mark.parametrize(("precision", "factor"), [("int4", 1.3), ("nvfp4", 2.0)])
def test_what_four_bits_cost_is_told_and_the_network_held_to_it(
    precision: str, factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve layers, of which each loses a tenth: by rules nothing would be told from zeros."""
    graph, random = elaborate_text(DEEP), np.random.default_rng(7)
    weights: dict[str, Any] = {}
    for weight in graph.weights:
        shape: Any = weight.type.shape
        weights[weight.key] = random.normal(0, 0.17 if len(shape) == 2 else 0.01, shape).astype("f4")
    np.savez(tmp_path / "d.npz", x=random.normal(0, 1, (16, 64)).astype("f4"))
    chosen = Recipe(precision=precision, calibrate=tmp_path / "d.npz")
    found = trtdsl.verify(graph, weights, recipe=chosen)
    assert found.equal, show_verification(found)
    (output,) = found.outputs
    assert output.measure and output.tolerance and 0.1 < output.measure.relative < output.tolerance < 1
    (note,) = [note for note in found.notes if "computed exactly" in note]
    here, there = "is off on these inputs: `y` (.*)", "on the data of `--calibrate` (.*)"
    told = re.fullmatch(f"{precision} alone, computed exactly, {here}; {there}", note)
    assert told and all(0.1 < float(size) < 0.6 for size in told.groups())
    if precision == "int4":
        # The network's roundings are those of float16, beside what the graph has lost.
        assert output.tolerance == pytest.approx(float(told[1]), rel=0.05)
        plain = trtdsl.verify(graph, weights, precision="int4")
        assert plain.equal and any("`compile --calibrate` measures" in note for note in plain.notes)
    # A network that computes something else differs, though not by much more than four bits cost.
    real = lowered.compute

    def wrong(graph: Any, setting: Any, rounded: bool = False) -> Any:
        done = real(graph, setting, rounded)
        return dataclasses.replace(done, outputs={n: factor * a for n, a in done.outputs.items()})

    monkeypatch.setattr(lowered, "compute", wrong)
    assert not trtdsl.verify(graph, weights, recipe=chosen).equal


def test_an_input_that_is_an_output_is_rounded_at_the_edges() -> None:
    text = "model m {\n  input x: float32[2, 16]\n  output same = x\n  output y = relu(x)\n}"
    found = trtdsl.verify(elaborate_text(text), recipe=Recipe(precision="float16", edges="float16"))
    assert found.equal, show_verification(found)
    assert all(output.measure and output.measure.relative > 1e-5 for output in found.outputs)


def test_layers_of_int8_are_compared_where_equalisation_left_them(net: Net, data: Path) -> None:
    scaled = trtdsl.verify(graph_of(TEXT), None, net, recipe=recipe("int8", data))
    assert any("equalisation scales their channels" in note for note in scaled.notes)
    plain = trtdsl.verify(graph_of(TEXT), None, net, recipe=recipe("int8", data, equalise=0.0))
    assert len(plain.rows) > len(scaled.rows)
    assert {"conv1+bn1", "conv2", "fc1"} <= {row.label for row in plain.rows}


def test_a_wrong_range_is_found_at_its_layer(net: Net, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    text = tmp_path / "net.trtnet"
    text.write_text(TEXT)
    np.savez(tmp_path / "w.npz", **state(net))
    graph = graph_of(TEXT)
    from trtdsl.passes import optimize
    from trtdsl.precision.calibrate import calibrate
    from trtdsl.precision.ranges import ranges_of
    from trtdsl.weights import bind

    observed = calibrate(optimize(bind(graph, state(net)).graph), dict(np.load(data)))
    found = json.loads(ranges_of(observed, "net", "max", 16).text())
    found["layers"]["conv4"]["input"] /= 20
    path.write_text(json.dumps(found))
    chosen = Recipe(precision="int8", scales=path, allow={"int8": ["*"]}, equalise=0.0)
    result = trtdsl.verify(graph, None, net, recipe=chosen)
    assert result.difference is not None
    assert result.difference.message.startswith("layer `conv4` differs by ")
    assert "may be lost to int8 there" in result.difference.message
    assert [suspect.label for suspect in result.difference.suspects] == ["conv4"]


ROUNDED = """
model m {{
  input x: float32[64, 16]
  h = x -> fc: Linear(16)
  output y = to({}, int32)
}}
"""


def test_integers_that_are_rounded_from_what_is_right_are_counted() -> None:
    graph = random_weights(elaborate_text(ROUNDED.format("round(h * 30)")), 1)
    found = trtdsl.verify(graph, recipe=Recipe(precision="bfloat16"))
    assert found.equal, show_verification(found)
    (output,) = found.outputs
    assert output.verdict == "rounded"
    assert re.fullmatch(r"\d+ of 1024 integers differ, by 1 at most", output.why)
    assert f"output `y`: {output.why}" in found.notes
    # What is right to the last integer says nothing.
    (exact,) = trtdsl.verify(
        elaborate_text("model m {\n  input x: float32[64]\n  output y = to(x > 0, int32)\n}"),
        recipe=Recipe(precision="bfloat16"),
    ).outputs
    assert exact.verdict == "equal"


def test_integers_that_are_further_off_differ() -> None:
    graph = random_weights(elaborate_text(ROUNDED.format("round(h * 30) * 50")), 1)
    found = trtdsl.verify(graph, recipe=Recipe(precision="bfloat16"))
    assert not found.equal and found.outputs[0].verdict == "differs"


def test_a_model_that_is_wrong_in_any_type_is_told_as_such(net: Net) -> None:
    found = trtdsl.verify(graph_of(TEXT.replace("x + y", "x - y")), None, net, precision="float16")
    assert found.difference is not None
    assert [suspect.operator for suspect in found.difference.suspects] == ["sub"]


def test_what_overflows_is_named_with_what_helps(net: Net, data: Path) -> None:
    weights = {**state(net), "conv4.weight": state(net)["conv4.weight"] * np.float32(1e6)}
    found = trtdsl.verify(graph_of(TEXT), weights, precision="float16")
    assert found.difference is not None
    assert found.difference.message.startswith("layer `norm` differs by inf: NaN or infinity on one side")
    assert found.difference.message.endswith("what overflows stays float32")
    helped = trtdsl.verify(graph_of(TEXT), weights, recipe=recipe("float16", data, calibrate=data))
    assert helped.equal
    assert any("`conv4` (Conv2d) stayed float32, because" in note for note in helped.notes)
    assert trtdsl.verify(graph_of(TEXT), weights, precision="bfloat16").equal


def test_what_may_be_lost_follows_from_the_roundings() -> None:
    text = """model m {
      input x: float32[2, 8]
      h = x
      for i in range(COUNT) {
        h = relu(h * 2)
      }
      output y = h -> fc: Linear(8)
    }"""

    def of(count: int, dtype: DType) -> float:
        graph = trtdsl.reference.random_weights(elaborate_text(text.replace("COUNT", str(count))), seed=0)
        graph = lower_floats(graph, dtype).graph
        return allowed(graph)[graph.outputs[0].value]

    # The cast, the products and their numbers 2, relu, the weights, and the layer itself.
    assert of(0, DType.FLOAT16) == pytest.approx(3**0.5 * LOSSES[DType.FLOAT16])
    assert of(6, DType.FLOAT16) == pytest.approx(15**0.5 * LOSSES[DType.FLOAT16])
    assert of(6, DType.BFLOAT16) == pytest.approx(8 * of(6, DType.FLOAT16))


def test_the_largest_error_of_a_rounding_is_what_is_said() -> None:
    numbers = np.random.default_rng(0).uniform(1, 2, 100_000).astype("f4")
    for dtype in (DType.FLOAT16, DType.BFLOAT16, DType.FLOAT8):
        error = np.abs(numbers.astype(dtype.numpy).astype("f4") - numbers) / numbers
        assert 0.9 * LOSSES[dtype] < error.max() <= LOSSES[dtype]
    normal = np.random.default_rng(0).normal(0, 1, 100_000)
    step = 4.5 / 127
    error = np.clip(np.rint(normal / step), -127, 127) * step - normal
    assert np.linalg.norm(error) / np.linalg.norm(normal) == pytest.approx(
        LOSSES[DType.INT8] * 0.42, rel=0.03
    )


def test_an_engine_has_a_precision_already(net: Net) -> None:
    with pytest.raises(UsageError, match="an engine has the precision that it was built with"):
        trtdsl.verify(graph_of(TEXT), None, net, engine="m.engine", precision="float16")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.trtnet"
    path.write_text("model m {\n  input x: float32[2, 128]\n  output y = x -> tanh -> softmax(1)\n}\n")
    assert command("verify", path, "--precision", "float16") == 0
    out = capsys.readouterr().out
    assert "m in float16 against itself in float32" in out
    assert "note: `softmax` stayed float32" in out
    assert command("verify", path) == 2
    assert "one of `--against`" in capsys.readouterr().err
    assert command("verify", path, "--precision", "int8") == 2
    assert "needs the ranges" in capsys.readouterr().err
    assert command("verify", path, "--precision", "float16", "--keep", "float32=tanh", "--json") == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "float16"
