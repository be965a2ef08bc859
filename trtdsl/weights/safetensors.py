"""Reads ``.safetensors``: a length, a JSON header, then the tensors' bytes.

    <8 bytes: length> {"fc.weight": {"dtype": "F32", "shape": [10, 128], "data_offsets": [0, 5120]}, …} …

The format's own library checks the file (lengths agree with shapes, no overlap, no hole, nothing after the
last tensor); the header's offsets say where the data is in the map. The library is not asked for the data:
it would copy it, and has no float8 for numpy.
"""

from __future__ import annotations

from typing import Any

from trtdsl.json_object import NotAnObject, json_object
from trtdsl.weights.file import Extent, Malformed, MappedFile, printable, quote
from trtdsl.weights.tensor import LazyTensor, contiguous

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

_NOT_IN_EVERY_RELEASE = {"F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"}


def looks_like_safetensors(data: bytes) -> bool:
    """Whether a file that begins with ``data`` has a header's length and its opening brace."""
    return data[8:9] == b"{" and 2 <= int.from_bytes(data[:8], "little") <= MAX_HEADER


def read_safetensors(file: MappedFile) -> dict[str, LazyTensor]:
    """The tensors in the order of the header, and those that the file says are the same as one of them.

    A broken file is a ``DiagnosticError``.
    """
    end = 8 + int.from_bytes(file.data[:8], "little")
    try:
        if end > file.size:
            raise Malformed(f"its header needs {end} bytes, but the file has {file.size}")
        refusal = _refusal(file)
        entries = _entries(file.data[8:end], refusal)
        metadata = entries.pop("__metadata__", None)
        if refusal and not _is_newer(entries):
            raise Malformed(_missing_bytes(entries, file.size - end) or refusal)
        tensors = {name: _tensor(name, entry, file, end) for name, entry in entries.items()}
        return {**tensors, **_tied(metadata, tensors)}
    except Malformed as error:
        raise file.refuse(
            f"is a broken or truncated safetensors file: {error}", "download or save it again"
        ) from None


def parse_json(text: bytes) -> dict[str, Any]:
    """A JSON object without repeated keys; anything else is ``Malformed``."""
    try:
        return json_object(text, _unique)
    except NotAnObject as error:
        raise Malformed(str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Malformed(f"the key {quote(name)} occurs twice")
        found[name] = value
    return found


def _refusal(file: MappedFile) -> str:
    """What the library says against the file, or nothing."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file.path, framework="numpy"):
            return ""
    except (SafetensorError, OSError) as error:
        return printable(str(error).removeprefix("Error while deserializing header: "))


def _entries(header: bytes, refusal: str) -> dict[str, Any]:
    """The header; where it cannot be read, the library's word for that is the better one."""
    try:
        return parse_json(header)
    except Malformed as error:
        raise Malformed(refusal or str(error)) from None


def _is_newer(entries: dict[str, Any]) -> bool:
    """Whether a header has dtypes that the installed library need not know.

    Then what it says against the file decides nothing: the other tensors may be good, and each is known to
    lie inside the file.
    """
    known = _TORCH_NAMES.keys() - _NOT_IN_EVERY_RELEASE
    dtypes = [entry.get("dtype") for entry in entries.values() if isinstance(entry, dict)]
    return any(isinstance(dtype, str) and dtype not in known for dtype in dtypes)


def _missing_bytes(entries: dict[str, Any], held: int) -> str:
    """What to say of a file that ends before its tensors do."""
    needed = 0
    for entry in entries.values():
        match entry:
            case {"data_offsets": [int(), int(stop)]}:
                needed = max(needed, stop)
            case _:
                pass
    return f"the tensors have {needed} bytes, but the file holds {held}" if needed > held else ""


def _tensor(name: str, entry: object, file: MappedFile, begin: int) -> LazyTensor:
    """One entry of a header, its offsets counted from byte ``begin`` of the file."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if (
            0 <= start <= stop <= file.size - begin
        ):
            extent = Extent(file, begin + start, stop - start)
            return contiguous(_TORCH_NAMES.get(dtype, dtype), shape, extent)
        case _:
            raise Malformed(f"the header's entry of {quote(name)} describes no tensor inside the file")


def _tied(metadata: object, tensors: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Keys that ``safetensors.torch.save_model`` left out: the metadata names the equal one that it kept."""
    entries = metadata.items() if isinstance(metadata, dict) else ()
    return {
        key: tensors[kept]
        for key, kept in entries
        if key not in tensors and isinstance(kept, str) and kept in tensors
    }
