"""Writing files so that no moment leaves half a one.

In: paths and their bytes.  Out: the files on disk, or a UsageError and the old ones as they were.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from trtdsl.diagnostics import Diagnostic, UsageError, reason_of


def write_atomically(path: Path | str, data: bytes | memoryview) -> None:
    """Write a file so that at every moment the old one or the new one is whole.

    Raises UsageError where it cannot be written.
    """
    write_together({Path(path): data})


def write_together(files: Mapping[Path, bytes | memoryview]) -> None:
    """Write files that belong together, in this order: all are whole on the disk before one is replaced.

    A file that replaces another keeps its permissions. A process that is killed while it writes may leave
    temporary files, or some of the files new and others old; the next call removes the first and writes all.
    Raises UsageError where one cannot be written.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    path = None
    try:
        for path, data in files.items():
            _remove_leftovers(path)
            temporary[path].write_bytes(data)
            if path.exists():
                shutil.copymode(path, temporary[path])
        for path in files:
            temporary[path].replace(path)
    except OSError as error:
        raise UsageError(Diagnostic(f"cannot write `{path}`: {reason_of(error)}")) from error
    finally:
        for each in temporary.values():
            with contextlib.suppress(OSError):
                each.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left beside a file."""
    for leftover, process in _temporary_files(path):
        if not _is_running(process):
            # Whoever may not remove it can still write.
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


def _temporary_files(path: Path) -> Iterator[tuple[Path, int]]:
    """The temporary files for a path, each with the process that wrote it."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d{{1,9}})\.tmp")
    for entry in path.parent.iterdir():
        if match := name.fullmatch(entry.name):
            yield entry, int(match[1])


def _is_running(process: int) -> bool:
    if os.name == "nt":
        # Signal 0 would end the process there; but what a process has open cannot be removed.
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # Another user's.
        return True
    return True


def require_writable(path: Path) -> None:
    """Refuse, before the work, a path that no file can be written to."""
    folder = path.parent
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        # A name that is too long, say, or a loop of links.
        raise cannot_write(path, reason_of(error)) from error
    if path.is_dir():
        raise cannot_write(path, "it is a folder")
    if path.exists() and not path.is_file():
        # A device, say, which a file would replace.
        raise cannot_write(path, "it is not a regular file")
    if not folder.is_dir():
        raise cannot_write(path, f"the folder `{folder}` does not exist")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise cannot_write(path, "permission denied")


def require_unread(path: Path, sources: Iterable[Path | str], reason: str) -> None:
    """Refuse to write over one of the files that the result is made from, by whatever path."""
    for source in map(Path, sources):
        if path.exists() and source.exists() and path.samefile(source):
            raise cannot_write(path, reason)


def cannot_write(path: Path, reason: str, *advice: str) -> UsageError:
    """The error of a path that is not to be written."""
    return UsageError(Diagnostic(f"cannot write `{path}`: {reason}", help=advice))


def show_size(size: int) -> str:
    """``1.5 MB`` or ``21.3 kB``."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
