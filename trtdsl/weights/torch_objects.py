"""Inert stand-ins for what a torch checkpoint's pickle names.

In: ``torch._utils._rebuild_tensor_v2`` and the other names ``torch.save`` writes, with their arguments.
Out: :class:`LazyTensor`, plain containers, or an :class:`Opaque` mark.  A name is only ever looked up in
the tables below: nothing is imported, and no function of a checkpoint's choosing is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trtdsl.weights.file import Malformed
from trtdsl.weights.tensor import NUMPY_DTYPES, LazyTensor, Storage, strided, unreadable


@dataclass(frozen=True, eq=False, slots=True)
class Name:
    """A class or function a pickle refers to by name."""

    text: str


@dataclass(eq=False, slots=True)
class Opaque:
    """An object that is neither a tensor nor a plain container: a known harmless one, or a refused one.

    As a key of a dict it stands for one that is not a string, and ``name`` is that key's text.
    """

    name: str


@dataclass(frozen=True, eq=False, slots=True)
class TypedStorage:
    """A storage and the dtype its pickle gives it (``uint8`` for an untyped one)."""

    dtype: str
    storage: Storage


STORAGE_DTYPES = {
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
}

_UNREADABLE_DTYPES = {
    "bcomplex32",
    "bits16",
    "bits1x8",
    "bits2x4",
    "bits4x2",
    "bits8",
    "complex32",
    "float4_e2m1fn_x2",
    "float8_e8m0fnu",
}

_PLAIN_NAMES = {
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
    "torch.storage.TypedStorage",
    "torch.storage._TypedStorage",
    "torch.storage._UntypedStorage",
    "torch.storage.UntypedStorage",
    *(f"torch.{dtype}" for dtype in {*NUMPY_DTYPES, *STORAGE_DTYPES.values(), *_UNREADABLE_DTYPES}),
    *(f"torch.{prefix}{storage}" for prefix in ("", "cuda.") for storage in STORAGE_DTYPES),
    *(f"torch.per_{scope}_{kind}" for scope in ("tensor", "channel") for kind in ("affine", "symmetric")),
    "torch.per_channel_affine_float_qparams",
}

# Training state that stands beside the weights in many checkpoints. No weight is made of it, so it is
# kept as a mark, and what it would do when rebuilt does not matter.
_HARMLESS = {
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.set",
    "builtins.slice",
    "builtins.str",
    "collections.Counter",
    "datetime.datetime",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "torch.device",
    "torch.serialization._get_layout",
}

Arguments = tuple[object, ...]


def is_known(name: str) -> bool:
    """Whether a pickle may refer to ``name``."""
    return name in _BUILDERS or name in _PLAIN_NAMES or name in _HARMLESS


def build(name: str, arguments: Arguments) -> object:
    """What calling a known name gives; ``Malformed`` where the arguments are not what torch writes."""
    builder = _BUILDERS.get(name)
    return builder(arguments) if builder else Opaque(name)


def storage_dtype(name: object) -> str:
    """The dtype of ``torch.FloatStorage`` and its like."""
    dtype = STORAGE_DTYPES.get(name.text.rpartition(".")[2].lstrip("_")) if isinstance(name, Name) else None
    if dtype is None:
        raise Malformed("a storage has no known type")
    return dtype


def _ordered_dict(arguments: Arguments) -> object:
    if arguments:
        raise Malformed("an OrderedDict is made from arguments, which torch.save does not write")
    return {}


def _default_dict(_: Arguments) -> object:
    return {}


def _size(arguments: Arguments) -> object:
    match arguments:
        case (tuple() as sizes,):
            return sizes
        case _:
            raise Malformed("a torch.Size is not made of a tuple")


def _tensor(arguments: Arguments) -> object:
    """``_rebuild_tensor(storage, offset, size, stride)``; ``_v2`` adds requires_grad, hooks, metadata."""
    match arguments:
        case (TypedStorage(dtype, storage), offset, size, stride, *rest):
            return _without_flags(strided(dtype, size, stride, offset, storage), rest[2:3])
        case _:
            raise _bad_tensor()


def _tensor_v3(arguments: Arguments) -> object:
    """``_v2`` with the dtype before the metadata, over an untyped storage."""
    match arguments:
        case (TypedStorage(_, storage), offset, size, stride, _, _, Name(dtype), *rest):
            dtype = dtype.removeprefix("torch.")
            return _without_flags(strided(dtype, size, stride, offset, storage), rest[:1])
        case _:
            raise _bad_tensor()


def _without_flags(tensor: LazyTensor, metadata: list[object]) -> LazyTensor:
    """torch's lazy conjugation and negation leave the storage as it was: such a tensor is refused."""
    match metadata:
        case [dict() as flags] if flags:
            return unreadable(
                tensor.dtype,
                tensor.shape,
                "is a lazily conjugated or negated view (call .resolve_neg() before saving)",
            )
        case _:
            return tensor


def _quantized(arguments: Arguments) -> object:
    match arguments:
        case (TypedStorage(dtype, storage), offset, size, stride, *_):
            return strided(dtype, size, stride, offset, storage)
        case _:
            raise _bad_tensor()


def _sparse(arguments: Arguments) -> object:
    """``(layout, (indices, values, size, …))``, or with the two index tensors of a compressed layout."""
    match arguments:
        case (_, (LazyTensor(), LazyTensor(dtype=dtype), tuple() as size, *_)):
            return unreadable(dtype, size, "is sparse (call .to_dense() before saving)")
        case (_, (LazyTensor(), LazyTensor(), LazyTensor(dtype=dtype), tuple() as size, *_)):
            return unreadable(dtype, size, "is sparse (call .to_dense() before saving)")
        case _:
            raise _bad_tensor()


def _meta(arguments: Arguments) -> object:
    match arguments:
        case (Name(dtype), tuple() as size, *_):
            return unreadable(dtype.removeprefix("torch."), size, "is on the meta device and has no data")
        case _:
            raise _bad_tensor()


def _parameter(arguments: Arguments) -> object:
    match arguments:
        case (LazyTensor() as tensor, *_):
            return tensor
        case _:
            raise _bad_tensor()


def _from_type(arguments: Arguments) -> object:
    """``(function, type, its arguments, attributes)``: a tensor with Python attributes, or a buffer."""
    match arguments:
        case (Name(function), Name(), tuple() as inner, *_) if function in _TENSOR_BUILDERS:
            return _TENSOR_BUILDERS[function](inner)
        case _:
            raise _bad_tensor()


def _bad_tensor() -> Malformed:
    return Malformed("a tensor's record does not have the form torch.save writes")


_TENSOR_BUILDERS: dict[str, Callable[[Arguments], object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
}

_BUILDERS: dict[str, Callable[[Arguments], object]] = {
    **_TENSOR_BUILDERS,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "torch.Size": _size,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
}
