"""Checkpoints for the golden tests: well-formed ones of given types, and every kind of bad file."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Types = Mapping[str, Sequence[Any]]
"""Key → dtype and shape, and the numbers where they are not all 0."""

CANARY = "CODE_WAS_EXECUTED"
"""The file that a hostile checkpoint makes if anything in it is run."""


class Bomb:
    """An object whose unpickling makes the file ``CANARY``."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(CANARY),)


def write_weights(path: Path, types: Types) -> None:
    """A safetensors file with zeros, or the numbers that are given."""
    save_file({key: _tensor(*stated) for key, stated in types.items()}, path)


def _tensor(name: str, shape: Sequence[int], numbers: Any = 0) -> torch.Tensor:
    return torch.tensor(numbers, dtype=getattr(torch, name)).expand(shape).clone()


def write_bad(path: Path, kind: str) -> None:
    """A file that is no usable checkpoint."""
    _BAD[kind](path)


def _truncated_zip(path: Path) -> None:
    torch.save({"fc1.weight": torch.zeros(32, 16)}, path)
    path.write_bytes(path.read_bytes()[:-100])


def _truncated_safetensors(path: Path) -> None:
    write_weights(path, {"fc1.weight": ("float32", [32, 16])})
    path.write_bytes(path.read_bytes()[:-100])


def _pickle_with_code(path: Path) -> None:
    path.write_bytes(pickle.dumps({"fc1.weight": Bomb()}))


def _zip_with_code(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"fc1.weight": Bomb()}, protocol=2))
        archive.writestr("archive/version", "3\n")


def _no_tensors(path: Path) -> None:
    torch.save({"epoch": 3, "loss": 0.1}, path)


def _png(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))


_BAD: Mapping[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated_zip": _truncated_zip,
    "truncated_safetensors": _truncated_safetensors,
    "pickle_with_code": _pickle_with_code,
    "zip_with_code": _zip_with_code,
    "text": lambda path: path.write_text("epoch 1, loss 0.1\n"),
    "png": _png,
    "no_tensors": _no_tensors,
    "missing_file": lambda path: None,
    "directory": lambda path: path.mkdir(),
}
