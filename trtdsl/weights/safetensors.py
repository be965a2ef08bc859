"""Reads ``.safetensors``: a length, a JSON header, then the tensors' bytes.

    <8 bytes: length> {"fc.weight": {"dtype": "F32", "shape": [10, 128], "data_offsets": [0, 5120]}, …} …

The header is checked as strictly as the format's own library does (lengths agree with shapes, no
overlap, no hole, nothing behind the last tensor), and the data is mapped, never read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any

from trtdsl.weights.file import Extent, Malformed, MappedFile, quote
from trtdsl.weights.tensor import MAX_RANK, NUMPY_DTYPES, LazyTensor, contiguous_strides, strided

# The library's limit on a header.
MAX_HEADER = 100_000_000

_TORCH_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "C64": "complex64",
}


def looks_like_safetensors(data: bytes) -> bool:
    """Whether a file that begins with ``data`` has a header's length and its opening brace."""
    return data[8:9] == b"{" and 2 <= int.from_bytes(data[:8], "little") <= MAX_HEADER


def read_safetensors(file: MappedFile) -> dict[str, LazyTensor]:
    """The tensors in the order of the header; a broken file is a ``DiagnosticError``."""
    try:
        end = 8 + int.from_bytes(file.data[:8], "little")
        if end > file.size:
            raise Malformed(f"its header needs {end} bytes, but the file has {file.size}")
        entries = parse_json(file.data[8:end])
        entries.pop("__metadata__", None)
        return _tensors(entries, file, end)
    except Malformed as error:
        raise file.refuse(
            f"is a broken or truncated safetensors file: {error}", "download or save it again"
        ) from None


def parse_json(text: bytes) -> dict[str, Any]:
    """A JSON object without repeated keys; anything else is ``Malformed``."""
    try:
        parsed = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is not valid JSON ({error})") from None
    if not isinstance(parsed, dict):
        raise Malformed("it is not a JSON object")
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Malformed(f"the key {quote(name)} occurs twice")
        found[name] = value
    return found


def _tensors(entries: dict[str, Any], file: MappedFile, begin: int) -> dict[str, LazyTensor]:
    """Every entry's tensor, once the data ranges are known to tile the rest of the file."""
    headers = {name: _header(name, entry) for name, entry in entries.items()}
    position = 0
    for name, header in sorted(headers.items(), key=lambda item: (item[1].start, item[1].stop)):
        if header.start != position:
            raise Malformed(f"{quote(name)} begins at byte {header.start} of the data, not at {position}")
        position = header.stop
    if position != file.size - begin:
        raise Malformed(f"the tensors have {position} bytes, but the file holds {file.size - begin}")
    return {name: _tensor(name, header, file, begin) for name, header in headers.items()}


@dataclass(frozen=True, slots=True)
class _Header:
    """What the header says of one tensor; ``start`` and ``stop`` count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def _header(name: str, entry: object) -> _Header:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [start, stop]} if (
            len(shape) <= MAX_RANK
        ):
            sizes_are_sane = all(
                type(number) is int and 0 <= number < 2**62 for number in (*shape, start, stop)
            )
            if sizes_are_sane and start <= stop:
                return _Header(_TORCH_NAMES.get(dtype, dtype), tuple(shape), start, stop)
        case _:
            pass
    raise Malformed(f"the header's entry of {quote(name)} describes no tensor")


def _tensor(name: str, header: _Header, file: MappedFile, begin: int) -> LazyTensor:
    known = NUMPY_DTYPES.get(header.dtype)
    size = header.stop - header.start
    if known is not None and prod(header.shape) * known.itemsize != size:
        raise Malformed(f"{quote(name)} is {header.dtype} {list(header.shape)} but has {size} bytes")
    extent = Extent(file, begin + header.start, size)
    return strided(header.dtype, header.shape, contiguous_strides(header.shape), 0, extent)
