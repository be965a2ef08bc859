"""Opens a checkpoint of any supported format and presents it as one lazy mapping.

In: ``weights.pth``, ``.pt``, ``.bin``, ``.safetensors``, or a sharded checkpoint's ``*.index.json``; the
format is known by the file's first bytes, never by its name.  Out: :class:`Checkpoint`::

    >>> weights = load_checkpoint("resnet18.pth")
    >>> weights.shape("fc.weight"), weights.dtype("fc.weight")     # nothing is read
    ((1000, 512), dtype('float32'))
    >>> weights["fc.weight"]                                       # a read-only view of the mapped file
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, DiagnosticError, counted
from trtdsl.weights.file import MappedFile, open_file, quote, refuse
from trtdsl.weights.safetensors import looks_like_safetensors, read_safetensors
from trtdsl.weights.sharded import looks_like_json, read_sharded
from trtdsl.weights.state_dict import TOOK, StateDict, find_state_dict, strip
from trtdsl.weights.tensor import NUMPY_DTYPES, LazyTensor

Format = Literal["safetensors", "torch zip", "torch legacy", "sharded"]


@dataclass(frozen=True, eq=False)
class Checkpoint(Mapping[str, "np.ndarray[Any, Any]"]):
    """State-dict keys and their tensors, read when asked for.

    ``section`` is the dotted path inside the file ("state_dict", or "" at its top), ``prefix`` what was
    stripped from every key ("module."), ``notes`` what a user should know about the choice. ``parts`` are
    the files, where there are several; path, section and prefix are then those of the first.
    """

    path: Path
    format: Format
    section: str = ""
    prefix: str = ""
    notes: tuple[str, ...] = ()
    tensors: dict[str, LazyTensor] = field(default_factory=dict, repr=False)
    parts: tuple[Checkpoint, ...] = field(default=(), repr=False)

    def __getitem__(self, key: str) -> np.ndarray[Any, Any]:
        """A read-only array; a dtype or layout numpy cannot hold is a ``DiagnosticError``."""
        return self._readable(key).numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, key: object) -> bool:
        return key in self.tensors

    def shape(self, key: str) -> tuple[int, ...]:
        return self.tensors[key].shape

    def dtype(self, key: str) -> np.dtype[Any]:
        """The numpy dtype (``ml_dtypes`` for bfloat16 and float8); ``DiagnosticError`` without one."""
        return NUMPY_DTYPES[self._readable(key).dtype]

    def dtype_name(self, key: str) -> str:
        """torch's name of the dtype, also of one that cannot be read."""
        return self.tensors[key].dtype

    def _readable(self, key: str) -> LazyTensor:
        tensor = self.tensors[key]
        if tensor.refusal:
            owner = next((p for p in self.parts if any(t is tensor for t in p.tensors.values())), self)
            raise refuse(owner.path, f"has a tensor {quote(key)} that cannot be read: it {tensor.refusal}")
        return tensor


def load_checkpoint(
    path: str | os.PathLike[str], *, section: str | None = None, prefix: str | None = None
) -> Checkpoint:
    """Opens a checkpoint without reading its data; whatever is wrong with it is a ``DiagnosticError``.

    ``section`` names the dict inside the file to take ("ema"); otherwise the usual places are searched.
    ``prefix`` ("model.", as Lightning writes) is stripped from every key; keys without it are left out.
    """
    file = open_file(Path(path))
    kind, state = _read(file, section, sharded=True)
    state = strip(state, file, prefix or "")
    return Checkpoint(file.path, kind, state.section, state.prefix, state.notes, state.tensors)


def load_checkpoints(
    paths: Sequence[str | os.PathLike[str]], *, section: str | None = None, prefix: str | None = None
) -> Checkpoint:
    """A checkpoint and the files beside it as one; ``DiagnosticError`` too where two have one key.

    ``section`` and ``prefix`` are the first one's: the others are taken as they are.
    """
    first = load_checkpoint(paths[0], section=section, prefix=prefix)
    parts = (first, *map(load_checkpoint, paths[1:]))
    if len(parts) == 1:
        return first
    owners: dict[str, Checkpoint] = {}
    twice: list[Diagnostic] = []
    for part in parts:
        for key in part:
            other = owners.setdefault(key, part)
            if other is not part:
                files = f"{quote(str(other.path))} and {quote(str(part.path))}"
                twice.append(Diagnostic(f"{quote(key)} is in two files: {files}"))
    if twice:
        help = "files do not override one another: give a new layer its own label, or drop the key from one"
        twice[0] = replace(twice[0], help=(help,))
        more = len(twice) - _MOST_TWICE
        are = "is" if more == 1 else "are"
        further = (Diagnostic(f"{counted(more, 'further key')} {are} in two files"),) if more > 0 else ()
        raise DiagnosticError(*twice[:_MOST_TWICE], *further)
    notes = tuple(note for part in parts for note in part.notes)
    tensors = {key: tensor for part in parts for key, tensor in part.tensors.items()}
    return dataclasses.replace(first, notes=notes, tensors=tensors, parts=parts)


_MOST_TWICE = 5
"""Keys that are named of those that two files have."""


def entered(checkpoint: Checkpoint, asked: str | None) -> tuple[str, ...]:
    """Notes on the sections that were read though none, or another, was ``asked`` for, of the first file."""
    if checkpoint.parts:
        first, *others = checkpoint.parts
        return (*entered(first, asked), *(note for each in others for note in entered(each, None)))
    if checkpoint.section == (asked or "") or any(note.startswith(TOOK) for note in checkpoint.notes):
        return ()
    return (f"{TOOK} {quote(checkpoint.section)}, a section of {quote(str(checkpoint.path))}",)


def _read(file: MappedFile, section: str | None, *, sharded: bool) -> tuple[Format, StateDict]:
    """The format, and the weights by the keys that the file gives them.

    PyTorch's formats are imported here: what they need takes longer than opening a ``.safetensors`` file.
    """
    head = file.data[:64]
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        from trtdsl.weights.torch_zip import read_torch_zip

        return "torch zip", find_state_dict(read_torch_zip(file), file, section)
    if looks_like_safetensors(head):
        return "safetensors", _flat(read_safetensors(file), file, section)
    if head[:1] == b"\x80" and head[1:2] <= b"\5":  # a pickle that states its protocol
        from trtdsl.weights.torch_legacy import read_torch_legacy

        return "torch legacy", find_state_dict(read_torch_legacy(file), file, section)
    if sharded and looks_like_json(head):
        return "sharded", _flat(read_sharded(file, _read_shard), file, section)
    raise _unknown(file, head)


def _read_shard(path: Path) -> dict[str, LazyTensor]:
    _, state = _read(open_file(path), None, sharded=False)
    return state.tensors


def _flat(tensors: dict[str, LazyTensor], file: MappedFile, section: str | None) -> StateDict:
    if section:
        raise file.refuse(f"has nothing named {quote(section)}: its format holds one flat state dict")
    return StateDict(tensors, "", "", ())


_OTHER_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it"),
    (b"\x93NUMPY", "a single numpy array"),
    (b"\x1f\x8b", "gzip data; unpack it first"),
    (b"ptrt", "a TensorRT engine, which holds no state dict"),
    (b"ftrt", "a TensorRT engine, which holds no state dict"),
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull`"),
    (b"<", "an HTML or XML page; was it downloaded from behind a login?"),
)


def _unknown(file: MappedFile, head: bytes) -> Exception:
    """The diagnostic about a file in none of the formats, with a guess at what it is."""
    guess = next((name for magic, name in _OTHER_FORMATS if head.startswith(magic)), "")
    if not guess and head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x3a", b"\x1a", b"B"):
        guess = "an ONNX model"
    if not guess and all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        guess = "text"
    what = f"is not a checkpoint; it looks like {guess}" if guess else "is not a checkpoint"
    return file.refuse(
        what, "a checkpoint is what `torch.save(model.state_dict(), path)` or safetensors writes"
    )
