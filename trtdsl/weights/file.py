"""A file on disk, mapped into memory, and the words for what is wrong with it.

In: a path.  Out: a :class:`MappedFile`, whose bytes are read from disk only where they are touched.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from trtdsl.diagnostics import Diagnostic, DiagnosticError, cannot_read, nearest

Buffer = memoryview | bytes

_QUOTE_LENGTH = 120
_PATH_LENGTH = 400
_MOST_ENTRIES = 5000  # of a folder that are compared with a name


class Malformed(Exception):
    """What a reader found wrong; the reader's entry point adds the file and raises a diagnostic."""


@dataclass(frozen=True, eq=False)
class MappedFile:
    """A regular, non-empty file; ``data`` is its read-only map."""

    path: Path
    data: mmap.mmap

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return len(self.data)

    def refuse(self, what: str, *advice: str) -> DiagnosticError:
        """The error to raise: "`path` ``what``", with lines of advice."""
        return refuse(self.path, what, *advice)


@dataclass(frozen=True, eq=False, slots=True)
class Extent:
    """Bytes ``start`` to ``start + nbytes`` of a file: a storage that is never copied."""

    file: MappedFile
    start: int
    nbytes: int

    def buffer(self) -> Buffer:
        return memoryview(self.file.data)[self.start : self.start + self.nbytes]


def release_pages(arrays: Iterable[np.ndarray[Any, Any]]) -> None:
    """Give the memory of the files behind these arrays back to the system, until they are read again.

    The arrays stay valid: a page that is needed once more comes from the system's cache or the disk.
    Arrays that view no mapped file are left alone, and so is everything where the system has no `madvise`.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    maps = {id(found): found for array in arrays if (found := _map_behind(array)) is not None}
    for found in maps.values():
        found.madvise(mmap.MADV_DONTNEED)


def _map_behind(array: np.ndarray[Any, Any]) -> mmap.mmap | None:
    """The file map that an array views, or None where it has memory of its own."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = cast(Any, base.base)
    source = base.obj if isinstance(base, memoryview) else base
    return source if isinstance(source, mmap.mmap) else None


def refuse(path: Path, what: str, *advice: str) -> DiagnosticError:
    """The error to raise about a file that may not even exist: "`path` ``what``"."""
    return DiagnosticError(Diagnostic(f"`{shown(path)}` {what}", help=advice))


def shown(path: Path) -> str:
    """A path as it is printed: its beginning and end where it is longer than a few lines."""
    text = str(path)
    if len(text) <= _PATH_LENGTH:
        return text
    return f"{text[: _PATH_LENGTH // 2]}…{text[-_PATH_LENGTH // 2 :]}"


def printable(text: str) -> str:
    """Text from a file that nobody vouches for, made fit to print: one short line, no control characters."""
    clipped = text if len(text) <= _QUOTE_LENGTH else text[:_QUOTE_LENGTH] + "…"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in clipped)


def quote(text: str) -> str:
    """A name from such a file, made fit to print, in backticks."""
    return f"`{printable(text)}`"


def listing(names: list[str], limit: int = 5) -> str:
    """The first few names, quoted, and how many more there are."""
    shown = ", ".join(quote(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def open_file(path: Path) -> MappedFile:
    """Maps a file; an empty one is a ``DiagnosticError``, one that is missing, a folder or unreadable a
    ``UsageError``."""
    try:
        if path.is_dir():
            raise cannot_read(shown(path), "is a directory", *_inside(path))
        if path.exists() and not path.is_file():
            raise cannot_read(shown(path), "it is not a regular file, and cannot be mapped into memory")
        with path.open("rb") as handle:
            if path.stat().st_size == 0:
                raise refuse(path, "is empty (0 bytes)", "download or save the checkpoint again")
            return MappedFile(path, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise cannot_read(shown(path), "no such file", *_neighbours(path)) from None
    except OSError as error:
        raise cannot_read(shown(path), error) from error
    except ValueError as error:  # a NUL in the path, or a file that shrank to nothing before it was mapped
        raise cannot_read(shown(path), error) from error


def _inside(folder: Path) -> tuple[str, ...]:
    """Which file of a folder was probably meant: the index of a sharded checkpoint before a shard."""
    found = sorted(
        entry
        for pattern in ("*.index.json", "*.safetensors", "*.pt*", "*.bin")
        for entry in _entries(folder)
        if entry.match(pattern)
    )
    indexes = [entry for entry in found if entry.name.endswith(".index.json")]
    return tuple(f"did you mean `{entry}`?" for entry in (indexes or found)[:1])


def _neighbours(path: Path) -> tuple[str, ...]:
    """The checkpoint beside a missing one whose name is most like it."""
    if not path.parent.is_dir():
        return (f"the folder `{path.parent}` does not exist",)
    found = nearest(path.name, (entry.name for entry in _entries(path.parent) if entry.is_file()))
    return (f"did you mean `{path.with_name(found)}`?",) if found else ()


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, as far as it can be read."""
    with suppress(OSError):
        return list(islice(folder.iterdir(), _MOST_ENTRIES))
    return []
