"""Which runtime is found and what is known of it."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.trt import networks as nets
from trtdsl.diagnostics import DiagnosticError
from trtdsl.trt.dialect import load_runtime
from trtdsl.trt.installation import how_to_install
from trtdsl.trt.lower import lower
from trtdsl.types import DType


def test_the_default_runtime_is_the_one_without_a_gpu() -> None:
    found = load_runtime()
    assert found.name == "tensorrt_rtx"
    assert found is load_runtime("tensorrt-rtx")
    assert found.version == found.trt.__version__


def test_what_tensorrt_rtx_has() -> None:
    found = load_runtime("tensorrt_rtx")
    assert found.facts.strongly_typed and found.facts.metadata and found.facts.progress
    assert found.facts.quantize_names_dtype and not found.facts.narrow
    assert found.normalization == "normalization_v2"
    assert found.has("cast") and found.has("squeeze") and not found.has("rnn_v2")
    assert "sm89" in found.targets and "current" not in found.targets


@pytest.mark.parametrize("dtype", DType)
def test_every_dtype_has_a_data_type_that_is_spelled_like_it(dtype: DType) -> None:
    found = load_runtime("tensorrt_rtx")
    assert found.spell(found.data_types[dtype]) == str(dtype)


def test_a_data_type_that_a_release_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_runtime()
    known = {dtype: known for dtype, known in found.data_types.items() if dtype is not DType.BFLOAT16}
    monkeypatch.setattr(found, "data_types", known)
    with pytest.raises(DiagnosticError, match=r"tensorrt_rtx .* does not support bfloat16"):
        lower(nets.conv_relu(dtype=DType.BFLOAT16))


def test_an_unknown_runtime() -> None:
    with pytest.raises(DiagnosticError) as error:
        lower(nets.conv_relu(), runtime="onnx")
    assert "unknown runtime `onnx`" in str(error.value)
    assert "known runtimes: tensorrt_rtx, tensorrt" in str(error.value)


def test_a_runtime_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules makes an import fail as that of a missing module does.
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DiagnosticError) as error:
        load_runtime("tensorrt")
    assert "TensorRT is not installed (`tensorrt` cannot be imported" in str(error.value)
    assert "pip install 'trtdsl[tensorrt]'" in str(error.value)


def test_the_package_does_not_import_tensorrt_until_it_is_used() -> None:
    assert importlib.util.find_spec("trtdsl.trt.lower") is not None
    import subprocess

    program = "import sys, trtdsl.trt.lower, trtdsl.trt.build, trtdsl.trt.manifest; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "trtdsl.trt.build" in loaded
    assert not {"tensorrt", "tensorrt_rtx", "torch", "networkx", "rich", "click"} & {*loaded}


@pytest.mark.parametrize(
    ("module", "system", "machine", "says"),
    [
        ("tensorrt_rtx", "linux", "x86_64", "pip install 'trtdsl[rtx]'"),
        ("tensorrt_rtx", "win32", "AMD64", "pip install 'trtdsl[rtx]'"),
        ("tensorrt_rtx", "linux", "aarch64", "needs glibc 2.35"),
        ("tensorrt", "linux", "x86_64", "pip install 'trtdsl[tensorrt]'"),
        ("tensorrt", "linux", "aarch64", "--system-site-packages"),
        ("cuda", "linux", "aarch64", "pip install cuda-bindings"),
        ("tensorrt_rtx", "darwin", "arm64", "work on macOS"),
        ("cuda", "darwin", "arm64", "work on macOS"),
    ],
)
def test_what_to_install_can_be_installed_there(module: str, system: str, machine: str, says: str) -> None:
    assert says in how_to_install(module, system, machine)
