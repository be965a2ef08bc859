"""Reads what ``torch.save`` wrote before PyTorch 1.6: pickles, then raw storages, in one stream.

The format is rare, so PyTorch itself loads it, restricted to tensors.  Before that the pickles are run
on :mod:`trtdsl.weights.torch_pickle`: what they refer to is reported in our words, and sizes the file
cannot hold are refused before anyone allocates them.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtdsl.weights.file import Buffer, MappedFile
from trtdsl.weights.tensor import NUMPY_DTYPES, LazyTensor, strided, unreadable
from trtdsl.weights.torch_objects import Name, Opaque, TypedStorage
from trtdsl.weights.torch_pickle import Machine
from trtdsl.weights.torch_zip import run, typed_storage

if TYPE_CHECKING:
    import torch

_MAGIC = pickle.LONG1 + b"\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_NESTING = 6


def looks_like_legacy(data: bytes) -> bool:
    """Whether a file that begins with ``data`` has the magic number's pickle at its start."""
    return data[:1] == pickle.PROTO and _MAGIC in data[:32]


def looks_like_pickle(data: bytes) -> bool:
    return data[:1] == pickle.PROTO and data[1:2] <= b"\5"


def read_plain_pickle(file: MappedFile) -> object:
    """Refuses a pickle that ``torch.save`` did not write, naming the code in it where there is some."""
    run(Machine(file.data, lambda _: Opaque("storage")), file)
    raise file.refuse(
        "is a pickle, but not a checkpoint", "save it with `torch.save(model.state_dict(), path)`"
    )


def read_torch_legacy(file: MappedFile) -> object:
    """The saved object; without torch, or where torch refuses the file, a ``DiagnosticError``."""
    _inspect(file)
    try:
        import torch
    except ImportError:
        raise file.refuse(
            "is in the format of PyTorch before 1.6, which needs PyTorch to be read",
            "run `pip install trtdsl[torch]`, or save it again with a newer PyTorch",
        ) from None
    try:
        with file.path.open("rb") as handle:  # given a path, torch would judge the file by its extension
            loaded = torch.load(handle, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a broken file leads it to
        # Its words are not repeated: they advise to load the file unrestricted.
        raise file.refuse(
            f"is a checkpoint PyTorch cannot read ({type(error).__name__}): broken, or of unusual dtypes",
            "download it again, or save it again with a newer PyTorch",
        ) from error
    return _convert(loaded, _NESTING)


def _inspect(file: MappedFile) -> None:
    """Runs the magic number, the protocol version, the system's facts, the object and the storage keys."""
    sizes: dict[str, int] = {}

    def storage(pickled: object) -> object:
        match pickled:
            case ("module", Name() as name, *_):
                return name
            case _:
                dtype, key, numel = typed_storage(pickled)
        known = NUMPY_DTYPES.get(dtype)
        sizes[key] = numel * (known.itemsize if known else 1)
        return TypedStorage(dtype, _Absent(sizes[key]))

    position = 0
    for _ in range(5):
        machine = Machine(file.data, storage, position)
        run(machine, file)
        position = machine.position
    if position + sum(sizes.values()) > file.size:
        raise file.refuse(
            "is truncated: it ends before its tensors do", "download or save the checkpoint again"
        )


@dataclass(frozen=True, slots=True)
class _Absent:
    """The size of a storage whose data torch will read."""

    nbytes: int

    def buffer(self) -> Buffer:
        return bytes(self.nbytes)


@dataclass(frozen=True, eq=False, slots=True)
class _Loaded:
    """A storage torch has read."""

    data: torch.UntypedStorage

    @property
    def nbytes(self) -> int:
        return self.data.nbytes()

    def buffer(self) -> Buffer:
        import torch

        return torch.empty(0, dtype=torch.uint8).set_(self.data).numpy().data


def _convert(value: object, depth: int) -> object:
    """torch's tensors as ours, inside dicts; other containers hold no weights."""
    import torch

    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if not isinstance(value, dict):
        return value
    if depth == 0:
        return Opaque("dict")
    return {key: _convert(item, depth - 1) for key, item in value.items()}


def _tensor(tensor: torch.Tensor) -> LazyTensor:
    import torch

    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_neg():
        return unreadable(dtype, tuple(tensor.shape), "is sparse, quantized, negated or without data")
    storage = _Loaded(tensor.untyped_storage())
    return strided(dtype, tuple(tensor.shape), tensor.stride(), tensor.storage_offset(), storage)
