"""From an ONNX file to text: the whole way.

In: the path of a `.onnx` file.  Out: an :class:`~trtdsl.importers.module.Imported`, the text and all arrays
that it asks for, weights and constants, by their keys: what goes into the `.safetensors` beside the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trtdsl.importers.module import Imported, import_program
from trtdsl.importers.onnx_file import load, read_model
from trtdsl.importers.program import Array, Program
from trtdsl.ir.names import identifier
from trtdsl.types import Symbol


def import_onnx(
    path: str | Path,
    dims: Mapping[str, Symbol] | None = None,
    *,
    name: str = "",
    is_flat: bool = False,
) -> Imported:
    """A file's text and arrays; ``dims`` gives the ranges of the dynamic axes by the file's names for them.

    Raises :class:`~trtdsl.diagnostics.DiagnosticError` with all that cannot be imported.
    """
    path = Path(path)
    program, arrays = read_model(load(path), identifier(name or path.stem), dims)
    return import_onnx_program(program, arrays, is_flat=is_flat)


def import_onnx_program(program: Program, arrays: Mapping[str, Array], *, is_flat: bool = False) -> Imported:
    """The text of a program that was read from a file, with the arrays of its weights."""
    imported = import_program(program, is_flat=is_flat)
    return Imported(imported.text, {**arrays, **imported.constants})
