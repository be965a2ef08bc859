"""Which GPU a thread works on, and whose memory an engine takes: as far as it is decided without a GPU.

CUDA keeps a current GPU for each thread; here a variable of the thread's stands for it.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT, UsageError
from trtdsl.runtime import arrays, cuda
from trtdsl.runtime.arrays import view
from trtdsl.runtime.cuda import Device, DeviceArray, Held, require_work
from trtdsl.types import DType


class Threads(threading.local):
    """The current GPU of each thread, and how often it was set."""

    current = 0
    changes = 0

    def call(self, name: str, *arguments: int) -> int | None:
        if name == "cudaGetDevice":
            return self.current
        assert name == "cudaSetDevice"
        (self.current,) = arguments
        self.changes += 1
        return None


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    found = Threads()
    monkeypatch.setattr(cuda, "call", found.call)
    return found


def test_a_thread_works_on_the_engines_gpu_and_then_on_its_own(threads: Threads) -> None:
    device = Device("NVIDIA H100", "sm90", 1 << 36, index=1)
    with device.current():
        assert threads.current == 1
        with device.current():
            assert threads.current == 1
        assert threads.current == 1
    assert threads.current == 0
    assert threads.changes == 2


def test_a_failure_leaves_the_threads_own_gpu(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError), Device("NVIDIA H100", "sm90", 1 << 36, index=1).current():
        raise ZeroDivisionError
    assert threads.current == 0


def test_nothing_is_set_where_the_gpu_is_current_already(threads: Threads) -> None:
    with Device("NVIDIA H100", "sm90", 1 << 36).current():
        assert threads.current == 0
    assert threads.changes == 0


class FromTensorRT:
    """An object that makes its GPU the current one as it goes, as TensorRT 8.5.3's do."""

    def __init__(self, name: str, threads: Threads, gone: list[tuple[str, int]]) -> None:
        self._name, self._threads, self._gone = name, threads, gone

    def __del__(self) -> None:
        self._gone.append((self._name, self._threads.current))
        self._threads.current = 1


def test_what_tensorrt_made_is_let_go_of_on_its_gpu(threads: Threads) -> None:
    device, gone = Device("NVIDIA H100", "sm90", 1 << 36, index=1), list[tuple[str, int]]()
    engine = Held(FromTensorRT("engine", threads, gone), device)
    context = Held(FromTensorRT("context", threads, gone), device, engine)
    del engine
    assert gone == []
    del context
    assert gone == [("context", 1), ("engine", 1)]
    assert threads.current == 0


def test_what_another_thread_lets_go_of_leaves_its_gpu_too(threads: Threads) -> None:
    found: list[int] = []
    held = [Held(FromTensorRT("engine", threads, []), Device("NVIDIA H100", "sm90", 1 << 36, index=1))]

    def work() -> None:
        threads.current = 2
        held.clear()
        found.append(threads.current)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [2]


def test_what_is_held_goes_where_cuda_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(name: str, *arguments: int) -> None:
        raise RefusedByTensorRT(Diagnostic("the driver is shutting down"))

    monkeypatch.setattr(cuda, "call", call)
    gone: list[tuple[str, int]] = []
    Held(FromTensorRT("engine", Threads(), gone), Device("NVIDIA H100", "sm90", 1))
    assert gone == [("engine", 0)]


class OnGpu:
    """An array of DLPack on a GPU, of which nothing may be asked but where it lies."""

    def __init__(self, kind: int, number: int) -> None:
        self.place = kind, number

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.place

    def __dlpack__(self, stream: int | None = None) -> Any:
        raise AssertionError("the array was asked for")


def test_an_array_on_another_gpu_is_refused() -> None:
    memory: Any = SimpleNamespace(pointer=4096, device=1)
    for array in (OnGpu(2, 1), DeviceArray(memory, (2, 3), DType.FLOAT32.numpy)):
        with pytest.raises(UsageError) as error:
            view("x", array, device=0)
        assert "`x` is on GPU 1, but the engine is on GPU 0" in str(error.value)
        assert "x.to('cuda:0')" in str(error.value)


@pytest.mark.parametrize(("kind", "number"), [(2, 0), (13, 1)], ids=["its own", "managed"])
def test_an_array_on_the_engines_gpu_or_on_all_is_taken(kind: int, number: int) -> None:
    with pytest.raises(AssertionError, match="the array was asked for"):
        view("x", OnGpu(kind, number), device=0)


@pytest.mark.parametrize(("found", "refused"), [(0, False), (1, True), (None, False)])
def test_cuda_is_asked_where_the_array_does_not_say(
    found: int | None, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "device_of", {4096: found}.__getitem__)
    interface = {"shape": (2, 3), "typestr": "<f4", "data": (4096, False), "strides": None, "version": 3}
    array = SimpleNamespace(__cuda_array_interface__=interface)
    if not refused:
        assert view("x", array, device=0).pointer == 4096
        return
    with pytest.raises(UsageError, match="`x` is on GPU 1, but the engine is on GPU 0"):
        view("x", array, device=0)


def test_an_empty_cuda_graph_is_refused() -> None:
    require_work(1)
    with pytest.raises(RefusedByTensorRT, match="the CUDA graph is empty"):
        require_work(0)
