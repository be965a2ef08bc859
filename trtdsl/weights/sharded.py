"""Reads the index of a checkpoint in several files.

{"metadata": {…}, "weight_map": {"embed.weight": "model-00001-of-00002.safetensors", …}}
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.weights.file import Malformed, MappedFile, listing, quote
from trtdsl.weights.safetensors import parse_json
from trtdsl.weights.tensor import LazyTensor

Reader = Callable[[Path], dict[str, LazyTensor]]


def looks_like_json(data: bytes) -> bool:
    return data.lstrip()[:1] == b"{"


def read_sharded(file: MappedFile, read: Reader) -> dict[str, LazyTensor]:
    """The tensors of all shards in the order of the index; every missing shard is a diagnostic."""
    weight_map = _weight_map(file)
    folder = file.path.parent
    names = list(dict.fromkeys(weight_map.values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        advice = (f"`{file.path}` lists {len(names)} shards; {len(missing)} of them are not beside it",)
        raise DiagnosticError(
            *(Diagnostic(f"shard `{folder / name}` is missing", help=advice) for name in missing)
        )
    shards = {name: read(folder / name) for name in names}
    absent = [key for key, name in weight_map.items() if key not in shards[name]]
    if absent:
        raise file.refuse(
            f"places {listing(absent)} in shards that do not hold them", "download the shards again"
        )
    return {key: shards[name][key] for key, name in weight_map.items()}


def _weight_map(file: MappedFile) -> dict[str, str]:
    """Key to shard's file name, every name known to be one beside the index."""
    try:
        index = parse_json(file.data[:])
    except Malformed as error:
        raise file.refuse(f"is neither a checkpoint nor the index of one: {error}") from None
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise file.refuse(
            "is JSON, but not the index of a checkpoint: it has no `weight_map` of keys to files"
        )
    for name in weight_map.values():
        if "\0" in name or name in ("", "..") or PurePosixPath(name).name != name:
            raise file.refuse(f"names the shard {quote(name)}, which is not a file beside it")
    return weight_map
