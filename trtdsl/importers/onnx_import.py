"""From an ONNX file to text: the whole way.

In: the path of a `.onnx` file.  Out: an :class:`~trtdsl.importers.module.Imported`, the text and all arrays
that it asks for, weights and constants, by their keys: what goes into the `.safetensors` beside the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError
from trtdsl.importers.checking import WrongText
from trtdsl.importers.module import Imported, import_program, with_own_weights
from trtdsl.importers.onnx_file import load, read_model
from trtdsl.importers.onnx_inputs import Axes, questioned
from trtdsl.importers.onnx_sound import explained, sound
from trtdsl.importers.program import Array, Program, Ref
from trtdsl.importers.simplify import without_unread
from trtdsl.ir.names import identifier
from trtdsl.types import Symbol

_TRIES = 4
"""How often the range of a dimension is guessed."""


def import_onnx(
    path: str | Path,
    dims: Mapping[str, Symbol] | None = None,
    *,
    name: str = "",
    is_flat: bool = False,
) -> Imported:
    """A file's text, checked, and its weights; ``dims`` gives the ranges of the dynamic axes by the file's
    names for them.

    Raises :class:`~trtdsl.diagnostics.DiagnosticError` with all that cannot be imported.
    """
    path = Path(path)
    model = sound(load(path), path)
    program, arrays, axes = _read(model, identifier(name or path.stem), dims or {})
    try:
        imported = import_onnx_program(program, arrays, is_flat=is_flat)
        imported = with_own_weights(imported, imported.constants)
    except WrongText as error:
        raise explained(model, path, error) from error
    return replace(imported, guessed=tuple(axes.guessed))


def _read(model: Any, name: str, dims: Mapping[str, Symbol]) -> tuple[Program, Mapping[str, Array], Axes]:
    """The program of a file; a range that nobody gave begins higher where the model does not fit into it."""
    raised: Counter[str] = Counter()
    refusal: DiagnosticError | None = None
    for _ in range(_TRIES):
        axes = Axes(dims, raised)
        try:
            found = read_model(model, name, axes)
        except DiagnosticError as error:
            refusal = refusal or error
            asked = questioned(error.diagnostics, axes)
            if not asked:
                break
            raised.update(asked)
        else:
            _require_used(dims, axes)
            return *found, axes
    assert refusal
    raise refusal


def _require_used(dims: Mapping[str, Symbol], axes: Axes) -> None:
    for name in dims:
        if name not in axes.used:
            names = ", ".join(f"`{each}`" for each in axes.symbols) or "none"
            help = (f"its dynamic dimensions: {names}",)
            raise UsageError(Diagnostic(f"no input of the file has a dimension `{name}`", help=help))


def import_onnx_program(program: Program, arrays: Mapping[str, Array], *, is_flat: bool = False) -> Imported:
    """The text of a program that was read from a file, with the arrays of its weights."""
    program, arrays = _renamed(without_unread(program), arrays)
    imported = import_program(program, is_flat=is_flat)
    return Imported(imported.text, {**arrays, **imported.constants})


def _renamed(program: Program, arrays: Mapping[str, Array]) -> tuple[Program, dict[str, Array]]:
    """With norms' weights where their modules have them, if the file calls them as PaddlePaddle does."""
    uses = Counter(value for operation in program.operations for value in operation.operands)
    keys: dict[str, str] = dict(program.weights)
    changed = dict(arrays)
    for operation in program.operations:
        if operation.name not in ("layer_norm", "rms_norm"):
            continue
        weight = operation.arguments.get("weight")
        key = keys.get(weight.value, "") if isinstance(weight, Ref) else ""
        if not key.endswith(".w_0"):
            continue
        for slot in ("weight", "bias"):
            value = operation.arguments.get(slot)
            wanted = f"{key.removesuffix('.w_0')}.{slot}"
            name = value.value if isinstance(value, Ref) else ""
            if name in keys and uses[name] == 1 and wanted not in changed:
                changed[wanted] = changed.pop(keys[name])
                keys[name] = wanted
    return replace(program, weights=keys), changed
