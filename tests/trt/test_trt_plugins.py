"""Plugins: found in the registry, made of the fields of a text, and held against what the text says of them.

The registry, the fields and the creators' classes are tensorrt_rtx's own. Its network has no layer for a
plugin; in its place the recording network has the first input as it is.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorrt_rtx
import torch

from tests.command import trtdsl
from tests.trt.recording import RecordingDialect
from tests.trt.releases import facts
from tests.trt.test_trt_signatures import problems
from trtdsl.compile import compile_graph
from trtdsl.diagnostics import Diagnostic, DiagnosticError, RefusedByTensorRT, UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, difference, show, verify
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision, optimize
from trtdsl.runtime.fitting import require_plugins
from trtdsl.runtime.inspect import show_manifest
from trtdsl.trt.dialect import load_runtime
from trtdsl.trt.lower import LoweredNetwork, lower, lower_into
from trtdsl.trt.manifest import Manifest, PluginEntry, load_manifest, make_manifest
from trtdsl.trt.releases import RELEASES, release_facts
from trtdsl.trt.sketch import SketchNetwork
from trtdsl.types import DType
from trtdsl.verification import Verification
from trtdsl.verification import verify as run_verify

trt: Any = tensorrt_rtx


class Same(trt.IPluginV3, trt.IPluginV3OneCore):
    """A plugin that is never run."""

    def __init__(self) -> None:
        trt.IPluginV3.__init__(self)
        trt.IPluginV3OneCore.__init__(self)
        self.plugin_name, self.plugin_version, self.plugin_namespace = "Same", "1", ""

    def get_capability_interface(self, type: Any) -> Any:
        return self


class Creator(trt.IPluginCreatorV3One):
    """What makes it; ``given`` are the fields of the last one, as TensorRT passed them on."""

    def __init__(self, name: str, version: str, namespace: str, declared: dict[str, str]) -> None:
        super().__init__()
        self.name, self.plugin_version, self.plugin_namespace = name, version, namespace
        self._declared = [
            trt.PluginField(field, np.zeros(1, np.int32), getattr(trt.PluginFieldType, type))
            for field, type in declared.items()
        ]
        self.field_names = trt.PluginFieldCollection(self._declared)
        self.given: dict[str, tuple[str, Any]] = {}
        self.peek = False

    def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
        assert phase == trt.TensorRTPhase.BUILD
        self.given = {field.name: (field.type.name, _data(field, self.peek)) for field in fields}
        return None if "broken" in self.given else Same()


def _data(field: Any, peek: bool) -> Any:
    """What a field points to; of halves only how many there are, unless TensorRT takes them for integers."""
    if peek:
        field.type = trt.PluginFieldType.INT16
    if field.type.name in ("FLOAT16", "BF16", "FP8"):
        return field.size
    return bytes(field.data).decode() if field.type.name == "CHAR" else field.data.tolist()


DECLARED = {"factor": "FLOAT32", "count": "INT32", "wide": "INT64", "small": "INT8", "mode": "CHAR"}
CREATORS = (
    Creator("SameAsIs", "1", "", DECLARED),
    Creator("SameAsIs", "2", "", DECLARED),
    Creator("SameAsIs", "1", "mine", DECLARED),
    Creator("Undeclared", "1", "", {}),
)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    registry = trt.get_plugin_registry()
    for creator in CREATORS:
        registry.register_creator(creator, creator.plugin_namespace)
    yield
    for creator in CREATORS:
        registry.deregister_creator(creator)


def graph_of(configured: str, output: str = "output y = f") -> Graph:
    return elaborate_text(
        f"model m {{\n  dim N = 1 .. 2 .. 4\n  input x: float32[N, 8]\n  f = plugin({configured})(x)\n"
        f"  {output}\n}}\n"
    )


def placed(configured: str, release: str = "11.4") -> LoweredNetwork:
    return lower(graph_of(configured), RecordingDialect(facts(release)))


def refusal(configured: str, release: str = "11.4") -> Diagnostic:
    with pytest.raises(DiagnosticError) as error:
        placed(configured, release)
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.span is not None and diagnostic.span.text.startswith("plugin(")
    return diagnostic


def fields_of(fields: str, name: str = "Undeclared") -> dict[str, tuple[str, Any]]:
    """What the creator is given for these fields."""
    placed(f'"{name}", outputs = [(float32, [N, 8])], {fields}')
    return next(creator for creator in CREATORS if creator.name == name).given


OUTPUT = "outputs = [(float32, [N, 8])]"


@pytest.mark.parametrize(("operands", "pinned"), [("x", True), ("(x, to(x, int32))", False)])
def test_a_plugin_that_has_integers_is_not_pinned_to_floating_point(operands: str, pinned: bool) -> None:
    """As 8.5.3 wants it, for whose networks types are pinned."""
    oldest = facts("8.5.3")
    dialect = RecordingDialect(dataclasses.replace(oldest, layers=oldest.layers | {"plugin_v3"}))
    call = f'plugin("SameAsIs", {OUTPUT})({operands})'
    lower(
        elaborate_text(f"model m {{ dim N = 1 .. 2 .. 4  input x: float32[N, 8]  output y = {call} }}"),
        dialect,
    )
    uses = {use.member for use in dialect.uses if "DataType.FLOAT" in use.arguments}
    assert ({"precision", "set_output_type"} <= uses) == pinned


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("a = 3", ("INT32", [3])),
        ("a = -0.5", ("FLOAT32", [-0.5])),
        ("a = true", ("INT32", [1])),
        ('a = "fast"', ("CHAR", "fast")),
        ('a = ""', ("CHAR", "")),
        ("a = [1, 2, 3]", ("INT32", [1, 2, 3])),
        ("a = [1, 0.5]", ("FLOAT32", [1, 0.5])),
        ("a = [true, false]", ("INT32", [1, 0])),
        ("a = (int64, 5)", ("INT64", [5])),
        ("a = (int8, [1, -1])", ("INT8", [1, -1])),
        ("a = (float16, [0.5, 1, 2])", ("FLOAT16", 3)),
        ("a = (bfloat16, [0.5, 1])", ("BF16", 2)),
        ("a = (float8_e4m3fn, [0.5, 1])", ("FP8", 2)),
        ("a = (int32, [])", ("INT32", [])),
        ('fields = [("a", 3)]', ("INT32", [3])),
    ],
)
def test_a_field_has_the_type_of_its_value(field: str, wanted: tuple[str, Any]) -> None:
    assert fields_of(field)["a"] == wanted


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("factor = 2", ("FLOAT32", [2.0])),
        ("wide = 2", ("INT64", [2])),
        ("wide = [1, 2]", ("INT64", [1, 2])),
        ("small = true", ("INT8", [1])),
        ('mode = "a"', ("CHAR", "a")),
        ("factor = (int32, 2)", ("INT32", [2])),
        ("unheard_of = (int32, 2)", ("INT32", [2])),
    ],
)
def test_a_field_becomes_what_the_plugin_declares(field: str, wanted: tuple[str, Any]) -> None:
    assert fields_of(field, "SameAsIs") == {field.partition(" ")[0]: wanted}


def test_the_bits_of_a_half() -> None:
    """TensorRT hands out none of them; they are where a field of as many bits finds them."""
    halves = [("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)]
    for name, dtype in halves:
        wanted = np.array([0.5, 2], dtype).view(np.int16)
        CREATORS[3].peek = True
        try:
            _, found = fields_of(f"a = ({name}, [0.5, 2])")["a"]
        finally:
            CREATORS[3].peek = False
        assert found == wanted.tolist()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("facter = 2", "the plugin `SameAsIs` has no field `facter`, did you mean `factor`?"),
        ("count = 0.5", "the field `count` is int32, which cannot be 0.5"),
        ("count = 5000000000", "the field `count` is int32, which cannot be 5000000000"),
        ('count = "3"', "the field `count` must be int32, not a string"),
        ("small = [1, 300]", "the field `small` is int8, which cannot be 1, 300"),
        ("a = (int8, 300)", "the field `a` is int8, which cannot be 300"),
        ("a = (float16, 1e6)", "the field `a` is float16, which cannot be 1000000.0"),
        ("broken = (int32, 1)", "the plugin `SameAsIs` cannot be made with these fields"),
    ],
)
def test_a_field_that_does_not_suit_the_plugin(field: str, message: str) -> None:
    found = refusal(f'"SameAsIs", {OUTPUT}, {field}')
    assert found.message == message
    if "facter" in field or "broken" in field:
        assert "factor" in found.help[-1]


def test_a_release_says_which_fields_it_lacks() -> None:
    assert refusal(f'"Undeclared", {OUTPUT}, a = (int64, 1)', "8.5.3").message.endswith(
        "has no fields of INT64, as `a` is"
    )


@pytest.mark.parametrize(
    ("configured", "message", "help"),
    [
        ('"SameAsis"', "has no plugin `SameAsis`, did you mean `SameAsIs`?", "--plugins"),
        ('"Yolo"', "has no plugin `Yolo`", "its registry has"),
        ('"SameAsIs", version = "3"', "has no plugin `SameAsIs` version 3, but `SameAsIs` version 1 and", ""),
        ('"SameAsIs", namespace = "its"', "version 1 of the namespace `its`, but `SameAsIs` version 1", ""),
    ],
)
def test_a_plugin_that_is_not_there(configured: str, message: str, help: str) -> None:
    found = refusal(f"{configured}, {OUTPUT}")
    assert message in found.message
    assert help in " ".join(found.help)


def test_is_found_by_version_and_namespace() -> None:
    for creator in CREATORS[:3]:
        found = placed(
            f'"SameAsIs", {OUTPUT}, version = "{creator.plugin_version}", '
            f'namespace = "{creator.plugin_namespace}", count = 7'
        )
        assert creator.given.pop("count") == ("INT32", [7])
        assert [*found.plugins] == [("SameAsIs", creator.plugin_version, creator.plugin_namespace)]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            "(float32, [N, 4])",
            "the plugin makes float32[?, 8] of output 0, where `outputs` says float32[N, 4]",
        ),
        ("(float32, [N])", "the plugin makes float32[?, 8] of output 0, where `outputs` says float32[N]"),
        ("(int32, [N, 8])", "the plugin makes float32[?, 8] of output 0, where `outputs` says int32[N, 8]"),
        ("(float32, [N, 8]), (int32, [N])", "this `plugin_v3` layer has no output 1"),
    ],
)
def test_its_outputs_are_held_against_the_texts(outputs: str, message: str) -> None:
    names = "f, g" if "), (" in outputs else "f"
    call = f'plugin("SameAsIs", outputs = [{outputs}])(x)'
    text = f"model m {{ dim N = 1 .. 2 .. 4  input x: float32[N, 8]  {names} = {call}"
    with pytest.raises(DiagnosticError) as error:
        lower(elaborate_text(f"{text}  output f }}"), RecordingDialect(facts("11.4")))
    assert error.value.diagnostics[0].message == message


@pytest.mark.parametrize("release", ["10.13", "11.4"])
def test_asks_for_a_layer_that_the_release_has(release: str) -> None:
    dialect = RecordingDialect(facts(release))
    lower(graph_of(f'"SameAsIs", {OUTPUT}, count = 1'), dialect)
    assert problems(release, dialect) == []
    (use,) = (use for use in dialect.uses if use.member == "add_plugin_v3")
    assert use.arguments == ("Sequence[ITensor]", "Sequence[ITensor]", "IPluginV3")


def test_a_release_without_plugins_of_the_third_kind() -> None:
    assert "has no `plugin_v3` layer" in refusal(f'"SameAsIs", {OUTPUT}', "8.5.3").message


# --- A runtime that cannot place them ---------------------------------------------------------------------


def test_computes_its_reference_on_the_cpu() -> None:
    graph = graph_of(f'"SameAsIs", {OUTPUT}, reference = relu')
    for dialect in (load_runtime("tensorrt_rtx"), RecordingDialect(facts("11.4"))):
        lowered = lower(graph, dialect, by_reference=True)
        assert [*lowered.plugins] == []
        assert {node.op.name for node in lowered.nodes.values()} == {"relu"}
    with pytest.raises(DiagnosticError, match="the CPU cannot compute plugins, such as `SameAsIs`") as error:
        lower(graph_of(f'"SameAsIs", {OUTPUT}'), by_reference=True)
    assert error.value.diagnostics[0].help == ("say with `reference` what computes the same",)


def test_verify_sees_what_is_before_and_behind_it() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(8, 8), torch.nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x).relu())

    def found(reference: str) -> Verification:
        call = f'plugin("SameAsIs", {OUTPUT}{reference})'
        text = f"input x: float32[N, 8]  output y = x -> a: Linear(8) -> {call} -> b: Linear(4)"
        return run_verify(elaborate_text(f"model m {{ dim N = 1 .. 2 .. 4  {text} }}"), against=Model())

    assert found(", reference = relu").equal
    wrong = found(", reference = tanh")
    assert not wrong.equal and "plugin" in str(wrong.difference)
    with pytest.raises(DiagnosticError, match="the CPU cannot compute plugins"):
        found("")


def test_rtx_refuses_it_where_it_stands() -> None:
    with pytest.raises(DiagnosticError) as error:
        lower(graph_of(f'"ROIAlign_TRT", {OUTPUT}'))
    (found,) = error.value.diagnostics
    assert found.message == "the API of this TensorRT cannot place plugins, such as `ROIAlign_TRT`"
    assert "tensorrt 8.5, 10 or 11" in found.help[0]
    assert found.span is not None and found.span.text.startswith("plugin(")


@pytest.mark.parametrize("release", RELEASES)
def test_what_a_release_makes_of_it(release: str) -> None:
    net = SketchNetwork(release_facts(release), release)
    lower_into(graph_of(f'"SameAsIs", {OUTPUT}, reference = relu'), net)
    layers = {"TensorRT 8.5": "plugin_v2", "TensorRT 8.6": "plugin_v2", "TensorRT-RTX 1.7": "activation"}
    assert net.layers == [layers.get(release, "plugin_v3")]


def test_needs_no_library_of_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot place plugins"):
        compile_graph(
            graph_of(f'"A", {OUTPUT}, reference = relu'), tmp_path / "e", CompileOptions(plugins="a.so")
        )


# --- Passes and precision ---------------------------------------------------------------------------------


def test_keeps_its_types_in_another_precision() -> None:
    graph = graph_of(
        f'"SameAsIs", {OUTPUT}, reference = relu',
        'output y = (f * 2.0 -> plugin("B", outputs = [(float32, [N, 8])])) + 1.0',
    )
    found = convert_precision(DType.FLOAT16)(optimize(graph))
    assert not verify(found)
    one, other = (node for node in found.nodes if node.op.name == "plugin")
    assert [str(value.type) for node in (one, other) for value in (*node.operands, *node.results)] == [
        "float32[N, 8]"
    ] * 4
    (relu,) = one.bodies[0].nodes
    assert relu.result.type.dtype is DType.FLOAT32
    assert {node.result.type.dtype for node in found.nodes if node.op.name in ("mul", "add")} == {
        DType.FLOAT16
    }
    assert convert_precision(DType.FLOAT16)(found) is found
    assert difference(graph, elaborate_text(show(graph))) is None


def test_two_alike_are_one_and_others_are_not() -> None:
    a, b, c = (f'plugin("A", {OUTPUT}, k = {k})(x)' for k in ("1", "1", "1.0"))
    text = f"model m {{ dim N = 1 .. 2 .. 4  input x: float32[N, 8]  output y = {a} + {b}  output z = {c} }}"
    assert sum(node.op.name == "plugin" for node in optimize(elaborate_text(text)).nodes) == 2


# --- Libraries and the manifest ---------------------------------------------------------------------------


def test_the_manifest_names_them(tmp_path: Path) -> None:
    lowered = placed(f'"SameAsIs", {OUTPUT}, version = "2"')
    made = make_manifest(lowered, b"engine", CompileOptions(plugins=["libs/a.so", tmp_path / "b.so"]))
    assert made.plugins == (PluginEntry("SameAsIs", "2", ""),)
    assert made.plugin_libraries == ("libs/a.so", str(tmp_path / "b.so"))
    (tmp_path / "m.engine.json").write_text(made.to_json())
    assert load_manifest(tmp_path / "m.engine") == made


def test_an_engine_needs_the_plugins_that_it_was_built_with() -> None:
    made = make_manifest(placed(f'"SameAsIs", {OUTPUT}'), b"", CompileOptions(plugins="libs/a.so"))
    require_plugins(made, load_runtime("tensorrt_rtx"), ())
    other = dataclasses.replace(made, plugins=(PluginEntry("Yolo", "1", "mine"),))
    with pytest.raises(RefusedByTensorRT, match="the engine has the plugin `Yolo` version 1 of the") as error:
        require_plugins(other, load_runtime("tensorrt_rtx"), ())
    assert "`--plugins libs/a.so`" in error.value.diagnostics[0].help[0]
    with pytest.raises(UsageError, match=r"cannot load the plugin library `nowhere\.so`"):
        require_plugins(made, load_runtime("tensorrt_rtx"), ["nowhere.so"])
    assert "plugin     SameAsIs version 1\nlibraries  libs/a.so\n" in show_manifest(made)


def test_a_manifest_of_before_has_none(tmp_path: Path) -> None:
    made = make_manifest(lower(elaborate_text("model m { input x: float32[2]  output y = relu(x) }")), b"")
    lines = [line for line in made.to_json().splitlines() if '"plugin' not in line]
    (tmp_path / "m.engine.json").write_text("\n".join(lines).replace("],\n}", "]\n}"))
    read = load_manifest(tmp_path / "m.engine")
    assert isinstance(read, Manifest) and read.plugins == () and read.plugin_libraries == ()


def library(folder: Path, source: str) -> Path:
    path = folder / "lib.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=source, text=True, check=True
    )
    return path


def test_a_library_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its constructors have run when it has been loaded; so do those that register plugins."""
    monkeypatch.delenv("TRTDSL_LOADED", raising=False)
    path = library(
        tmp_path,
        "#include <stdio.h>\n#include <stdlib.h>\n__attribute__((constructor)) static void loaded(void)"
        f' {{ FILE *f = fopen("{tmp_path}/loaded", "a"); fputs("x", f); fclose(f); }}',
    )
    monkeypatch.chdir(tmp_path)
    registry = load_runtime("tensorrt_rtx").plugins
    registry.load(["lib.so"])
    registry.load([path])
    assert (tmp_path / "loaded").read_text() == "x"


@pytest.mark.parametrize("name", ["nowhere.so", "text.so"])
def test_a_library_that_cannot_be_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.so").write_text("not a library")
    with pytest.raises(UsageError, match=f"cannot load the plugin library `.*{name}`: "):
        load_runtime("tensorrt_rtx").plugins.load([tmp_path / name])


def test_the_command_tells_what_it_cannot_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.trtnet"
    path.write_text("model m {\n  input x: float32[2]\n  output y = relu(x)\n}\n")
    assert trtdsl("compile", path, "--plugins", "a.so,b.so", "-o", tmp_path / "m.engine") == 2
    assert "leave out `--plugins`" in capsys.readouterr().err
