"""Where an engine may be written: known before any work, and never over anything but an engine.

In: the engine's path and the files it is made of.  Out: nothing, or a UsageError about what is in the way::

    require_place("cnn.engine", ["cnn.trtnet", "weights.pth"])
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.trt.manifest import manifest_path

_MANIFEST = re.compile(rb'\s*\{\s*"format"\s*:')
"""How every manifest begins, also one that breaks off and is to be written anew."""


def require_place(engine: Path | str, sources: Collection[Path | str] = ()) -> None:
    """Refuse a place where engine and manifest cannot be written, or where something else would be lost.

    What is there already is overwritten where it is an engine, which is known by the manifest beside it, or
    empty; the files in ``sources`` never are. Raises UsageError.
    """
    engine = Path(engine)
    # Before its manifest is asked for: `.` has no name to which `.json` could be added.
    _require_writable(engine)
    manifest = manifest_path(engine)
    _require_writable(manifest)
    for path in (engine, manifest):
        if any(_same(path, Path(source)) for source in sources):
            raise _cannot_write(path, "the engine is made from it")
    if engine.suffix == ".json":
        raise _cannot_write(engine, "names that end in `.json` are for manifests", "call it `NAME.engine`")
    if _holds_data(manifest) and not _is_manifest(manifest):
        raise _cannot_write(manifest, "it already exists and is not a manifest", _ANOTHER)
    if _holds_data(engine) and not manifest.exists():
        reason = f"it already exists and is not an engine of trtdsl: `{manifest}` is missing"
        raise _cannot_write(engine, reason, _ANOTHER)


_ANOTHER = "choose another name, or delete the file if nobody needs it"


def _require_writable(path: Path) -> None:
    folder = path.parent
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        # A name that is too long, say, or a loop of links.
        raise _cannot_write(path, (error.strerror or str(error)).lower()) from error
    if path.is_dir():
        raise _cannot_write(path, "it is a folder")
    if path.exists() and not path.is_file():
        # A device, say, which a file would replace.
        raise _cannot_write(path, "it is not a regular file")
    if not folder.is_dir():
        raise _cannot_write(path, f"there is no folder `{folder}`")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise _cannot_write(path, "permission denied")


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _holds_data(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _is_manifest(path: Path) -> bool:
    with path.open("rb") as file:
        return _MANIFEST.match(file.read(64)) is not None


def _cannot_write(path: Path, reason: str, *advice: str) -> UsageError:
    return UsageError(Diagnostic(f"cannot write `{path}`: {reason}", help=advice))
