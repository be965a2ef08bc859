"""A model's engine held against the reference, and the network on the CPU where they differ.

In: an engine with its manifest, the graph it should have been built from, a reference and inputs.  Out: a
:class:`~trtdsl.verification.result.Verification` whose rows are the engine's outputs.  Where one differs,
the rows of the network computed on the CPU stand before them, and say whether the model itself is wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trtdsl.compile import require_values
from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError, counted
from trtdsl.ir import Graph, Output
from trtdsl.reference import require_torch, symbol_values
from trtdsl.runtime.engine import Engine, check_arrays, read_engine
from trtdsl.trt.manifest import Binding, Manifest
from trtdsl.types import DType, TensorType
from trtdsl.verification.comparison import compare_with, notes_on_outputs, with_advice
from trtdsl.verification.hidden import ROUNDINGS
from trtdsl.verification.oracle import Array, Reference
from trtdsl.verification.outputs import paired, require_all
from trtdsl.verification.result import (
    Difference,
    Row,
    Verification,
    is_close,
    measure,
    notes_on_numbers,
    uncompared,
)
from trtdsl.verification.rows import output_row, row_in_words
from trtdsl.verification.setting import Setting


class EngineLike(Protocol):
    """What computes outputs of inputs, by name, and says what it is: an :class:`Engine`, or its like."""

    @property
    def manifest(self) -> Manifest: ...

    def __call__(self, /, **arrays: Any) -> Mapping[str, Any]: ...


@dataclass(frozen=True, eq=False)
class EngineFile:
    """An engine's bytes, which are not loaded onto the GPU yet."""

    data: bytes
    manifest: Manifest


def engine_of(engine: str | Path | EngineLike, graph: Graph) -> EngineFile | EngineLike:
    """The engine, read if it is a path; raises :class:`UsageError` where it is of another model."""
    found = EngineFile(*read_engine(engine)) if isinstance(engine, (str, Path)) else engine
    mismatch = next(_mismatches(graph, found.manifest), None)
    if mismatch is not None:
        advice = "give the text that the engine was compiled from, or compile this one"
        raise UsageError(Diagnostic(f"the engine does not fit the model: {mismatch}", help=(advice,)))
    return found


def loaded(
    engine: EngineFile | EngineLike, inputs: Mapping[str, Array], plugins: Sequence[str | Path] = ()
) -> EngineLike:
    """The engine on the GPU, if it is a file; raises :class:`UsageError` before if it refuses the inputs.

    Raises :class:`~trtdsl.diagnostics.RefusedByTensorRT` where it cannot be run.
    """
    check_arrays(engine.manifest, _arrays(engine.manifest, inputs))
    if not isinstance(engine, EngineFile):
        return engine
    return Engine(engine.data, engine.manifest, plugins=plugins)


def compare_engine(
    engine: EngineLike,
    graph: Graph,
    reference: Reference,
    setting: Setting,
    tolerance: float,
    notes: Sequence[str] = (),
) -> Verification:
    """Compare the engine's outputs with the reference's, and explain a difference.

    ``tolerance`` is the engine's, that of ``setting`` the network's on the CPU. The graph needs its weights,
    and PyTorch is needed, only where an output differs; the difference says so where they are not there.
    """
    found = engine(**_arrays(engine.manifest, setting.inputs))
    returned = reference.run(setting.inputs)
    expected = returned.arrays
    require_all(graph, expected)
    rows = [_row(output, found[output.name], array, tolerance) for output, array in paired(graph, expected)]
    outcome = Verification(
        model=graph.name,
        against=reference.name,
        dtype=setting.dtype,
        tolerance=tolerance,
        sizes=symbol_values(graph, setting.inputs),
        rows=tuple(rows),
        difference=None,
        notes=(*notes, *notes_on_outputs(graph, reference, returned), *notes_on_numbers(rows)),
        engine=_name(engine.manifest),
        unknown=uncompared(rows),
    )
    wrong = next((row for row in rows if row.verdict == "differs"), None)
    if wrong is None:
        return with_advice(outcome, graph, setting)
    seen = f"the engine's {row_in_words(wrong, tolerance)}"
    try:
        require_torch("computing the network on the CPU")
        require_values(graph)
        on_cpu = compare_with(graph, reference, setting, notes)
    except DiagnosticError as error:
        message = f"{seen}; the layers cannot be compared: {error.diagnostics[0].message}"
        return dataclasses.replace(outcome, difference=Difference(message, ()))
    return _explained(outcome, on_cpu, seen, engine.manifest)


# --- Whether it is the model's engine ---------------------------------------------------------------------


def _mismatches(graph: Graph, manifest: Manifest) -> Iterator[str]:
    if manifest.model != graph.name:
        yield f"it is of the model `{manifest.model}`, not of `{graph.name}`"
    inputs = {value.name: value.type for value in graph.inputs}
    outputs = {output.name: output.value.type for output in graph.outputs}
    for kind, types, bindings in (("input", inputs, manifest.inputs), ("output", outputs, manifest.outputs)):
        bound = {binding.name: binding for binding in bindings}
        for name in {**types, **bound}:
            yield from _mismatch(f"{kind} `{name}`", types.get(name), bound.get(name))


def _mismatch(what: str, type: TensorType | None, binding: Binding | None) -> Iterator[str]:
    if type is None:
        yield f"it has the {what}, the model does not"
    elif binding is None:
        yield f"it has no {what}, the model has"
    elif type.rank != len(binding.shape):
        yield f"{what} has {counted(len(binding.shape), 'dimension')} in the engine, but is {type}"
    elif binding.dtype not in _spellings(type.dtype):
        yield f"{what} is {binding.dtype} in the engine, but {type}"


def _spellings(dtype: DType) -> tuple[str, ...]:
    # Before TensorRT 10 there are no 64-bit integers: what the model calls int64 is int32 in the engine.
    return ("int64", "int32") if dtype is DType.INT64 else (str(dtype),)


# --- What it is given, and gives ---------------------------------------------------------------------------


def _arrays(manifest: Manifest, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs in the engine's types."""
    return {binding.name: _cast(inputs[binding.name], binding) for binding in manifest.inputs}


def _cast(array: Array, binding: Binding) -> Array:
    wanted = DType(binding.dtype).numpy
    if array.dtype == wanted:
        return array
    cast = array.astype(wanted)
    if not np.array_equal(cast, array):
        text = f"input `{binding.name}` is {binding.dtype} in the engine, which cannot hold the given values"
        raise UsageError(Diagnostic(text))
    return cast


def _row(output: Output, found: Array, expected: Array, tolerance: float) -> Row:
    tolerance = 0.0 if expected.dtype.kind in "biu" else tolerance
    # Hidden parts have the error of what hides them, of which no more is known than the tolerance.
    measured = measure(found, expected, noise=tolerance / ROUNDINGS)
    verdict = "equal" if is_close(measured, tolerance) else "differs"
    row = output_row(output, found, expected, measured, verdict, tolerance)
    return dataclasses.replace(row, computed_by="engine")


def _name(manifest: Manifest) -> str:
    return f"{manifest.runtime} {manifest.runtime_version}, {manifest.arithmetic}"


# --- Why they differ --------------------------------------------------------------------------------------


def _explained(outcome: Verification, on_cpu: Verification, seen: str, manifest: Manifest) -> Verification:
    """The engine's outcome with that of the CPU, whose difference is the reason if it has one."""
    notes = on_cpu.notes
    if on_cpu.tolerance != outcome.tolerance:
        notes = (
            *notes,
            f"the tolerance is {outcome.tolerance:g} for the engine, {on_cpu.tolerance:g} on the CPU",
        )
    return dataclasses.replace(
        outcome,
        rows=(*on_cpu.rows, *outcome.rows),
        difference=on_cpu.difference or _of_the_engine(seen, manifest),
        notes=notes,
    )


def _of_the_engine(seen: str, manifest: Manifest) -> Difference:
    """A difference that the network on the CPU does not have."""
    coarse = "" if manifest.arithmetic == "float32" else f" it is too coarse in {manifest.arithmetic},"
    return Difference(
        f"{seen} although the network of this text and these weights is right on the CPU: the engine was"
        f" built from another text or other weights,{coarse} or TensorRT computes it differently",
        (),
    )
