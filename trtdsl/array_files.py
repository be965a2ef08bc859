"""Arrays in numpy's files, as whoever wrote them left them.

In: a ``.npy`` or a ``.npz`` file.  Out: one array, or several by their names; or what is wrong with the file.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError, cannot_read

Array: TypeAlias = npt.NDArray[Any]


def read_arrays(path: Path) -> Array | dict[str, Array]:
    """What a ``.npy`` or a ``.npz`` file holds, one array or several by name; raises UsageError."""
    try:
        _require_numpy(path)
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        objects = isinstance(error, ValueError) and "pickle" in str(error).lower()
        raise cannot_read(path, "it holds Python's objects, not numbers" if objects else error) from error
    for name, array in arrays.items():
        # Of a file in the archive that is no array, numpy gives the bytes.
        if not isinstance(array, np.ndarray):
            raise cannot_read(path, f"`{name}` in it is not an array")
    return arrays


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
    """The arrays of a file by the names of a model's inputs; a single one may be a ``.npy`` file's."""
    found = read_arrays(path)
    if isinstance(found, dict):
        return found
    if len(names) != 1:
        told = f"`{path}` holds one array, but the model has the inputs {', '.join(names)}"
        raise UsageError(Diagnostic(told, help=("give a .npz file with an array for each",)))
    return {names[0]: found}
