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

from trtdsl.diagnostics import Diagnostic, UsageError

Array: TypeAlias = npt.NDArray[Any]


def read_arrays(path: Path) -> Array | dict[str, Array]:
    """What a ``.npy`` or a ``.npz`` file holds, one array or several by name; raises UsageError."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")  # reading a pipe or a device need never end
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(
            Diagnostic(f"cannot read `{path}`: {getattr(error, 'strerror', None) or error}")
        ) from error
    for name, array in arrays.items():
        # Of a file in the archive that is no array, numpy gives the bytes.
        if not isinstance(array, np.ndarray):
            raise UsageError(Diagnostic(f"cannot read `{path}`: `{name}` in it is not an array"))
    return arrays


def read_named(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """The arrays of a file by the names of a model's inputs; a single one may be a ``.npy`` file's."""
    found = read_arrays(path)
    if isinstance(found, dict):
        return found
    if len(names) != 1:
        told = f"`{path}` holds one array, but the model has the inputs {', '.join(names)}"
        raise UsageError(Diagnostic(told, help=("give a .npz file with an array for each",)))
    return {names[0]: found}
