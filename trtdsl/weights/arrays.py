"""Arrays that a program gives instead of a file: numpy's, and PyTorch's tensors without importing torch.

In: ``model.state_dict()``, or arrays by key.  Out: numpy arrays, onto the same memory where the CPU has it::

    bind(graph, torch.load("resnet18.pth"))
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, DiagnosticError

_NOT_IN_NUMPY = {
    "torch.bfloat16": ml_dtypes.bfloat16,
    "torch.float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "torch.float8_e5m2": ml_dtypes.float8_e5m2,
}


def as_array(key: str, value: Any) -> npt.NDArray[Any]:
    """The value as an array, itself where it is one; raises :class:`DiagnosticError` for what is none."""
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "detach"):
            return _from_torch(value.detach().cpu())
        if hasattr(value, "__array__"):
            return np.asarray(value)
    except (TypeError, RuntimeError) as error:
        text = f"`{key}` is a {type(value).__name__} that numpy cannot hold: {error}"
        raise DiagnosticError(Diagnostic(text)) from error
    raise DiagnosticError(Diagnostic(f"`{key}` is a {type(value).__name__}, not an array"))


def _from_torch(tensor: Any) -> npt.NDArray[Any]:
    dtype = _NOT_IN_NUMPY.get(str(tensor.dtype))
    if dtype is None:
        return tensor.numpy()
    # Its bytes, since numpy is given no such type; of a single number only a list of it can be seen as bytes.
    uint8 = tensor.new_empty(0).byte().dtype
    flat = tensor.contiguous().reshape(-1).view(uint8).numpy()
    return flat.view(dtype).reshape(tuple(tensor.shape))
