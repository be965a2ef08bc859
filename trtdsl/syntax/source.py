"""Texts on disk.

In: a path and how the user called it.  Out: the text, or what is wrong with the file.
"""

from __future__ import annotations

import stat
from pathlib import Path
from shlex import quote

from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError, cannot_read

MOST_BYTES = 32 * 1024 * 1024
"""of a text: reading it takes some hundred times as much memory"""


_IMPORTED = {".py": "Python", ".onnx": "an ONNX model", ".pt2": "an exported program"}
"""What a file of another kind holds that can be imported."""


_CHECKPOINTS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".npz")


def is_checkpoint(path: Path) -> bool:
    """Whether a file's name is that of a checkpoint."""
    return path.suffix in _CHECKPOINTS or path.name.endswith(".safetensors.index.json")


def read_source(path: Path, name: str) -> str:
    """A `.trtnet` file's text; raises UsageError for a path that leads to no file."""
    try:
        data = _content(path)
    except OSError as error:
        may_import = isinstance(error, FileNotFoundError) and ":" in name
        raise cannot_read(name, error, *(_importing(name) if may_import else ())) from error
    except ValueError as error:
        raise cannot_read(name, "not a path") from error
    if data is None:
        raise cannot_read(name, "it is not a file")
    if path.suffix in _IMPORTED:
        text = f"`{name}` is {_IMPORTED[path.suffix]}, not a text of the language"
        raise UsageError(Diagnostic(text, help=_importing(f"{name}:NAME" if path.suffix == ".py" else name)))
    if is_checkpoint(path):
        text = f"`{name}` is a checkpoint, not a text of the language"
        raise UsageError(Diagnostic(text, help=("the text comes first, its checkpoint after it",)))
    if len(data) > MOST_BYTES:
        text = f"cannot read `{name}`: it is longer than {MOST_BYTES // 2**20} MiB"
        raise DiagnosticError(Diagnostic(text))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DiagnosticError(Diagnostic(f"cannot read `{name}`: it is not UTF-8 text")) from error
    if "\0" in text:
        raise DiagnosticError(Diagnostic(f"cannot read `{name}`: it is not a text, it holds zero bytes"))
    return text


def _importing(source: str) -> tuple[str, ...]:
    inputs = "" if source.endswith((".onnx", ".pt2")) else ' --input "x=float32[N, 3, 224, 224]"'
    return (f"`trtdsl import {quote(source)}{inputs} -o model.trtnet` writes a text",)


def _content(path: Path) -> bytes | None:
    """A file's bytes, one more than are allowed at most; None for a device or a pipe, which may never end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return None
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)
