"""Finds the records of a zip archive without reading them.

In: a mapped file.  Out: each record's name and where its bytes are; those stored without compression
(all that ``torch.save`` writes) are views of the map.  :mod:`zipfile` reads the directory; it is not asked
for the data, which it would copy and sum up, since where they begin stands in the header before them.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import IO, cast

from trtdsl.weights.file import Buffer, Malformed, MappedFile, quote

_LOCAL = struct.Struct("<4s22x2H")  # signature, …, lengths of the name and of the extra field
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

MOST_EXPANSION = 16
"""How many times the size of the file its compressed records may have in all, beyond
:data:`ALWAYS_EXPANDED`. Trained weights hardly shrink; zeros shrink a thousand times."""

ALWAYS_EXPANDED = 2**24


@dataclass(frozen=True, eq=False)
class Record:
    """One record of an archive."""

    file: MappedFile
    entry: zipfile.ZipInfo

    @property
    def nbytes(self) -> int:
        """Its size, decompressed."""
        return self.entry.file_size

    @property
    def is_compressed(self) -> bool:
        return self.entry.compress_type != zipfile.ZIP_STORED

    def buffer(self) -> Buffer:
        """The record's bytes: a view of the map, or of a compressed record a copy, made once."""
        try:
            return self._inflated if self.is_compressed else self._stored()
        except Malformed as error:
            raise self.file.refuse(f"is a broken zip archive: {error}") from None

    def _stored(self) -> memoryview:
        entry, name = self.entry, quote(self.entry.filename)
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise Malformed(f"{name} is encrypted or compressed by an unusual method")
        header = self.file.data[entry.header_offset : entry.header_offset + _LOCAL.size]
        if len(header) < _LOCAL.size or header[:4] != b"PK\3\4":
            raise Malformed(f"no header of {name} stands at byte {entry.header_offset}, where one should")
        _, name_size, extra_size = _LOCAL.unpack(header)
        begin = entry.header_offset + _LOCAL.size + name_size + extra_size
        if begin + entry.compress_size > self.file.size:
            raise Malformed(f"{name} reaches past its end")
        return memoryview(self.file.data)[begin : begin + entry.compress_size]

    @cached_property
    def _inflated(self) -> bytes:
        name, machine = quote(self.entry.filename), zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            result = machine.decompress(self._stored(), self.nbytes + 1)
        except zlib.error as error:
            raise Malformed(f"{name} cannot be decompressed ({error})") from None
        if len(result) != self.nbytes:
            raise Malformed(f"{name} has another size than announced")
        return result


def read_directory(file: MappedFile) -> dict[str, Record]:
    """The records by name, in the order of the archive's directory; ``Malformed`` where it is broken."""
    try:
        with zipfile.ZipFile(cast(IO[bytes], file.data)) as archive:
            entries = archive.infolist()
    # NotImplementedError: the directory asks for a version of the format that is not there.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        text = (
            "its directory, which stands at the end, is missing or broken: the file is truncated or damaged"
        )
        raise Malformed(text) from error
    records: dict[str, Record] = {}
    for entry in entries:
        name = quote(entry.filename)
        if entry.filename in records:
            raise Malformed(f"it holds {name} twice")
        record = records[entry.filename] = Record(file, entry)
        if not record.is_compressed and entry.file_size != entry.compress_size:
            raise Malformed(f"the sizes of {name} contradict each other")
        if entry.header_offset + entry.compress_size > file.size:
            raise Malformed(f"{name} reaches past its end: the file is truncated")
    _require_modest(file, records)
    return records


def _require_modest(file: MappedFile, records: dict[str, Record]) -> None:
    """A few kilobytes must not stand for gigabytes."""
    expanded = sum(record.nbytes for record in records.values() if record.is_compressed)
    if expanded > ALWAYS_EXPANDED + MOST_EXPANSION * file.size:
        raise Malformed(
            f"its {file.size} bytes expand to {expanded}, more than {MOST_EXPANSION} times as many;"
            " torch.save compresses nothing"
        )
