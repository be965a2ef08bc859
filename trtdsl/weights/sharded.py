"""Reads the index of a checkpoint in several files.

{"metadata": {…}, "weight_map": {"embed.weight": "model-00001-of-00002.safetensors", …}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os.path import lexists
from pathlib import Path, PurePosixPath

from trtdsl.diagnostics import Diagnostic, DiagnosticError, counted
from trtdsl.weights.file import Malformed, MappedFile, listing, quote, shown
from trtdsl.weights.safetensors import MAX_HEADER, parse_json
from trtdsl.weights.tensor import LazyTensor

_MOST_MISSING = 20

Reader = Callable[[Path], dict[str, LazyTensor]]


def looks_like_json(data: bytes) -> bool:
    return data.lstrip()[:1] == b"{"


def read_sharded(file: MappedFile, read: Reader) -> dict[str, LazyTensor]:
    """The tensors of all shards in the order of the index; every missing shard is a diagnostic."""
    weight_map = _weight_map(file)
    folder = file.path.parent
    names = list(dict.fromkeys(weight_map.values()))
    if missing := [name for name in names if not lexists(folder / name)]:
        raise DiagnosticError(*_missing(file, names, missing))
    shards = {name: read(folder / name) for name in names}
    absent = [key for key, name in weight_map.items() if key not in shards[name]]
    if absent:
        raise file.refuse(
            f"places {listing(absent)} in shards that do not hold them", "download the shards again"
        )
    return {key: shards[name][key] for key, name in weight_map.items()}


def _missing(file: MappedFile, names: list[str], missing: list[str]) -> Iterator[Diagnostic]:
    """A diagnostic for each shard that is not there, of many for the first ones."""
    listed = counted(len(names), "shard")
    gone = "1 of them is" if len(missing) == 1 else f"{len(missing)} of them are"
    advice = (f"`{shown(file.path)}` lists {listed}; {gone} not beside it",)
    for name in missing[:_MOST_MISSING]:
        yield Diagnostic(f"shard `{shown(file.path.parent / name)}` is missing", help=advice)


def _weight_map(file: MappedFile) -> dict[str, str]:
    """Key to shard's file name, every name known to be one beside the index."""
    try:
        if file.size > MAX_HEADER:
            raise Malformed(f"it has {file.size} bytes")
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
