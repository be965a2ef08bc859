"""Reads what ``torch.save`` wrote before PyTorch 1.6: pickles, then raw storages, in one stream.

    magic number, protocol version, system, object, storage keys      five pickles
    <8 bytes: number of elements> data …                              for each of the keys

The pickles run on :mod:`trtdsl.weights.torch_pickle`, the storages stay where they are, as in the newer
format; they are rarely aligned, so arrays are copies.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass

from trtdsl.diagnostics import DiagnosticError
from trtdsl.weights.file import Buffer, Malformed, MappedFile, quote
from trtdsl.weights.tensor import NUMPY_DTYPES
from trtdsl.weights.torch_objects import Name, Opaque, TypedStorage
from trtdsl.weights.torch_pickle import Machine
from trtdsl.weights.torch_zip import run, typed_storage

_MAGIC = pickle.LONG1 + b"\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_BROKEN = "download it or save it again"
_WIDTHS = {"qint32": 4}
"""Bytes of an element, of the dtypes that cannot be read and have more than one byte."""


def read_torch_legacy(file: MappedFile) -> object:
    """The saved object, its tensors lazy; what is broken or holds code is a ``DiagnosticError``."""
    file.data.seek(0)
    if _MAGIC not in file.data[:32]:
        raise _plain_pickle(file)
    storages = _Storages(file)
    *_, found, keys = [run(Machine(file.data, storages.find), file) for _ in range(5)]
    needed = sum(8 + storage.nbytes for storage in storages.found.values())
    if file.data.tell() + needed > file.size:
        raise file.refuse("is truncated: it ends before its tensors do", _BROKEN)
    try:
        storages.place(keys, file.data.tell())
    except Malformed as error:
        raise file.refuse(f"is a broken checkpoint: {error}", _BROKEN) from None
    return found


def _plain_pickle(file: MappedFile) -> DiagnosticError:
    """The error about a pickle that ``torch.save`` did not write; it names the code in it, if any."""
    run(Machine(file.data, lambda _: Opaque("storage")), file)
    return file.refuse(
        "is a pickle, but not a checkpoint", "save it with `torch.save(model.state_dict(), path)`"
    )


@dataclass(eq=False, slots=True)
class _Storage:
    """Bytes whose place is known once the pickles have been run."""

    file: MappedFile
    nbytes: int
    width: int
    start: int = -1

    def buffer(self) -> Buffer:
        return memoryview(self.file.data)[self.start : self.start + self.nbytes]


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """A part of a storage, which PyTorch before 0.4 wrote for a view."""

    whole: _Storage
    start: int
    nbytes: int

    def buffer(self) -> Buffer:
        return self.whole.buffer()[self.start : self.start + self.nbytes]


class _Storages:
    """The storages that the pickles refer to, by key."""

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.found: dict[str, _Storage] = {}

    def find(self, pickled: object) -> object:
        """The storage, or the class of a module, that a persistent id stands for."""
        match pickled:
            case ("module", Name() as name, *_):
                return name
            case _:
                dtype, key, numel = typed_storage(pickled)
        known = NUMPY_DTYPES.get(dtype)
        width = known.itemsize if known else _WIDTHS.get(dtype, 1)
        storage = self.found.setdefault(key, _Storage(self.file, numel * width, width))
        match pickled:
            case (_, _, _, _, _, (_, int(first), int(count))) if 0 <= first <= first + count <= numel:
                return TypedStorage(dtype, _Part(storage, first * width, count * width))
            case _:
                return TypedStorage(dtype, storage)

    def place(self, keys: object, position: int) -> None:
        """Finds the data of every storage, in the order of the keys, from a position of the file on."""
        for key in keys if isinstance(keys, list) else []:
            storage = self.found.get(key) if isinstance(key, str) else None
            count = int.from_bytes(self.file.data[position : position + 8], "little")
            if storage is None or storage.start >= 0 or count * storage.width != storage.nbytes:
                raise Malformed("its storages are not those that its tensors refer to")
            storage.start = position + 8
            position = storage.start + storage.nbytes
        for key, storage in self.found.items():
            if not 0 <= storage.start <= self.file.size - storage.nbytes:
                raise Malformed(f"the data of storage {quote(key)} is missing")
