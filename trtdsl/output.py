"""Writing files so that no moment leaves half a one.

In: paths and their bytes.  Out: the files on disk, or a UsageError and the old ones as they were.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from trtdsl.diagnostics import Diagnostic, UsageError


def write_atomically(path: Path | str, data: bytes | memoryview) -> None:
    """Write a file so that at every moment the old one or the new one is whole.

    Raises UsageError where it cannot be written.
    """
    write_together({Path(path): data})


def write_together(files: Mapping[Path, bytes | memoryview]) -> None:
    """Write files that belong together: all are whole on the disk before the first old one is replaced.

    A file that replaces another keeps its permissions.
    Raises UsageError where one cannot be written.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    path = None
    try:
        for path, data in files.items():
            temporary[path].write_bytes(data)
            if path.exists():
                shutil.copymode(path, temporary[path])
        for path in files:
            temporary[path].replace(path)
    except OSError as error:
        raise UsageError(Diagnostic(f"cannot write `{path}`: {error.strerror or error}")) from error
    finally:
        for each in temporary.values():
            with contextlib.suppress(OSError):
                each.unlink(missing_ok=True)
