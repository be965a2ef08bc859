"""Where an engine may be written: known before any work, and never over anything but an engine.

In: the engine's path and the files it is made of.  Out: nothing, or a UsageError about what is in the way::

    require_place("cnn.engine", ["cnn.trtnet", "weights.pth"])
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from trtdsl.output import cannot_write, require_unread, require_writable
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
    require_writable(engine)
    manifest = manifest_path(engine)
    require_writable(manifest)
    for path in (engine, manifest):
        require_unread(path, sources, "the engine is made from it")
    if engine.suffix == ".json":
        raise cannot_write(engine, "names that end in `.json` are for manifests", "call it `NAME.engine`")
    if _holds_data(manifest) and not _is_manifest(manifest):
        raise cannot_write(manifest, "it already exists and is not a manifest", _ANOTHER)
    if _holds_data(engine) and not manifest.exists():
        reason = f"it already exists and is not an engine of trtdsl: `{manifest}` is missing"
        raise cannot_write(engine, reason, _ANOTHER)


_ANOTHER = "choose another name, or delete the file if nobody needs it"


def _holds_data(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _is_manifest(path: Path) -> bool:
    with path.open("rb") as file:
        return _MANIFEST.match(file.read(64)) is not None
