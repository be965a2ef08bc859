"""Reads what ``torch.save`` writes since PyTorch 1.6: a zip archive of a pickle and raw storages.

    weights/data.pkl   weights/byteorder   weights/data/0   weights/data/1   …   weights/version

The pickle runs on :mod:`trtdsl.weights.torch_pickle`, the storages stay where they are: a tensor is a
strided view of the mapped file.
"""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

from trtdsl.weights.file import Malformed, MappedFile, quote
from trtdsl.weights.tensor import NUMPY_DTYPES
from trtdsl.weights.torch_objects import TypedStorage, storage_dtype
from trtdsl.weights.torch_pickle import Machine, describe_refusal
from trtdsl.weights.zip_archive import Record, read_directory

ALWAYS_RUN = 2**21
"""Bytes of a pickle that are run in any case, in about two seconds."""


def read_torch_zip(file: MappedFile) -> object:
    """The saved object, its tensors lazy; another zip archive, or one with code, is a ``DiagnosticError``."""
    try:
        records = read_directory(file)
    except Malformed as error:
        raise file.refuse(
            f"is a broken zip archive: {error}", "download or save the checkpoint again"
        ) from None
    root = _archive_name(file, records)
    if (order := records.get(f"{root}byteorder")) and bytes(order.buffer()) != b"little":
        raise file.refuse(
            "was not saved on a little-endian machine", "load and save it again on this machine"
        )
    pickled = records[f"{root}data.pkl"]
    if pickled.nbytes > max(file.size, ALWAYS_RUN):
        raise file.refuse(
            f"has a pickle of {pickled.nbytes} bytes compressed into a file of {file.size}",
            f"a compressed pickle may be as large as the file, or have {ALWAYS_RUN} bytes",
        )
    return run(Machine(BytesIO(pickled.buffer()), _Storages(records, f"{root}data/").find), file)


def run(machine: Machine, file: MappedFile) -> object:
    """The object of a pickle; forbidden names are reported even where the pickle breaks off after them."""
    broken = ""
    result = None
    try:
        result = machine.run()
    except Malformed as error:
        broken = str(error)
    if machine.refused:
        what, advice = describe_refusal(machine)
        raise file.refuse(what, *advice)
    if broken:
        raise file.refuse(f"is a broken checkpoint: {broken}", "download or save it again")
    return result


def typed_storage(pickled: object) -> tuple[str, str, int]:
    """Dtype, key and size in elements from ``("storage", torch.FloatStorage, "0", "cpu", 1024, …)``."""
    match pickled:
        case ("storage", kind, str(key), str(), int(numel), *_) if numel >= 0:
            return storage_dtype(kind), key, numel
        case _:
            raise Malformed("a storage's record does not have the form torch.save writes")


class _Storages(NamedTuple):
    """The archive's records, and the folder within it that holds the storages."""

    records: dict[str, Record]
    folder: str

    def find(self, pickled: object) -> object:
        dtype, key, numel = typed_storage(pickled)
        record = self.records.get(self.folder + key)
        if record is None:
            raise Malformed(f"the data of storage {quote(key)} is missing")
        known = NUMPY_DTYPES.get(dtype)
        if known is not None and numel * known.itemsize > record.nbytes:
            raise Malformed(
                f"storage {quote(key)} should hold {quote(dtype)} × {numel}, but has {record.nbytes} bytes"
            )
        return TypedStorage(dtype, record)


def _archive_name(file: MappedFile, records: dict[str, Record]) -> str:
    """The folder, with its slash, that all records of a torch archive share."""
    roots = [name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl")]
    roots = [root for root in roots if root.count("/") == 1]
    if len(roots) == 1:
        if f"{roots[0]}constants.pkl" in records:
            raise file.refuse("is a TorchScript archive, which is a program", _SAVE_STATE_DICT)
        return roots[0]
    if any(name.endswith(".npy") for name in records):
        raise file.refuse(
            "is a numpy .npz archive, not a checkpoint", "save it with safetensors.numpy.save_file"
        )
    if any(
        name.rpartition("/")[2] in ("archive_format", "serialized_exported_program.json") for name in records
    ):
        raise file.refuse("is an exported program (torch.export)", _SAVE_STATE_DICT)
    raise file.refuse("is a zip archive, but not a checkpoint that torch.save wrote", _SAVE_STATE_DICT)


_SAVE_STATE_DICT = "save the weights alone: `torch.save(module.state_dict(), path)`"
