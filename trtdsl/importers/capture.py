"""A module, called once with example inputs, as a program.

In: a ``torch.nn.Module`` in eval mode and its inputs, or a ``torch.export.ExportedProgram``.  Out: the
:class:`~trtdsl.importers.program.Program` of either, its dimensions by the language's names.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trtdsl.collection import without_collection
from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.importers.complaints import Place, narrowed
from trtdsl.importers.complex_numbers import without_complex
from trtdsl.importers.constructed import Constructed
from trtdsl.importers.contexts import without_contexts
from trtdsl.importers.exporting import Exported, export
from trtdsl.importers.facts import facts_of, ties_in, ties_of
from trtdsl.importers.inputs import BATCH, FRAMES, LENGTH, PIXELS, Inputs
from trtdsl.importers.lacking import innermost_span
from trtdsl.importers.least_sizes import Least, least_sizes, raised
from trtdsl.importers.masked_parts import without_masked_parts
from trtdsl.importers.names import numbered
from trtdsl.importers.program import Array, Program
from trtdsl.importers.reading import Reading, user_nodes
from trtdsl.importers.schemas import is_view, writes
from trtdsl.importers.tables import longest
from trtdsl.types import Symbol, SymbolicDim, symbol, symbols

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.export import ExportedProgram


class Captured(msgspec.Struct, frozen=True):
    """A program and how it was captured."""

    program: Program
    sizes: Mapping[str, int]
    """of the dimensions, those that the module was called with"""
    notes: tuple[Diagnostic, ...] = ()
    in_parts: Callable[[frozenset[str]], Program | None] = lambda names: None
    """The program with the operations of these names, and those before, as what PyTorch makes them of; None
    where it makes them of nothing."""


def capture(
    module: nn.Module, name: str, inputs: Inputs, source: str, constructed: Constructed | None = None
) -> Captured:
    """The program of a module, called with its inputs by name or in order.

    A range that torch finds narrower is narrowed. Raises :class:`~trtdsl.diagnostics.DiagnosticError` where
    torch.export does, in words and with the line of the source.
    """
    exported = export(module, inputs)
    with without_collection():
        return _captured(module, name, exported, inputs, source, constructed)


def _captured(
    module: nn.Module,
    name: str,
    exported: Exported,
    inputs: Inputs,
    source: str,
    constructed: Constructed | None,
) -> Captured:
    nodes = _input_nodes(exported.program, inputs)
    plain, idle = without_contexts(exported.program)
    plain = without_masked_parts(plain)
    names = [node.name for node in nodes]
    known = {
        "modules": facts_of(module, constructed),
        "ties": ties_of(module),
        "input_names": dict(zip(names, inputs.types, strict=True)),
        "values": {
            node: inputs.values[name]
            for node, name in zip(names, inputs.types, strict=True)
            if name in inputs.values
        },
        "source": source,
    }
    dims = found_symbols(nodes, inputs, exported)
    reading, program, least = _read(Reading(without_complex(plain), name, dims, known))
    places = {name: _place(each) for name, each in least.items()}
    notes = tuple(
        narrowed(inputs.dims[each.name], each, places.get(each.name) or exported.places.get(each.name))
        for each in program.symbols
        if (each.minimum, each.maximum, each.step) != _range(inputs.dims[each.name])
    )
    return Captured(program, exported.sizes, (*notes, *idle, *_kept_between_calls(plain)), reading.in_parts)


def _read(reading: Reading) -> tuple[Reading, Program, Mapping[str, Least]]:
    """A program whose ranges begin where all elements exist that it takes by number; and those that would
    have begun lower.
    """
    program = reading.program()
    least = least_sizes(program, lambda key: _integers(reading.exported.state_dict.get(key)))
    if least:
        reading = dataclasses.replace(reading, dims=raised(reading.dims, least))
        program = reading.program()
    return reading, program, least


def _integers(tensor: torch.Tensor | None) -> Array | None:
    """What a state dict has as an index."""
    if tensor is None or tensor.is_floating_point() or tensor.is_complex() or tensor.is_meta:
        return None
    return tensor.detach().cpu().numpy()


def _place(least: Least) -> Place | None:
    """The line that takes the last element."""
    span = innermost_span(least.frames)
    return (span.source.name, span.line) if span else None


def _kept_between_calls(program: ExportedProgram) -> Iterator[Diagnostic]:
    """A warning of each buffer that ``forward`` writes to, which an engine does not keep."""
    from torch.export.graph_signature import InputKind, OutputKind

    signature = program.graph_signature
    kept = {
        spec.arg.name: str(spec.target) for spec in signature.input_specs if spec.kind is InputKind.BUFFER
    }
    written = {str(spec.target) for spec in signature.output_specs if spec.kind is OutputKind.BUFFER_MUTATION}
    shown: dict[str, str] = {}
    for node in program.graph.nodes:
        source: Any = node.args[0] if node.op == "call_function" and node.args else None
        root = shown.get(getattr(source, "name", ""), getattr(source, "name", ""))
        if root and (writes(node.target) or is_view(node.target)):
            shown[node.name] = root
        if root in kept and writes(node.target):
            written.add(kept[root])
    for name in sorted(written):
        yield Diagnostic(
            f"the module writes to its buffer `{name}` when it is called, and an engine keeps nothing between"
            " calls: the text computes what the module's first call does",
            severity="warning",
            help=("make what is kept an input, and its new value an output",),
        )


def _range(symbol: Symbol) -> tuple[int, int, int]:
    return symbol.minimum, symbol.maximum, symbol.step


@without_collection()
def capture_exported(
    exported: ExportedProgram, name: str, dims: Mapping[str, str | Symbol], source: str
) -> Captured:
    """The program of an exported one; ``dims`` are ranges of its dynamic dimensions by the names that they
    get: N for a batch, H and W for an image, S for a length.
    """
    found = exported_symbols(exported, dims)
    plain, idle = without_contexts(exported)
    plain = without_masked_parts(plain)
    names = {node.name: node.name for node in user_nodes(exported)}
    known = {"input_names": names, "ties": ties_in(exported.state_dict), "source": source}
    reading, program, _ = _read(Reading(without_complex(plain), name, found, known))
    return Captured(program, {}, tuple(idle), reading.in_parts)


def found_symbols(nodes: list[Any], inputs: Inputs, exported: Exported) -> dict[str, Any]:
    """The language's dimension for each of torch's symbols, its range as far as torch allows."""
    found: dict[str, tuple[Symbol, int]] = {}
    for node, type in zip(nodes, inputs.types.values(), strict=True):
        for size, dim in zip(node.meta["val"].shape, type.shape, strict=True):
            if not isinstance(dim, SymbolicDim) or isinstance(size, int):
                continue
            wanted = exported.dims[next(iter(symbols(dim))).name]
            (base,) = size.node.expr.free_symbols
            if str(base) not in found:
                limits = exported.program.range_constraints.get(base)
                found[str(base)] = _limited(wanted, limits), wanted.step
    return _in_tables(exported.program, found)


def _in_tables(exported: ExportedProgram, found: Mapping[str, tuple[Symbol, int]]) -> dict[str, Any]:
    """What each of torch's symbols is of a dimension, no longer than the tables of positions are; ``found``
    are the dimensions, and how many times the symbol each is.
    """
    limits = longest(exported.graph, {base: each.maximum // times for base, (each, times) in found.items()})
    limited: dict[str, Any] = {}
    for base, (each, times) in found.items():
        high = limits[base] * times // each.step * each.step if base in limits else each.maximum
        if high >= each.minimum:
            each = Symbol(each.name, each.minimum, min(each.optimum, high), high, each.step)
        size = symbol(each.name, each.minimum, each.optimum, each.maximum, each.step)
        limited[base] = size // times
    return limited


def _limited(wanted: Symbol, limits: Any) -> Symbol:
    """A dimension in torch's limits of what it is a multiple of."""
    low, high, step = wanted.minimum, wanted.maximum, wanted.step
    if limits is not None:
        low = max(low, int(limits.lower) * step)
        high = min(high, _finite(limits.upper, high) * step)
    low, high = -(-low // step) * step, high // step * step
    return Symbol(wanted.name, low, min(max(wanted.optimum // step * step, low), high), high, step)


def _finite(limit: Any, otherwise: int) -> int:
    return int(limit) if str(limit).lstrip("-").isdigit() else otherwise


def _input_nodes(exported: ExportedProgram, inputs: Inputs) -> list[Any]:
    """The placeholder of each input."""
    nodes = list(user_nodes(exported))
    by_name = {node.name: node for node in nodes}
    names = inputs.types
    return [by_name[name] for name in names] if all(name in by_name for name in names) else nodes


# --- Exported programs ------------------------------------------------------------------------------------


def exported_symbols(exported: ExportedProgram, dims: Mapping[str, str | Symbol]) -> dict[str, Any]:
    """A dimension for each of an exported program's symbols, named after where it stands."""
    found: dict[str, tuple[Symbol, int]] = {}
    taken: set[str] = set()
    for node in user_nodes(exported):
        shape = node.meta["val"].shape
        for axis, size in enumerate(shape):
            if isinstance(size, int) or len(size.node.expr.free_symbols) != 1:
                continue
            (base,) = size.node.expr.free_symbols
            step = _factor(size.node.expr, base)
            if str(base) in found:
                continue
            wish, range = _role(axis, len(shape), node.meta["val"].dtype.is_floating_point)
            name = next(each for each in numbered(wish) if each not in taken)
            taken.add(name)
            wanted = read_range(name, dims.get(name, range), step)
            found[str(base)] = _limited(wanted, exported.range_constraints.get(base)), step
    for name in dims:
        if name not in taken:
            known = ", ".join(f"`{each}`" for each in sorted(taken)) or "none"
            text = f"the program has no dimension `{name}`; its dynamic dimensions are {known}"
            raise UsageError(Diagnostic(text))
    return _in_tables(exported, found)


def _factor(expression: Any, base: Any) -> int:
    """What a size is a multiple of: 4 for ``4*s0``."""
    factor = expression / base
    return int(factor) if factor.is_Integer else 1


def read_range(name: str, range: str | Symbol, step: int = 1) -> Symbol:
    """A dimension of these sizes, ``1 .. 8 .. 64``; raises :class:`~trtdsl.diagnostics.UsageError`."""
    if isinstance(range, Symbol):
        low, best, high = range.minimum, range.optimum, range.maximum
    else:
        low, best, high, own = _sizes(range)
        step = math.lcm(step, own)
    low, high = max(-(-low // step) * step, step), high // step * step
    if low > high:
        raise UsageError(Diagnostic(f"`{range}` has no multiple of {step}"))
    return Symbol(name, low, min(max(best // step * step, low), high), high, step)


def _sizes(range: str) -> tuple[int, int, int, int]:
    """``64 .. 256 .. 512, step = 32``, or one size, ``48``."""
    found = re.fullmatch(
        r"(\d+)(?:\s*\.\.\s*(\d+)\s*\.\.\s*(\d+)(?:\s*,\s*step\s*=\s*(\d+))?)?", range.strip()
    )
    if found is None:
        raise UsageError(Diagnostic(f"`{range}`: a range is `minimum .. optimum .. maximum`, or one size"))
    low, best, high, step = found.groups()
    if best is None:
        return int(low), int(low), int(low), 1
    if not int(low) <= int(best) <= int(high):
        raise UsageError(Diagnostic(f"`{range}`: a range is `minimum .. optimum .. maximum`"))
    return int(low), int(best), int(high), max(int(step or 1), 1)


def _role(axis: int, rank: int, is_floating: bool) -> tuple[str, str]:
    """A name for a dimension, and a likely range."""
    if axis == 0:
        return "N", BATCH
    if rank >= 4 and is_floating and axis >= rank - 2:
        return "HW"[axis - rank + 2], PIXELS
    return ("T", FRAMES) if rank == 5 and is_floating else ("S", LENGTH)
