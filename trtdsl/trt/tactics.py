"""The libraries that TensorRT 8 takes kernels from, and whether this machine has them.

In: the file names of libraries.  Out: for each tactic source of TensorRT that needs one (``CUBLAS``), why it
cannot be used; nothing where it can::

    unusable()          # {"CUDNN": "`libcudnn.so.8` cannot be loaded: …"}

TensorRT before 9 looks for these libraries when it builds, and fails, or ends the process, where it was
allowed to use one that is missing. It asks each for its version first, as is done here.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Library:
    """A library of NVIDIA's: what people call it, the ``stem`` of its file name, and a function it has."""

    name: str
    stem: str
    function: str


@dataclass(frozen=True)
class Lack:
    """Why a library cannot be used; a stand-in, which lets TensorRT be imported, may end the process."""

    reason: str
    is_stand_in: bool = False

    def __str__(self) -> str:
        return self.reason


LIBRARIES: Mapping[str, Library] = {
    "CUBLAS": Library("cuBLAS", "cublas", "cublasGetProperty"),
    "CUBLAS_LT": Library("cuBLASLt", "cublasLt", "cublasLtGetProperty"),
    "CUDNN": Library("cuDNN", "cudnn", "cudnnGetProperty"),
}
"""By the tactic source that needs it. The functions are those of which TensorRT 8.5.3 asks the version."""

_NUMBERS: Mapping[str, str] = {"cublas": "11", "cublasLt": "11", "cudnn": "8"}
"""The releases that TensorRT 8.5 is linked against, where that cannot be read off its own file."""

_NEEDED = re.compile(rb"\0lib(cublas|cublasLt|cudnn)\.so\.(\d+)(?=\0)")
_MAPPED = Path("/proc/self/maps")
_PLUGINS = "libnvinfer_plugin.so"
"""The one of TensorRT's libraries that is linked against all three."""


def unusable(names: Mapping[str, str] | None = None) -> dict[str, Lack]:
    """Why a tactic source cannot be used, for those that cannot.

    ``names`` are the file names of the libraries by their stem; by default those that the TensorRT in this
    process is linked against.
    """
    names = file_names() if names is None else names
    found = {source: _lack(library, names[library.stem]) for source, library in LIBRARIES.items()}
    return {source: lack for source, lack in found.items() if lack}


def _lack(library: Library, name: str) -> Lack | None:
    try:
        loaded = ctypes.CDLL(name)
    except OSError as error:
        return Lack(f"`{name}` cannot be loaded: {error}")
    if not hasattr(loaded, library.function):
        reason = f"`{name}` is not NVIDIA's {library.name}: it has no `{library.function}`"
        return Lack(reason, is_stand_in=True)
    return None


def file_names() -> dict[str, str]:
    """The file name of each library by its stem, ``{"cublas": "libcublas.so.11", …}``."""
    numbers = {**_NUMBERS, **linked_numbers(_mapped_files())}
    pattern = "{}64_{}.dll" if sys.platform == "win32" else "lib{}.so.{}"
    return {stem: pattern.format(stem, number) for stem, number in numbers.items()}


def linked_numbers(files: Iterable[Path]) -> dict[str, str]:
    """The release of each library that the TensorRT among these files is linked against."""
    found: dict[str, str] = {}
    for path in files:
        if not path.name.startswith(_PLUGINS):
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found |= {match[1].decode(): match[2].decode() for match in _NEEDED.finditer(data)}
    return found


def _mapped_files() -> list[Path]:
    """The files of this process's memory, on Linux."""
    try:
        lines = _MAPPED.read_text(errors="replace").splitlines()
    except OSError:
        return []
    # address, permissions, offset, device, inode, path
    fields = (line.split(maxsplit=5) for line in lines)
    return [Path(path) for path in dict.fromkeys(entry[5] for entry in fields if len(entry) == 6)]
