"""A script defines the network that it was written from, and TensorRT builds the same engine of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.closeness import expected, require_close
from tests.command import trtdsl
from tests.exporters.models import EXAMPLES, MODELS, alive, defined, model, of_one_batch
from tests.trt.releases import narrowed
from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.evaluate.readback import layer_classes, tensorrt_module
from trtdsl.exporters.script import Exported, export_graph
from trtdsl.ir import Graph
from trtdsl.options import CompileOptions
from trtdsl.passes import optimize
from trtdsl.recipe import Recipe
from trtdsl.reference import random_inputs, random_weights
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower


def signature(network: Any) -> list[Any]:
    """All that TensorRT's API tells of a network, weights included."""
    classes = layer_classes(tensorrt_module(network))
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    found: list[Any] = [(each.name, each.dtype.name, list(_dimensions(each))) for each in tensors]
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        layer.__class__ = classes.get(layer.type.name, type(layer))
        inputs = [layer.get_input(i) for i in range(layer.num_inputs)]
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        names = [each and each.name for each in inputs]
        types = [(each.name, each.dtype.name, tuple(each.shape)) for each in outputs if each]
        found.append((layer.type.name, names, types, dict(_attributes(layer))))
    return [*found, [network.get_output(i).name for i in range(network.num_outputs)]]


def _dimensions(tensor: Any) -> Iterator[tuple[int, str]]:
    for axis, size in enumerate(tensor.shape):
        yield size, tensor.get_dimension_name(axis)


def _attributes(layer: Any) -> Iterator[tuple[str, Any]]:
    for name in dir(layer):
        if name.startswith("_") or name == "block_shape":
            # TensorRT raises where there are no blocks.
            continue
        value: Any = getattr(layer, name, None)
        if callable(value):
            continue
        if isinstance(value, np.ndarray):
            yield name, value.tobytes()
        elif type(value).__name__ == "ITensor" or name in ("loop", "conditional"):
            yield name, value.name
        elif name == "attention":
            yield name, dict(_attributes(value))
        else:
            yield name, str(value)


def narrow_inputs(graph: Graph) -> tuple[dict[str, Any], dict[str, Any]]:
    """Random inputs, and as a release takes them whose integers are of 32 bits."""
    inputs = random_inputs(graph, "opt")
    if "padding" in inputs:
        inputs["padding"] = np.array([[False] * 6, [False] * 4 + [True] * 2])
    return inputs, narrowed(inputs)


def require_right(graph: Graph, network: Any, *, narrow: bool, limit: float = 1e-5) -> None:
    inputs, given = narrow_inputs(graph)
    found = evaluate(network, given if narrow else inputs)
    for name, wanted in expected(graph, inputs).items():
        require_close(found[name], wanted.in_32_bits if narrow else wanted, limit)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("release", ["8.5", "10.3"])
def test_the_script_defines_the_network(name: str, release: str) -> None:
    graph = model(name)
    exported = export_graph(graph, release=release)
    ast.parse(exported.text, feature_version=(3, 6))
    network = defined(script := alive(exported))
    assert signature(network) == signature(exported.dialect.network)
    require_right(graph, network, narrow=release == "8.5")
    assert script.layers.keys() <= exported.lowered.nodes.keys() | {*_prepared(script.layers)}


def _prepared(layers: Any) -> Iterator[str]:
    """Layers of no node: weights, and what is made of shapes."""
    yield from (name for name, layer in layers.items() if layer.type.name in ("CONSTANT", "CAST", "IDENTITY"))


@pytest.mark.parametrize("name", MODELS)
def test_for_the_newest_release_it_is_the_network_of_compile(name: str) -> None:
    graph = model(name)
    network = defined(script := alive(export_graph(graph, release="11.4")))
    assert signature(network) == signature(lower(optimize(graph), "tensorrt_rtx").network)
    assert script.NEEDS == {"tensorrt": (11, 4), "tensorrt_rtx": (1, 7)}


def test_a_constant_that_a_layer_has_as_its_property_stands_before_it() -> None:
    graph = elaborate_text(
        """model m {
          input q: float32[3, 8]
          input k: float32[2, 8]
          output y = scaled_dot_product_attention(q, k, k, tensor([[0.5, -1.0]]))
        }"""
    )
    exported = export_graph(graph, release="11.4")
    network = defined(alive(exported))
    assert signature(network) == signature(exported.dialect.network)
    require_right(graph, network, narrow=False)


@pytest.mark.parametrize("name", ["cnn", "encoder", "lstm"])
def test_float16_is_pinned(name: str) -> None:
    graph = model(name)
    exported = export_graph(graph, CompileOptions(precision="float16"))
    assert "HALF" in exported.text
    network = defined(script := alive(exported))
    assert script.USES_FLOAT16
    assert signature(network) == signature(exported.dialect.network)
    require_right(graph, network, narrow=True, limit=5e-3)


@pytest.mark.parametrize(("release", "around"), [("8.5", "float32"), ("10.3", "float16")])
def test_int8_has_quantised_tensors(release: str, around: str, tmp_path: Path) -> None:
    graph = model("cnn")
    inputs, _ = narrow_inputs(graph)
    np.savez(tmp_path / "data.npz", **inputs)
    recipe = Recipe(precision="int8", calibrate=str(tmp_path / "data.npz"))
    exported = export_graph(graph, CompileOptions(recipe=recipe), release=release)
    assert "quantize(" in exported.text.partition("def define")[2]
    assert ("trt.DataType.HALF" in exported.text) == (around == "float16")
    network = defined(script := alive(exported))
    assert (script.USES_INT8, script.USES_FLOAT16) == (True, True)
    assert signature(network) == signature(exported.dialect.network)
    require_right(graph, network, narrow=release == "8.5", limit=5e-2)


@pytest.mark.parametrize("name", ["resnet18", "encoder"])
def test_layers_that_tensorrt_8_is_to_order_stay_what_they_are(name: str) -> None:
    script = alive(export_graph(model(name)))
    network = defined(script)
    before = signature(network)
    script.reorder()
    assert signature(network) == before


def run_script(folder: Path, exported: Exported, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "build.py").write_text(exported.text)
    (folder / "build.npz").write_bytes(exported.archive())
    command = [sys.executable, "build.py", "-o", "x.engine", "--runtime", "tensorrt_rtx", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "graph_of"), [("cnn", model), ("resnet18", of_one_batch), ("mobilenet_v2", of_one_batch)]
)
def test_another_process_builds_the_same_engine(
    name: str, graph_of: Callable[[str], Graph], tmp_path: Path
) -> None:
    """Byte for byte, what `compile` builds here, where TensorRT-RTX builds reproducibly: plain chains, and
    others of fixed sizes."""
    graph = graph_of(name)
    result = run_script(tmp_path, export_graph(graph))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("wrote x.engine: ")
    assert (tmp_path / "x.engine").read_bytes() == bytes(build(lower(optimize(graph), "tensorrt_rtx")))


@pytest.mark.parametrize("name", ["encoder", "choice", "lstm", "scan"])
def test_another_process_builds_an_engine(name: str, tmp_path: Path) -> None:
    result = run_script(tmp_path, export_graph(model(name)), "--no-tf32", "--workspace", "512")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "x.engine").stat().st_size > 1000


# Numbers, names and what stands in comments


EDGES = """
model edges() {
  input x: float32[2, 3]
  input layer: float32[2, 3]
  input trt: bool[2, 3]
  input ids: int64[2]
  a = where(trt, full((2, 3), -inf), x + layer)
  output y = a * 0.1 + tensor([[1.5, -2.5e-7, 3.0]])
  output n = ids * 3 + 2
  output b = isnan(x)
  output u = to(clamp(x, 0.0, 1.0) * 255.0, uint8)
}
"""


def test_numbers_and_names_come_through() -> None:
    graph = elaborate_text(EDGES)
    network = defined(alive(export_graph(graph)))
    inputs, given = narrow_inputs(graph)
    found = evaluate(network, given)
    for name, wanted in expected(graph, inputs).items():
        require_close(found[name], wanted.in_32_bits, 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_narrow_types(dtype: str) -> None:
    text = f"model m() {{ input x: {dtype}[2, 32]  output y = x -> fc: Linear(16) }}"
    graph = random_weights(elaborate_text(text))
    if dtype == "bfloat16":
        refused = (
            r"TensorRT 8\.5 does not support bfloat16, the type of the input `x`[^`]*.*`--edges float16`"
        )
        with pytest.raises(DiagnosticError, match=refused):
            export_graph(graph)
    exported = export_graph(graph, release="10.0")
    assert ('bits("' in exported.text) == (dtype == "bfloat16")
    network = defined(alive(exported))
    (wanted,) = expected(graph, inputs := random_inputs(graph)).values()
    found = evaluate(network, inputs, weights=exported.lowered.weights)["y"]
    require_close(found, wanted)
    assert found.dtype == getattr(torch, dtype)


NAMED = """
model m {
  input x: float32[3, 3, 3, 3]
  y = x -> fc: Conv2d(3, 3, padding = 1)
  output z = y * (fc.kernel: Parameter(3, 3, 3, 3))
  output a = x + (file: Parameter(3, 3, 3, 3))
  output b = x + (fingerprint: Parameter(3, 3, 3, 3))
}
"""


def test_weights_whose_keys_are_those_of_others(tmp_path: Path) -> None:
    """Another layer's, `numpy.savez`'s or that of what is stored beside them."""
    graph = random_weights(elaborate_text(NAMED))
    exported = export_graph(graph)
    (tmp_path / "x.npz").write_bytes(exported.archive())
    script = alive(exported)
    script.load_weights(tmp_path / "x.npz")
    require_right(graph, defined(script), narrow=True)


QUANTISED = """
model m {
  input x: float16[2, 8, 6, 6]
  w = fc.weight: Parameter((8, 8, 3, 3), dtype = int8)
  s = fc.input_scale: Parameter(8, dtype = float16)
  y = x -> quantize(s, axis = 1) -> dequantize(s, axis = 1)
  scales = fc.weight_scale: Parameter(8, dtype = float16)
  output z = y -> fc: Conv2d(8, 3)(weight = dequantize(w, scales, axis = 0))
}
"""


def test_scales_of_float16_are_constants_for_a_release_that_has_them_in_float32() -> None:
    graph = random_weights(elaborate_text(QUANTISED))
    exported = export_graph(graph)
    assert "quantize_constant, axis=1" in exported.text and "_constant, FLOAT)" not in exported.text
    require_right(graph, defined(alive(exported)), narrow=True, limit=5e-3)


PLUGIN = """
model m() {
  input x: float32[2, 3]
  output y = plugin("Twice", outputs = [(float32, [2, 3])]REFERENCE)(x)
}
"""


def test_a_plugin_is_refused_or_computed_by_its_reference() -> None:
    with pytest.raises(DiagnosticError, match="a script places no plugins, such as `Twice`"):
        export_graph(elaborate_text(PLUGIN.replace("REFERENCE", "")))
    graph = elaborate_text(PLUGIN.replace("REFERENCE", ", reference = relu"))
    require_right(graph, defined(alive(export_graph(graph))), narrow=True)


def test_a_comment_is_the_line_of_the_text() -> None:
    exported = export_graph(model("choice"))
    assert "# <text>:11: output z = cond(flag, refine: Refine(), neg, (y,))" in exported.text
    assert 'at("refine.second <text>:3:15")' in exported.text


def test_no_name_or_comment_ends_a_line_of_the_script() -> None:
    """A form feed, a paragraph separator, quotes and escapes, which a file's name may hold as well."""
    text = "model m {\n  input x: float32[2]\n  output y = relu(x)  # a\x0cb\u2029c\n}\n"
    exported = export_graph(elaborate_text(text), script='a\\N{b} """c.py', source='d\n"""e.trtnet')
    told = ast.get_docstring(ast.parse(exported.text, feature_version=(3, 6)))
    assert told and 'python3 \'a\\N{b} """c.py\' --help' in told and 'from d """e.trtnet.' in told
    assert "output y = relu(x)  # a b c\n" in exported.text


# The command


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    data = {weight.key: torch.as_tensor(weight.data) for weight in model("cnn").weights}
    torch.save(data, tmp_path / "cnn.pth")
    return tmp_path / "cnn.pth"


def test_command(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert trtdsl("export", "--to", "tensorrt", EXAMPLES / "cnn" / "cnn.trtnet", checkpoint) == 0
    assert capsys.readouterr().out.startswith("wrote build_cnn.py: ")
    command = [sys.executable, "build_cnn.py", "--runtime", "tensorrt_rtx"]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "cnn.engine").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "onnx"), "`--to onnx`: choose one of tensorrt"),
        (("--to", "tensorrt", "--for", "8.4"), "`8.4` is not a release of TensorRT"),
        (("--to", "tensorrt", "--for", "new"), "`new` is not a release of TensorRT"),
        (("--to", "tensorrt", "-o", "build_cnn"), "a script's name ends in `.py`"),
        (("--to", "tensorrt", "-o", "no/build.py"), "the folder `no` does not exist"),
    ],
)
def test_what_cannot_be_written_is_refused(
    arguments: tuple[str, ...],
    message: str,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert trtdsl("export", *arguments, EXAMPLES / "cnn" / "cnn.trtnet", checkpoint) == 2
    assert message in capsys.readouterr().err
    assert not [*tmp_path.glob("*.npz")]


def test_the_weights_it_is_made_from_are_kept(tmp_path: Path) -> None:
    np.savez(tmp_path / "cnn.npz", x=np.zeros(1))
    path = EXAMPLES / "cnn" / "cnn.trtnet"
    script = tmp_path / "cnn.py"
    assert trtdsl("export", "--to", "tensorrt", path, tmp_path / "cnn.npz", "-o", script) == 2
    assert not script.exists()


def test_a_release_is_the_newest_known_one_that_it_has_all_of() -> None:
    for given, known in (("10.11", "10.9"), ("10", "10.0"), ("10.3.1", "10.3")):
        assert export_graph(model("choice"), release=given).dialect.release == f"TensorRT {known}"
    with pytest.raises(UsageError):
        export_graph(model("choice"), release="8")


def test_weights_of_another_script_are_refused(tmp_path: Path) -> None:
    exported, other = export_graph(model("choice")), export_graph(model("cnn"))
    (tmp_path / "other.npz").write_bytes(other.archive())
    script = alive(exported)
    with pytest.raises(SystemExit, match="was not written with this script"):
        script.load_weights(tmp_path / "other.npz")
    (tmp_path / "own.npz").write_bytes(exported.archive())
    script.load_weights(tmp_path / "own.npz")


def test_an_older_tensorrt_is_refused() -> None:
    script = alive(export_graph(model("choice")))
    script.load_tensorrt("tensorrt_rtx")
    script.NEEDS = {"tensorrt_rtx": (99, 1)}
    with pytest.raises(SystemExit, match=r"needs tensorrt_rtx 99\.1 or later, but 1\."):
        script.load_tensorrt("tensorrt_rtx")


def test_what_tensorrt_does_not_take_is_told() -> None:
    script = alive(export_graph(model("choice")))
    defined(script)
    x = script.net.get_input(0)
    made = script.net.add_topk(x, script.trt.TopKOperation.MAX, 1, 2)
    with pytest.raises(SystemExit, match="TensorRT does not accept k = 100000 of the layer best"):
        script.layer("best", made, k=100000)
    with pytest.raises(SystemExit, match="TensorRT refuses the layer best"):
        script.layer("best", None)
