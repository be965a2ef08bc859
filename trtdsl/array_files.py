"""Arrays in numpy's files, as whoever wrote them left them.

In: a ``.npy`` or a ``.npz`` file.  Out: one array, or several by their names; or what is wrong with the file.
Their numbers are in memory, or stay in the file until they are asked for.
"""

from __future__ import annotations

import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError, cannot_read

Array: TypeAlias = npt.NDArray[Any]


Found: TypeAlias = "Array | dict[str, Array]"


def read_arrays(path: Path) -> Found:
    """What a ``.npy`` or a ``.npz`` file holds, one array or several by name; raises UsageError."""
    return _checked(path, _read)


def map_arrays(path: Path) -> Found:
    """The same, read-only, with the numbers left in the file.

    Those of a compressed archive are unpacked into a temporary file. Whatever is wrong with the file is found
    now, for which it is read once.
    """
    return _checked(path, _mapped)


def _checked(path: Path, read: Callable[[Path], Any]) -> Found:
    try:
        _require_numpy(path)
        found = read(path)
    except (
        *(OSError, ValueError, EOFError, MemoryError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error, struct.error),
    ) as error:
        objects = isinstance(error, ValueError) and "pickle" in str(error).lower()
        raise cannot_read(path, "it holds Python's objects, not numbers" if objects else error) from error
    arrays: dict[str, Any] = found if isinstance(found, dict) else {}
    for name, array in arrays.items():
        # Of a file in the archive that is no array, numpy gives the bytes.
        if not isinstance(array, np.ndarray):
            raise cannot_read(path, f"`{name}` in it is not an array")
    return found


def _read(path: Path) -> Any:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    with found:
        return {name: found[name] for name in found.files}


# --- In the file -------------------------------------------------------------------------------------------


def _mapped(path: Path) -> Any:
    with path.open("rb") as file:
        if file.read(len(_NPY)) == _NPY:
            return _mapped_array(file, 0, path.stat().st_size)
        with zipfile.ZipFile(file) as archive:
            return {
                info.filename.removesuffix(".npy"): _mapped_member(file, archive, info)
                for info in archive.infolist()
            }


def _mapped_member(file: IO[bytes], archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    """An array of an archive, where it lies in that, or unpacked."""
    stored = info.compress_type == zipfile.ZIP_STORED
    with archive.open(info) as member, tempfile.TemporaryFile() as unpacked:
        # Reading to the end holds the bytes against the archive's checksum.
        while part := member.read(_AT_ONCE):
            if not stored:
                unpacked.write(part)
        if not stored:
            unpacked.flush()
            return _mapped_array(unpacked, 0, info.file_size)
    file.seek(info.header_offset)
    *_, name, extra = struct.unpack("<4s5H3I2H", file.read(_LOCAL_HEADER))
    return _mapped_array(file, info.header_offset + _LOCAL_HEADER + name + extra, info.file_size)


def _mapped_array(file: IO[bytes], start: int, size: int) -> Any:
    """The array whose file is so many bytes from a place on; what is not an array is returned as bytes."""
    file.seek(start)
    head = file.read(len(_NPY))
    if head != _NPY:
        return head
    file.seek(start)
    readers: dict[Any, Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"numpy's format {'.'.join(map(str, version))} is for arrays with named fields")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("it is a pickle")
    length = math.prod(shape) * dtype.itemsize
    if file.tell() + length > start + size:
        raise ValueError(f"it has {start + size - file.tell()} bytes of the {length} of {dtype}{[*shape]}")
    order = "F" if fortran else "C"
    if not length:
        return np.empty(shape, dtype, order)
    return np.memmap(file, dtype, "r", file.tell(), shape, order).view(np.ndarray)


_LOCAL_HEADER = 30
"""Bytes of what stands before a file in an archive, beside its name and further fields."""

_AT_ONCE = 2**20
"""Bytes of a file that are read at a time."""


def _require_numpy(path: Path) -> None:
    """Refuse what numpy did not write, before numpy takes it for a pickle."""
    if path.exists() and not path.is_file():
        # Reading a pipe or a device need never end.
        raise cannot_read(path, "is a directory" if path.is_dir() else "it is not a regular file")
    with path.open("rb") as file:
        head = file.read(len(_NPY))
    if not head.startswith((_NPY, *_ZIP)):
        raise cannot_read(path, "it is not a .npy or .npz file of numpy" if head else "it is empty")


_NPY = b"\x93NUMPY"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""How a ``.npy`` file begins, and a ``.npz`` file: an archive with files, or an empty one."""


def read_named(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """The arrays of a file by the names of a model's inputs, in the file; a single one may be a ``.npy``
    file's."""
    found = map_arrays(path)
    if isinstance(found, dict):
        return found
    if len(names) != 1:
        told = f"`{path}` holds one array, but the model has the inputs {', '.join(names)}"
        raise UsageError(Diagnostic(told, help=("give a .npz file with an array for each",)))
    return {names[0]: found}
