"""Finds the records of a zip archive without reading them.

In: a mapped file.  Out: each record's name and where its bytes are; those stored without compression
(all that ``torch.save`` writes) are views of the map.  ``zipfile`` would check CRCs, hence read all data,
and its import alone takes longer than opening a checkpoint here.  Layout: PKWARE APPNOTE 6.3.10, §4.3-4.5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from trtdsl.weights.file import Buffer, Malformed, MappedFile, quote

_END = struct.Struct("<4s4H2LH")  # signature, disks, counts, directory's size and offset, comment length
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1
_LONGEST_COMMENT = 0xFFFF
_DEFLATE_RATIO = 1032  # deflate cannot expand more than this, so a larger size is a lie


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """One record; ``nbytes`` counts it decompressed, ``offset`` is where its local header begins."""

    file: MappedFile
    name: str
    method: int
    flags: int
    compressed: int
    nbytes: int
    offset: int

    def buffer(self) -> Buffer:
        """The record's bytes: a view of the map, or for a compressed record a copy."""
        try:
            return self._buffer()
        except Malformed as error:
            raise self.file.refuse(f"is a broken zip archive: {error}") from None

    def _buffer(self) -> Buffer:
        if self.flags & _ENCRYPTED or self.method not in (_STORED, _DEFLATED):
            raise Malformed(f"{quote(self.name)} is encrypted or compressed by an unusual method")
        header = _unpack(_LOCAL, self.file, self.offset, b"PK\3\4")
        begin = self.offset + _LOCAL.size + header[-2] + header[-1]
        if begin + self.compressed > self.file.size:
            raise Malformed(f"{quote(self.name)} reaches past its end")
        data = memoryview(self.file.data)[begin : begin + self.compressed]
        return data if self.method == _STORED else _inflate(data, self.nbytes, self.name)


def read_directory(file: MappedFile) -> dict[str, Record]:
    """The records by name, in the order of the archive's directory; ``Malformed`` where it is broken."""
    count, size, offset = _find_directory(file)
    end = offset + size
    if end > file.size:
        raise Malformed("its directory reaches past its end")
    records: dict[str, Record] = {}
    while offset < end:
        record, offset = _entry(file, offset, end)
        if record.name in records:
            raise Malformed(f"it holds {quote(record.name)} twice")
        records[record.name] = record
    if len(records) != count:
        raise Malformed(f"its directory lists {len(records)} records where {count} were announced")
    return records


def _find_directory(file: MappedFile) -> tuple[int, int, int]:
    """The directory's number of entries, size in bytes and offset, from the archive's last bytes."""
    at = file.data.rfind(b"PK\5\6", max(0, file.size - _END.size - _LONGEST_COMMENT))
    if at < 0 or at + _END.size > file.size:
        raise Malformed("its directory, which stands at the end, is missing: the file is truncated")
    *_, count, size, offset, _comment = _unpack(_END, file, at, b"PK\5\6")
    locator = at - _END64_LOCATOR.size
    if locator < 0 or file.data[locator : locator + 4] != b"PK\6\7":
        return count, size, offset
    _, _, at64, _ = _unpack(_END64_LOCATOR, file, locator, b"PK\6\7")
    *_, count, size, offset = _unpack(_END64, file, at64, b"PK\6\6")
    return count, size, offset


def _entry(file: MappedFile, at: int, end: int) -> tuple[Record, int]:
    """The directory entry at an offset, and where the next one begins."""
    fields = _unpack(_ENTRY, file, at, b"PK\1\2")
    _, _, _, flags, method, _, _, _, compressed, nbytes, name_size, extra_size, comment_size, *_, offset = (
        fields
    )
    name_end = at + _ENTRY.size + name_size
    extra_end = name_end + extra_size
    if extra_end + comment_size > end:
        raise Malformed("its directory breaks off")
    name = file.data[at + _ENTRY.size : name_end].decode("utf-8", "replace")
    if 0xFFFFFFFF in (nbytes, compressed, offset):
        nbytes, compressed, offset = _zip64(file.data[name_end:extra_end], nbytes, compressed, offset)
    if (method == _STORED and nbytes != compressed) or nbytes > _DEFLATE_RATIO * (compressed + 1):
        raise Malformed(f"the sizes of {quote(name)} contradict each other")
    if offset + compressed > file.size:
        raise Malformed(f"{quote(name)} reaches past its end: the file is truncated")
    return Record(file, name, method, flags, compressed, nbytes, offset), extra_end + comment_size


def _zip64(extra: bytes, *values: int) -> list[int]:
    """The 64-bit values, from the extra field, of those that did not fit into 32 bits."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        body, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind != 1:
            continue
        wide = iter(struct.unpack(f"<{len(body) // 8}Q", body[: len(body) // 8 * 8]))
        full = [next(wide, -1) if value == 0xFFFFFFFF else value for value in values]
        if -1 not in full:
            return full
    raise Malformed("a large record's size is missing")


def _unpack(layout: struct.Struct, file: MappedFile, at: int, signature: bytes) -> tuple[int, ...]:
    """The fields of a header that must begin with a signature."""
    if at + layout.size > file.size or file.data[at : at + 4] != signature:
        raise Malformed(f"no header stands at byte {at}, where one should")
    return layout.unpack_from(file.data, at)


def _inflate(data: Buffer, nbytes: int, name: str) -> bytes:
    import zlib

    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        result = machine.decompress(data, nbytes + 1)
    except zlib.error as error:
        raise Malformed(f"{quote(name)} cannot be decompressed ({error})") from None
    if len(result) != nbytes:
        raise Malformed(f"{quote(name)} has another size than announced")
    return result
