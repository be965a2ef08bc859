"""Building with the real tensorrt_rtx: engines, profiles, targets, progress, cancelling, files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.trt import networks as nets
from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, Output, Profile, Value
from trtdsl.options import CompileOptions
from trtdsl.passes import convert_precision
from trtdsl.reference import random_weights
from trtdsl.trt import gpu
from trtdsl.trt.build import Progress, build
from trtdsl.trt.facts import Facts
from trtdsl.trt.lower import lower
from trtdsl.trt.profiles import input_range
from trtdsl.types import DType, TensorType, maximum, symbol

N = symbol("N", 1, 4, 16)
H = symbol("H", 8, 16, 64)
FOR_SM89 = CompileOptions(targets=("sm89",))
MAGIC = b"vtrt"
"""How TensorRT-RTX's engines begin."""


def digest(engine: memoryview) -> str:
    return hashlib.sha256(engine).hexdigest()


def slow_graph() -> Graph:
    """A chain whose build takes a second or so, in many steps."""
    data = Value("data", TensorType(nets.F32, (1, 8, 16, 16)))
    value, nodes = data, []
    for index in range(60):
        kernel = nets.weight(f"c{index}.weight", np.full((8, 8, 3, 3), 0.01 * index, np.float32))
        nodes.append(nets.apply(nets.Conv(8), value, kernel, scope=f"c{index}", name=f"v{index}"))
        value = nodes[-1].result
    return Graph("slow", (data,), tuple(nodes), (Output("y", value),))


def message(error: pytest.ExceptionInfo[Any]) -> str:
    return str(error.value)


# Engines


def test_an_engine_is_built_without_a_gpu() -> None:
    engine = build(lower(nets.conv_relu()))
    assert bytes(engine[:4]) == MAGIC


def test_dtypes_build() -> None:
    for dtype in (DType.FLOAT16, DType.BFLOAT16):
        assert len(build(lower(nets.conv_relu(dtype=dtype)))) > 1000


def test_two_builds_are_identical_also_in_another_process() -> None:
    graph = nets.dynamic(nets.conv_relu(shape=(N, 3, 8, 8)), Profile("one", {"N": (1, 1, 1)}))
    first, second = digest(build(lower(graph))), digest(build(lower(graph)))
    assert first == second
    program = (
        "from tests.trt import networks as nets; import hashlib\n"
        "from trtdsl.ir import Profile\n"
        "from trtdsl.types import symbol\n"
        "from trtdsl.trt.build import build\n"
        "from trtdsl.trt.lower import lower\n"
        "shape = (symbol('N', 1, 4, 16), 3, 8, 8)\n"
        "graph = nets.dynamic(nets.conv_relu(shape=shape), Profile('one', {'N': (1, 1, 1)}))\n"
        "print(hashlib.sha256(build(lower(graph))).hexdigest())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[2]), *sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == first


def test_weights_stand_in_the_engine() -> None:
    """A wrong buffer would build just as well: the kernel's own bytes must be there."""
    marked = np.full((8, 3, 3, 3), 1234.5678, np.float32)
    data = Value("data", TensorType(nets.F32, (2, 3, 8, 8)))
    engine = build(lower(nets.one(nets.Conv(8), data, nets.weight("w", marked))))
    assert bytes(engine).count(np.float32(1234.5678).tobytes()) >= marked.size


# Profiles


def test_the_range_of_an_input() -> None:
    type = TensorType(nets.F32, (N, 3, H, 8))
    ranges = {"N": (1, 1, 2), "H": (8, 16, 64)}
    assert input_range(type, ranges) == ((1, 3, 8, 8), (1, 3, 16, 8), (2, 3, 64, 8))


def test_the_range_of_an_expression_lies_between_its_extremes() -> None:
    type = TensorType(nets.F32, (20 - N, 2 * N + 1, (N + H) // 2))
    ranges = {"N": (1, 4, 16), "H": (8, 16, 64)}
    assert input_range(type, ranges) == ((4, 3, 4), (16, 9, 10), (19, 33, 40))


def test_the_extremes_of_an_expression_may_lie_inside_of_a_range() -> None:
    type = TensorType(nets.F32, (N * (20 - N), N % 4 + 1, maximum(N, H - 40)))
    assert input_range(type, {"N": (1, 4, 16), "H": (8, 16, 64)}) == ((19, 1, 1), (64, 1, 4), (100, 4, 24))
    assert input_range(type, {"N": (3, 3, 3), "H": (8, 8, 60)}) == ((51, 4, 3), (51, 4, 3), (51, 4, 20))


def test_a_dynamic_graph_without_a_profile_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="`cnn` has dynamic inputs and no profile"):
        build(lower(nets.conv_relu(shape=(N, 3, 8, 8), profiles=())))


def test_every_profile_reaches_the_engine() -> None:
    def size(*profiles: Profile) -> int:
        return len(build(lower(nets.dynamic(nets.conv_relu(shape=(N, 3, 8, 8)), *profiles))))

    one = size()
    three = size(Profile("a", {"N": (1, 1, 1)}), Profile("b", {"N": (16, 16, 16)}))
    # Each profile has code of its own in the engine.
    assert three > 2 * one


def test_a_range_that_is_none_is_a_mistake_of_the_caller() -> None:
    graph = nets.conv_relu(shape=(N, 3, 8, 8), profiles=(Profile("wrong", {"N": (4, 2, 3)}),))
    with pytest.raises(ValueError, match=r"not 4 \.\. 2 \.\. 3"):
        build(lower(graph))


# Targets


def test_targets_are_built_for() -> None:
    lowered = lower(nets.conv_relu())
    one, two = build(lowered, FOR_SM89), build(lowered, CompileOptions(targets=("sm89", "SM120", "sm89")))
    assert digest(one) != digest(two)


def test_an_unknown_target_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DiagnosticError) as error:
        build(lower(nets.conv_relu()), CompileOptions(targets=("sm89", "sm90", "sm8O", "current")))
    text = message(error)
    assert "cannot build for `sm90`\n" in text and "`--runtime tensorrt`" in text
    assert "cannot build for `sm8O`, did you mean `sm8" in text
    assert "cannot build for `current`" in text
    assert "known targets: sm75, sm80, sm86, sm89, sm120" in text


@pytest.mark.parametrize("target", ["89", "8.9", "sm_89", "compute_89"])
def test_a_target_in_another_spelling_is_recognised(target: str) -> None:
    with pytest.raises(UsageError, match=f"cannot build for `{target}`, did you mean `sm89`"):
        build(lower(nets.conv_relu()), CompileOptions(targets=(target,)))


def test_a_runtime_that_builds_for_its_own_gpu_takes_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered = lower(nets.conv_relu())
    monkeypatch.setattr(lowered.dialect, "targets", {})
    with pytest.raises(UsageError, match="builds for the GPU it runs on"):
        build(lowered, FOR_SM89)


def test_a_target_that_cannot_run_the_model() -> None:
    """bfloat16 convolutions need Ampere; TensorRT says so and names Turing."""
    with pytest.raises(DiagnosticError) as error:
        build(lower(nets.conv_relu(dtype=DType.BFLOAT16)), CompileOptions(targets=("sm75", "sm89")))
    assert "cannot build this model for sm75, sm89" in message(error)
    assert "= help: " in message(error)
    assert "cudaError" not in message(error)


def test_a_failed_build_shows_the_source_of_the_layer() -> None:
    """NonZero passes every check of the network and has no implementation in TensorRT-RTX."""

    def body(net: Any, x: Any) -> Any:
        return net.add("non_zero", x)

    data = Value("data", TensorType(nets.F32, (N, 3)))
    graph = nets.one(nets.Lambda(body, TensorType(DType.INT32, (2, N))), data)
    with pytest.raises(DiagnosticError) as error:
        build(lower(graph))
    assert "--> cnn.trtnet:1:36" in message(error)
    assert "has no runners that implement it" in message(error)


UP = """model m() {
  dim N = 1 .. 2 .. 4
  input x: float32[N, 3, 8, 8]
  y = x -> down: Conv2d(8, 3, padding = 1) -> relu
  output z = y -> up: ConvTranspose2d(4, 2, stride = 2)
}
"""


def test_a_failed_build_shows_the_layer_inside_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX 1.7 builds no transposed convolution in bfloat16; it names the whole region first."""
    monkeypatch.setattr(Facts, "convolves", lambda *_: True)  # where it would be computed in float32
    graph = random_weights(elaborate_text(UP), seed=0)
    with pytest.raises(DiagnosticError) as error:
        build(lower(convert_precision(DType.BFLOAT16)(graph)))
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.span is not None and diagnostic.span.line == 5
    assert "{ForeignNode[" in message(error)
    assert "filterWeightsBFloat16-{…}" in message(error)


# Progress and cancelling


def test_progress_is_told_in_the_callers_thread() -> None:
    seen: list[tuple[Progress, int]] = []
    build(lower(nets.conv_relu()), progress=lambda event: seen.append((event, threading.get_ident())))
    events = [event for event, _ in seen]
    assert {thread for _, thread in seen} == {threading.get_ident()}
    assert events[0].parent is None and events[0].step == 0
    assert all(0 <= event.step <= event.total for event in events)
    final = {event.phase: event for event in events}
    assert all(event.step == event.total for event in final.values())


def test_an_exception_of_the_callback_ends_the_build() -> None:
    class Enough(Exception):
        pass

    def progress(event: Progress) -> None:
        raise Enough

    lowered = lower(slow_graph())
    with pytest.raises(Enough):
        build(lowered, progress=progress)
    # The same network can be built afterwards.
    assert len(build(lowered)) > 1000


def test_an_exception_of_tensorrt_is_raised_in_the_callers_thread() -> None:
    lowered = lower(nets.conv_relu())
    lowered.checked.raw = "no network"
    with pytest.raises(TypeError, match="incompatible function arguments"):
        build(lowered)


class CurrentGpu(threading.local):
    """CUDA's current GPU of each thread: a new one begins on GPU 0."""

    number = 0

    def cudaGetDevice(self) -> tuple[int, int]:
        return 0, self.number

    def cudaSetDevice(self, number: int) -> tuple[int]:
        self.number = number
        return (0,)


def test_the_build_works_on_the_callers_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, seen = CurrentGpu(), list[int]()

    def build_serialized_network(network: Any, config: Any) -> bytes:
        seen.append(cuda.number)
        return MAGIC

    monkeypatch.setattr(gpu, "cuda_runtime", lambda: cuda)
    lowered = lower(nets.conv_relu())
    real = lowered.builder
    lowered.checked.builder = SimpleNamespace(
        create_builder_config=real.create_builder_config, build_serialized_network=build_serialized_network
    )
    cuda.number = 1
    build(lowered, FOR_SM89)
    assert seen == [1]
