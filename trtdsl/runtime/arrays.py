"""Arrays of any library, seen as an address, a shape and a type.

In: a numpy array, or anything with ``__dlpack__`` or ``__cuda_array_interface__`` (PyTorch, CuPy, JAX).
Out: a :class:`View` onto the same memory; nothing is copied, and no library is imported.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ops.lowering import Array
from trtdsl.runtime.cuda import DeviceArray, call, device_of
from trtdsl.types import DType

_CPU = frozenset({1, 3})
"""DLPack's device types whose memory the CPU reads: kDLCPU, kDLCUDAHost."""
_CUDA = frozenset({2, 13})
"""kDLCUDA, kDLCUDAManaged."""
_ON_ONE_GPU = 2
"""kDLCUDA: memory of one GPU, where managed memory is everyone's."""

_KINDS = {
    (0, 8): "int8",
    (0, 32): "int32",
    (0, 64): "int64",
    (1, 8): "uint8",
    (2, 16): "float16",
    (2, 32): "float32",
    (2, 64): "float64",
    (4, 16): "bfloat16",
    (6, 8): "bool",
}
"""DLPack's type codes with their bits, from dlpack.h: 0 int, 1 uint, 2 float, 4 bfloat, 6 bool."""


@dataclass(frozen=True, eq=False)
class View:
    """Memory in C order. ``host`` is the array where it lies on the CPU; ``owner`` keeps the memory alive."""

    pointer: int
    shape: tuple[int, ...]
    dtype: str
    host: Array | None
    owner: Any

    @property
    def on_device(self) -> bool:
        return self.host is None


def view(name: str, array: Any, stream: int = 0, device: int | None = None) -> View:
    """See an array given for the tensor ``name``; its pending work is ordered before ``stream``'s.

    Raises UsageError for what is not an array, for arrays on the GPU that are not in C order, and for those
    on another GPU than ``device``, where that is given.
    """
    if isinstance(array, np.ndarray | np.generic):
        return _host(np.asarray(array))
    require_device(name, _device(array), device)
    if isinstance(array, DeviceArray):
        return View(array.pointer, array.shape, array.dtype.name, None, array)
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _from_dlpack(name, array, stream)
    if hasattr(array, "__cuda_array_interface__"):
        return _from_interface(name, array, device)
    raise UsageError(
        Diagnostic(
            f"`{name}` is given a {type(array).__name__}, which is not an array",
            help=("give a numpy array, or one with DLPack or `__cuda_array_interface__`",),
        )
    )


def on_cpu(name: str, array: Any) -> Array | None:
    """An array in the CPU's memory as numpy's, without a copy; None for all else."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return view(name, array).host if array.__dlpack_device__()[0] in _CPU else None
    return None


def _device(array: Any) -> int | None:
    """The number of the GPU that an array says it lies on, where it says so."""
    if isinstance(array, DeviceArray):
        return array.memory.device
    if hasattr(array, "__dlpack_device__"):
        kind, number = array.__dlpack_device__()
        return int(number) if kind == _ON_ONE_GPU else None
    return None


def require_device(name: str, found: int | None, wanted: int | None) -> None:
    """Refuse memory on another GPU than the wanted one; None is memory, or a wish, that fits any."""
    if found is None or wanted is None or found == wanted:
        return
    raise UsageError(
        Diagnostic(
            f"`{name}` is on GPU {found}, but the engine is on GPU {wanted}",
            help=(f"copy it there (in PyTorch: `x.to('cuda:{wanted}')`), or load the engine on GPU {found}",),
        )
    )


def _host(array: Array) -> View:
    # Native byte order too: of `>f4`, which files may hold, numpy says the name `float32` as well.
    array = np.require(array, array.dtype.newbyteorder("="), ("C", "A"))
    return View(array.ctypes.data, array.shape, array.dtype.name, array, array)


def _from_dlpack(name: str, array: Any, stream: int) -> View:
    device, _ = array.__dlpack_device__()
    if device in _CUDA:
        # 1 is the legacy default stream; 0 is forbidden there, for it could mean two things.
        capsule = _capsule(name, array, stream=stream or 1)
    elif device in _CPU:
        capsule = _capsule(name, array)
    else:
        raise UsageError(Diagnostic(f"`{name}` is on a device that is neither the CPU nor an NVIDIA GPU"))
    tensor = tensor_in(capsule)
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    dtype = _KINDS.get((tensor.code, tensor.bits))
    if dtype is None:
        kind = f"DLPack type {tensor.code} of {tensor.bits} bits"
        raise UsageError(Diagnostic(f"`{name}` has elements of a type that no engine accepts: {kind}"))
    pointer = (tensor.data or 0) + tensor.byte_offset
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    # The capsule is not consumed: it gives the memory back when it is collected.
    if device in _CUDA:
        _require_order(name, shape, strides)
        return View(pointer, shape, dtype, None, (array, capsule))
    return _host(_readable(pointer, shape, dtype, strides, (array, capsule)))


def _capsule(name: str, array: Any, **options: int) -> Any:
    """What the array's own library exports. It may refuse: tensors that require gradients, for example."""
    try:
        return array.__dlpack__(**options)
    except (BufferError, RuntimeError) as error:  # DLPack asks for the first, releases of PyTorch raise both
        raise UsageError(Diagnostic(f"`{name}` cannot be read through DLPack: {error}")) from error


def _readable(
    pointer: int, shape: tuple[int, ...], dtype: str, strides: tuple[int, ...] | None, owner: Any
) -> Array:
    """A numpy array of memory on the CPU. numpy's own from_dlpack does not know bfloat16."""
    element = DType(dtype).numpy if dtype in {str(d) for d in DType} else np.dtype(dtype)
    if 0 in shape:
        # Its pointer may be null, which numpy before 2 does not take.
        return np.empty(shape, element)
    in_bytes = None if strides is None else tuple(stride * element.itemsize for stride in strides)
    interface = {"data": (pointer, True), "shape": shape, "typestr": f"|V{element.itemsize}", "version": 3}
    holder = _Holder(interface | {"strides": in_bytes}, owner)
    return np.array(np.asarray(holder)).view(element)


class _Holder:
    """What numpy reads an array from, with its owner."""

    def __init__(self, interface: dict[str, Any], owner: Any) -> None:
        self.__array_interface__ = interface
        self.owner = owner


def _from_interface(name: str, array: Any, device: int | None) -> View:
    interface = array.__cuda_array_interface__
    if device is not None and 0 not in interface["shape"]:
        # The interface does not say where the memory lies, CUDA does.
        require_device(name, device_of(interface["data"][0]), device)
    shape = tuple(interface["shape"])
    element = np.dtype(interface["typestr"])
    strides = interface.get("strides")
    if strides is not None:
        strides = tuple(stride // element.itemsize for stride in strides)
    _require_order(name, shape, strides)
    if interface.get("stream") is not None:
        call("cudaStreamSynchronize", interface["stream"])
    return View(interface["data"][0], shape, element.name, None, array)


def _require_order(name: str, shape: Sequence[int], strides: Sequence[int] | None) -> None:
    """Refuse memory on the GPU that is not in C order; strides are in elements."""
    if strides is None or 0 in shape:
        return
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != expected:
            raise UsageError(
                Diagnostic(f"`{name}` is not contiguous on the GPU", help=("in PyTorch: `x.contiguous()`",))
            )
        expected *= size


# DLPack's structures, as dlpack.h has them.


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


def tensor_in(capsule: Any) -> Any:
    """The DLTensor that a capsule named ``dltensor`` points to."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype = ctypes.c_void_p
    pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    return _Tensor.from_address(pointer(capsule, b"dltensor"))
