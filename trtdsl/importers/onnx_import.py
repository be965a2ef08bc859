"""From an ONNX file to text: the whole way.

In: the path of a `.onnx` file.  Out: an :class:`~trtdsl.importers.module.Imported`, the text and all arrays
that it asks for, weights and constants, by their keys: what goes into the `.safetensors` beside the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
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
_STEPS = (2, 4, 8, 16, 32)
"""What a size whose range is guessed may have to be a multiple of."""


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
    notes = tuple(_called_otherwise(model.graph, program))
    return replace(imported, notes=notes, guessed=tuple(axes.guessed))


def _called_otherwise(graph: Any, program: Program) -> Iterator[Diagnostic]:
    """A note of each input and output whose name in the file is none in the language."""
    initialised = {each.name for each in graph.initializer}
    inputs = [each.name for each in graph.input if each.name not in initialised]
    outputs = [each.name for each in graph.output]
    for what, theirs, ours in (
        ("input", inputs, [*program.inputs]),
        ("output", outputs, [name for name, _ in program.outputs]),
    ):
        for before, after in zip(theirs, ours, strict=True):
            if before != after:
                text = f"the file's {what} `{before}` is called `{after}`, in the text and in its engines"
                yield Diagnostic(text, severity="note")


def _read(model: Any, name: str, dims: Mapping[str, Symbol]) -> tuple[Program, Mapping[str, Array], Axes]:
    """The program of a file; a range that nobody gave begins higher, or is in steps, where the model does not
    fit into it.
    """
    raised: Counter[str] = Counter()
    refusal: DiagnosticError | None = None
    asked: list[str] = []
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
    for each in asked:
        if found := _read_in_steps(model, name, dims, each):
            _require_used(dims, found[-1])
            return found
    raise refusal


def _read_in_steps(
    model: Any, name: str, dims: Mapping[str, Symbol], dim: str
) -> tuple[Program, Mapping[str, Array], Axes] | None:
    """The program where a dimension is in the smallest steps in which the model takes it; None where it does
    not in the largest.
    """
    found = None
    for step in reversed(_STEPS):
        axes = Axes(dims, {}, {dim: step})
        try:
            found = *read_model(model, name, axes), axes
        except DiagnosticError:
            break
    return found


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
