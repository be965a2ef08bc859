"""The GPU that TensorRT builds for, where it builds for the one at hand."""

from __future__ import annotations

import importlib


def compute_capability() -> str | None:
    """The current GPU's, ``sm90``; None where CUDA does not say: no GPU, or no cuda-bindings."""
    try:
        runtime = importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        return None
    error, device = runtime.cudaGetDevice()
    if int(error):
        return None
    error, properties = runtime.cudaGetDeviceProperties(device)
    return None if int(error) else f"sm{properties.major}{properties.minor}"
