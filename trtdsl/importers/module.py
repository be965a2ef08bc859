"""From a module to text: the whole way.

In: a ``torch.nn.Module`` and the types of its inputs, or an exported program.  Out: an :class:`Imported`, the
text and what stands in the file beside it::

    imported = import_module(resnet18(), {"x": "float32[N, 3, 224, 224]"}, {"N": "1 .. 8 .. 64"})
    imported.save("resnet18.trtnet")
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from trtdsl.collection import without_collection
from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError, counted
from trtdsl.importers.attention import with_attention, with_masks_as_given
from trtdsl.importers.bags import with_bags
from trtdsl.importers.blocks import structured
from trtdsl.importers.capture import Captured, capture, capture_exported
from trtdsl.importers.checking import WrongText, checked
from trtdsl.importers.constants import place_constants
from trtdsl.importers.constructed import Constructed
from trtdsl.importers.core_aten import as_layers
from trtdsl.importers.double_precision import require_no_float64
from trtdsl.importers.flat import flat, of_model
from trtdsl.importers.growing import with_growing_lists
from trtdsl.importers.inputs import Inputs, read_inputs, type_text
from trtdsl.importers.lacking import lacking
from trtdsl.importers.program import Array, Operation, Program
from trtdsl.importers.refusals import refused
from trtdsl.importers.simplify import simplify, without_unread
from trtdsl.importers.translate import Untranslated, constants_of, translatable, translate
from trtdsl.importers.tree import dissolved, tree_of
from trtdsl.importers.unchanged import unchanged
from trtdsl.importers.whole_indices import with_whole_indices
from trtdsl.importers.write import write
from trtdsl.ir import Graph
from trtdsl.ir.names import identifier
from trtdsl.output import write_together
from trtdsl.syntax import format_text
from trtdsl.types import Symbol, TensorType, symbols

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.export import ExportedProgram

ROUNDS = 3
"""How often what the language lacks is taken apart."""

InputLike: TypeAlias = "TensorType | str | torch.Tensor"
"""A type, as a value or as the language writes it, or an example."""

DimLike: TypeAlias = "Symbol | str | tuple[int, int, int] | Mapping[int, str]"
"""A range by a dimension's name; or by an input's name which of an example's dimensions are dynamic."""


class Imported(msgspec.Struct, frozen=True):
    """A text and the arrays that it needs beside the state dict, by the labels of its constants."""

    text: str
    constants: Mapping[str, Array]
    weights: Mapping[str, Array] = {}
    """of a program that has its own: the state dict"""
    notes: tuple[Diagnostic, ...] = ()
    """what the user may want to know"""
    dims: tuple[Symbol, ...] = ()
    """the dynamic dimensions of the text"""
    sizes: Mapping[str, int] = {}
    """of the dimensions, those that the module was called with"""
    graph: Graph | None = None
    """the text's graph with its weights, where the text was checked"""
    guessed: tuple[str, ...] = ()
    """of a file: the dimensions whose range nobody gave"""

    def __repr__(self) -> str:
        """In a line: the whole is a text, a graph and arrays."""
        parts = [f"{len(self.text.splitlines())} lines", *(f"{each}" for each in self._counted())]
        return f"<Imported: {', '.join(parts)}; .text, .graph, .save(path)>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("lines", len(self.text.splitlines()))]

    def _counted(self) -> Iterator[str]:
        for count, what in (
            (len(self.weights), "weight"),
            (len(self.constants), "constant"),
            (len(self.notes), "note"),
        ):
            if count:
                yield counted(count, what)

    def save(self, path: str | Path) -> tuple[Path, ...]:
        """Write the text, and beside it the constants and the program's own weights where there are any;
        gives the paths.
        """
        from safetensors.numpy import save

        path = Path(path)
        files: dict[Path, bytes | memoryview] = {}
        for beside, arrays in ((weights_path(path), self.weights), (constants_path(path), self.constants)):
            if arrays:
                files[beside] = save({key: np.array(array, order="C") for key, array in arrays.items()})
        files[path] = self.text.encode()
        write_together(files)
        return (path, *(each for each in files if each != path))


def constants_path(path: Path) -> Path:
    """The file of the constants beside a text: ``bert.constants.safetensors``."""
    return path.with_name(f"{path.stem}.constants.safetensors")


def weights_path(path: Path) -> Path:
    """The file of the weights that a program had with it: ``bert.weights.safetensors``."""
    return path.with_name(f"{path.stem}.weights.safetensors")


def import_module(
    module: nn.Module,
    inputs: Mapping[str, InputLike],
    dims: Mapping[str, DimLike] = {},
    *,
    name: str = "",
    source: str = "",
    is_flat: bool = False,
    constructed: Constructed | None = None,
) -> Imported:
    """The text of what a module computes in eval mode, checked against its state dict; the module is left as
    it was found.

    ``inputs`` are types as the language writes them, ``"float32[N, 3, H, W]"``, or example tensors; ``dims``
    are the ranges of the dimensions by name, ``"1 .. 8 .. 64"``, and of examples the dynamic dimensions:
    ``{"ids": {0: "N", 1: "S"}}``. A dimension without a range gets a likely one. With ``is_flat`` the text
    has neither blocks nor loops. ``constructed`` has the arguments of the modules' constructors, which name
    the blocks' parameters.
    Raises :class:`~trtdsl.diagnostics.DiagnosticError` with all that cannot be imported.
    """
    from trtdsl.verification.loading import require_export
    from trtdsl.verification.oracle import state_of

    require_export("importing a module")
    read = _inputs(inputs, dims)
    with unchanged(module):
        captured = capture(module.eval(), identifier(name or name_of(module)), read, source, constructed)
    return checked_import(captured, state_of(module), is_flat)


def import_exported(
    exported: ExportedProgram,
    dims: Mapping[str, Symbol | str] = {},
    *,
    name: str = "model",
    source: str = "",
    is_flat: bool = False,
) -> Imported:
    """The text of a program that ``torch.export`` made or loaded, checked against its own weights.

    Its dynamic dimensions are called N, H, W, S after where they stand; ``dims`` are their ranges where the
    program has none or too wide ones. Raises :class:`~trtdsl.diagnostics.DiagnosticError`.
    """
    from trtdsl.weights.arrays import as_array

    captured = capture_exported(exported, identifier(name), dims, source)
    state = {key: as_array(key, value) for key, value in exported.state_dict.items()}
    imported = checked_import(captured, state, is_flat)
    assert imported.graph
    keys = [weight.key for weight in imported.graph.weights if not weight.constant]
    return msgspec.structs.replace(imported, weights={key: state[key] for key in keys if key in state})


@without_collection()
def import_program(program: Program, *, is_flat: bool = False) -> Imported:
    """A captured program's text, not yet checked."""
    try:
        return _written(_prepared(program), is_flat)
    except Untranslated as error:
        raise DiagnosticError(*lacking(error.missing)) from None


def _prepared(program: Program) -> Program:
    """A program as it is translated."""
    whole = with_masks_as_given(as_layers(program))
    placed = place_constants(whole, translatable())
    require_no_float64(placed)
    plain = with_whole_indices(simplify(placed))
    return without_unread(with_growing_lists(with_bags(with_attention(plain))))


def _written(program: Program, is_flat: bool) -> Imported:
    """A prepared program's text; raises :class:`~trtdsl.importers.translate.Untranslated`."""
    statements = translate(program)
    if is_flat:
        sketch = flat(program, statements)
    else:
        items, blocks = structured(program, dissolved(tree_of(statements)))
        sketch = of_model(program, items, blocks)
    constants = constants_of(statements, program)
    return Imported(format_text(write(sketch)), constants, dims=program.symbols)


def with_own_weights(imported: Imported, arrays: Mapping[str, Array]) -> Imported:
    """An imported file's text, checked, with the weights that the file has with it."""
    graph = checked(imported.text, arrays)
    dims = {each for value in graph.inputs for dim in value.type.shape for each in symbols(dim)}
    weights = {weight.key: arrays[weight.key] for weight in graph.weights if weight.key in arrays}
    found = tuple(sorted(dims, key=str))
    return msgspec.structs.replace(imported, constants={}, weights=weights, graph=graph, dims=found)


def name_of(module: nn.Module) -> str:
    """A model's name after the module's class: ``mobile_net`` for ``MobileNet``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(module).__name__).lower()


@without_collection()
def checked_import(captured: Captured, state: Mapping[str, Array], is_flat: bool) -> Imported:
    """A captured program's text, checked against a state dict."""
    program, imported = _with_parts(captured, is_flat)
    try:
        graph = checked(imported.text, {**state, **imported.constants})
    except WrongText as error:
        missing = list(refused(program))
        if missing:
            raise DiagnosticError(*lacking(missing)) from error
        raise
    return msgspec.structs.replace(imported, notes=captured.notes, sizes=captured.sizes, graph=graph)


def _with_parts(captured: Captured, is_flat: bool) -> tuple[Program, Imported]:
    """A text in which what the language lacks is written as what PyTorch makes it of, where that helps."""
    program = captured.program
    first: list[tuple[Operation, str]] = []
    missing: list[tuple[Operation, str]] = []
    apart: frozenset[str] = frozenset()
    for _ in range(ROUNDS):
        prepared = _prepared(program)
        try:
            return prepared, _written(prepared, is_flat)
        except Untranslated as error:
            missing = error.missing
        first = first or missing
        names = {each.name for each, _ in missing}
        if names <= apart:
            break
        apart |= names
        parts = captured.in_parts(apart)
        if parts is None:
            break
        program = parts
    # What PyTorch makes of an operation is not what the user wrote.
    lines = {operation.frames[-1:] for operation, _ in missing}
    raise DiagnosticError(*lacking([each for each in first if each[0].frames[-1:] in lines] or first))


def _inputs(inputs: Mapping[str, InputLike], dims: Mapping[str, DimLike]) -> Inputs:
    """What is given in Python, as the command line gives it."""
    axes = {key: each for key, each in dims.items() if isinstance(each, Mapping)}
    for key in axes:
        if key not in inputs or isinstance(inputs[key], (str, TensorType)):
            raise UsageError(
                Diagnostic(f"`dims` names dimensions of `{key}`, which is not an example tensor")
            )
    texts = {key: _type_text(each, axes.get(key, {})) for key, each in inputs.items()}
    ranges = {key: _range_text(each) for key, each in dims.items() if not isinstance(each, Mapping)}
    return read_inputs(texts, ranges)


def _type_text(given: InputLike, axes: Mapping[int, str]) -> str:
    return str(given) if isinstance(given, (str, TensorType)) else type_text(given, axes)


def _range_text(given: Any) -> str:
    if isinstance(given, Symbol):
        step = f", step = {given.step}" if given.step > 1 else ""
        return f"{given.minimum} .. {given.optimum} .. {given.maximum}{step}"
    return given if isinstance(given, str) else " .. ".join(map(str, given))
