"""CUDA, as much as running an engine needs: memory, streams, events, graphs.

In: nothing but a GPU.  Out: objects that free what they hold when they are collected.  Everything goes
through ``cuda-bindings``; a call that fails is a RefusedByTensorRT with CUDA's own words.
"""

from __future__ import annotations

import functools
import importlib
import weakref
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT
from trtdsl.ops.lowering import Array
from trtdsl.trt.installation import how_to_install

_NO_DEVICE = ("cudaErrorNoDevice", "cudaErrorInsufficientDriver")


@functools.cache
def bindings() -> Any:
    """``cuda.bindings.runtime``; raises RefusedByTensorRT where it is not installed."""
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise RefusedByTensorRT(
            Diagnostic(f"cuda-bindings cannot be imported: {error}", help=(how_to_install("cuda"),))
        ) from error


def call(name: str, *arguments: Any) -> Any:
    """A function of the CUDA runtime: its result, or a tuple of them, or None."""
    error, *results = getattr(bindings(), name)(*arguments)
    if int(error):
        raise RefusedByTensorRT(_failure(name, error))
    if not results:
        return None
    return results[0] if len(results) == 1 else tuple(results)


def _failure(name: str, error: Any) -> Diagnostic:
    if error.name in _NO_DEVICE:
        return Diagnostic(
            f"there is no NVIDIA GPU to run on, or its driver is too old ({error.name})",
            help=("`trtdsl verify` without `--engine` computes the network on the CPU",),
        )
    _, text = bindings().cudaGetErrorString(error)
    words = text.decode() if isinstance(text, bytes) else str(text)
    return Diagnostic(f"{name} failed: {words} ({error.name})")


@dataclass(frozen=True)
class Device:
    """A GPU; ``target`` is its compute capability, ``sm90``, ``index`` CUDA's number of it."""

    name: str
    target: str
    memory: int
    index: int = 0

    def current(self) -> AbstractContextManager[None]:
        """Within the block this thread works on this GPU, whichever is its own before and after."""
        return on_device(self.index)


@contextmanager
def on_device(index: int) -> Generator[None]:
    """Within the block this thread works on the GPU of this number, whichever is its own before and after."""
    before = int(call("cudaGetDevice"))
    if before == index:
        yield
        return
    call("cudaSetDevice", index)
    try:
        yield
    finally:
        call("cudaSetDevice", before)


class Held:
    """An object of TensorRT on a GPU, ``raw``, which is let go of with that GPU as the thread's current one.

    The destructors of TensorRT 8.5.3 make the GPU of their object the current one and leave it so.
    ``needs`` is held as long, and let go of after it.
    """

    def __init__(self, raw: Any, device: Device, *needs: Held) -> None:
        # The only reference: what an attribute held would outlive the guard.
        self._only = [raw]
        weakref.finalize(self, _let_go, device.index, self._only, needs)

    @property
    def raw(self) -> Any:
        return self._only[0]


def _let_go(index: int, only: list[Any], _needs: tuple[Held, ...]) -> None:
    try:
        with on_device(index):
            only.clear()
    except RefusedByTensorRT:
        # At the end of the process the driver may be gone, and no thread has a current GPU any more.
        only.clear()


def current_device() -> Device:
    """The GPU that engines are loaded onto; raises RefusedByTensorRT where there is none."""
    call("cudaGetDeviceCount")
    index = int(call("cudaGetDevice"))
    properties = call("cudaGetDeviceProperties", index)
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    target = f"sm{properties.major}{properties.minor}"
    return Device(name.rstrip("\0"), target, int(properties.totalGlobalMem), index)


def device_of(pointer: int) -> int | None:
    """The number of the GPU whose memory an address is in; None where every GPU may read it."""
    attributes = call("cudaPointerGetAttributes", pointer)
    on_one = attributes.type == bindings().cudaMemoryType.cudaMemoryTypeDevice
    return int(attributes.device) if on_one else None


class Stream:
    """A stream of our own, ``handle`` as an integer."""

    def __init__(self) -> None:
        self._raw = call("cudaStreamCreateWithFlags", int(bindings().cudaStreamNonBlocking))
        self.handle = int(self._raw)
        weakref.finalize(self, _quietly, "cudaStreamDestroy", self._raw)

    def synchronize(self) -> None:
        call("cudaStreamSynchronize", self.handle)


class Event:
    """A point in a stream's work."""

    def __init__(self) -> None:
        self._raw = call("cudaEventCreate")
        weakref.finalize(self, _quietly, "cudaEventDestroy", self._raw)

    def record(self, stream: int) -> None:
        call("cudaEventRecord", self._raw, stream)

    def synchronize(self) -> None:
        call("cudaEventSynchronize", self._raw)

    def milliseconds_to(self, later: Event) -> float:
        return float(call("cudaEventElapsedTime", self._raw, later._raw))


class Memory:
    """Bytes at ``pointer`` on the GPU with the number ``device``, the current one when it was made."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.device = int(call("cudaGetDevice"))
        # TensorRT wants an address even for a tensor without elements.
        self.pointer = int(call("cudaMalloc", max(size, 1)))
        weakref.finalize(self, _quietly, "cudaFree", self.pointer)


class Pool:
    """Memory by name, which is used again and grows as needed."""

    def __init__(self) -> None:
        self._memory: dict[str, Memory] = {}

    def allocate(self, name: str, size: int) -> Memory:
        memory = self._memory.get(name)
        if memory is None or memory.size < size:
            memory = self._memory[name] = Memory(size)
        return memory


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """An array on the GPU, in C order; PyTorch and CuPy take it by ``__cuda_array_interface__``.

    >>> torch.as_tensor(array, device="cuda")      # without a copy
    >>> array.numpy()                              # a copy on the CPU
    """

    memory: Memory
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: np.dtype[Any]) -> DeviceArray:
        return cls(Memory(int(np.prod(shape)) * dtype.itemsize), shape, dtype)

    @classmethod
    def zeros(cls, shape: tuple[int, ...], dtype: np.dtype[Any], stream: int) -> DeviceArray:
        """What work after this in the stream finds to be 0."""
        array = cls.empty(shape, dtype)
        call("cudaMemsetAsync", array.pointer, 0, array.nbytes, stream)
        return array

    @property
    def pointer(self) -> int:
        return self.memory.pointer

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        # Types of ml_dtypes have no letter of their own; readers take two or one raw bytes.
        data = (self.pointer, False)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "version": 3, "strides": None}

    def numpy(self) -> Array:
        """A copy on the CPU, when the work that writes it is done."""
        array = np.empty(self.shape, self.dtype)
        with on_device(self.memory.device):
            call("cudaDeviceSynchronize")
            copy_to_host(array, self.pointer, 0)
            call("cudaDeviceSynchronize")
        return array


def copy_to_device(pointer: int, array: Array, stream: int) -> None:
    """Copy a C-contiguous array; it must live on until the stream's work is done."""
    kind = bindings().cudaMemcpyKind.cudaMemcpyHostToDevice
    call("cudaMemcpyAsync", pointer, array.ctypes.data, array.nbytes, kind, stream)


def copy_to_host(array: Array, pointer: int, stream: int) -> None:
    kind = bindings().cudaMemcpyKind.cudaMemcpyDeviceToHost
    call("cudaMemcpyAsync", array.ctypes.data, pointer, array.nbytes, kind, stream)


def copy_on_device(target: int, source: int, size: int, stream: int) -> None:
    kind = bindings().cudaMemcpyKind.cudaMemcpyDeviceToDevice
    call("cudaMemcpyAsync", target, source, size, kind, stream)


class Graph:
    """Work captured from a stream, launched as one."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        weakref.finalize(self, _quietly, "cudaGraphExecDestroy", raw)

    @classmethod
    def capture(cls, stream: Stream, work: Callable[[], None]) -> Graph:
        """What ``work()`` puts into the stream; nothing of it runs now.

        Raises RefusedByTensorRT where that is nothing: its launches would leave old outputs as they are.
        """
        mode = bindings().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", stream.handle, mode)
        try:
            work()
        except BaseException:
            # A stream left in capture could never be used again; what went wrong is the work's to say.
            error, graph = bindings().cudaStreamEndCapture(stream.handle)
            if not int(error):
                _quietly("cudaGraphDestroy", graph)
            raise
        graph = call("cudaStreamEndCapture", stream.handle)
        try:
            _, count = call("cudaGraphGetNodes", graph)
            require_work(int(count))
            return cls(call("cudaGraphInstantiate", graph, 0))
        finally:
            _quietly("cudaGraphDestroy", graph)

    def launch(self, stream: int) -> None:
        call("cudaGraphLaunch", self._raw, stream)


def require_work(nodes: int) -> None:
    """Refuse a CUDA graph of no nodes."""
    if not nodes:
        raise RefusedByTensorRT(
            Diagnostic(
                "the CUDA graph is empty: TensorRT put no work into the stream while it was captured",
                help=("run the engine without a CUDA graph",),
            )
        )


def _quietly(name: str, handle: Any) -> None:
    # A failure is no news: at the end of the process the driver may be gone, and has then freed everything.
    getattr(bindings(), name)(handle)
