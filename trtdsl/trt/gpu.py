"""The GPU that TensorRT builds for, where it builds for the one at hand: the current one of a thread."""

from __future__ import annotations

import importlib
from typing import Any


def compute_capability() -> str | None:
    """The current GPU's, ``sm90``; None where CUDA does not say: no GPU, or no cuda-bindings."""
    device = current_gpu()
    if device is None:
        return None
    error, properties = cuda_runtime().cudaGetDeviceProperties(device)
    return None if int(error) else f"sm{properties.major}{properties.minor}"


def current_gpu() -> int | None:
    """The number of this thread's current GPU; None where CUDA does not say."""
    runtime = cuda_runtime()
    if runtime is None:
        return None
    error, device = runtime.cudaGetDevice()
    return None if int(error) else int(device)


def work_on(device: int | None) -> None:
    """Make a GPU, which is another thread's current one, this thread's; nothing for None."""
    if device is not None:
        # That it is there the other thread knows; a build that cannot use it says so itself.
        cuda_runtime().cudaSetDevice(device)


def cuda_runtime() -> Any:
    """``cuda.bindings.runtime``; None where it is not installed."""
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        return None
