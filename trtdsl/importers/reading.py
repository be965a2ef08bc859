"""Exported programs read as they are, and with some of their operations taken apart.

In: a ``torch.export.ExportedProgram`` without regions.  Out: its
:class:`~trtdsl.importers.program.Program`; where the program writes through views, or where asked for,
that of what ``run_decompositions`` makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.known_values import WritesThroughViews
from trtdsl.importers.lacking import in_a_map, written_in_place
from trtdsl.importers.program import Program, frames_of_trace
from trtdsl.importers.schemas import overload_of
from trtdsl.importers.torch_export import read_program
from trtdsl.importers.written_parts import without_written_parts
from trtdsl.types import Dim

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Graph


@dataclass
class Reading:
    """An exported program to be read, and what is known of it beside."""

    exported: Any
    name: str
    dims: Mapping[str, Dim]
    known: Mapping[str, Any]
    """fields of the :class:`~trtdsl.importers.program.Program`"""

    def program(self) -> Program:
        """The program; raises :class:`~trtdsl.diagnostics.DiagnosticError` where it cannot be followed."""
        if mapped := [node for node in self.exported.graph.nodes if _is_mapped(node)]:
            try:
                return self._decomposed({})
            except _Fixed as error:
                frames = frames_of_trace(mapped[0].meta.get("stack_trace") or "")
                raise DiagnosticError(in_a_map(frames)) from error
        try:
            return self._read(self.exported)
        except WritesThroughViews as writes:
            try:
                plain = without_written_parts(self.exported)
                return self._decomposed({}) if plain is None else self._read(self.exported, plain)
            except _Fixed as error:
                text = f"{writes}, and without that a dimension becomes a number"
                raise DiagnosticError(written_in_place(text, writes.frames)) from error
            except DiagnosticError:
                raise
            except Exception as error:  # torch's errors have no common base
                raise DiagnosticError(written_in_place(str(writes), writes.frames)) from error

    def in_parts(self, names: frozenset[str]) -> Program | None:
        """The program with these operations as what PyTorch makes them of; None where it has nothing."""
        table = {target: parts for target, parts in _parts() if overload_of(target) in names}
        if not table:
            return None
        try:
            return self._decomposed(table)
        except Exception:  # torch's errors have no common base; then the operation itself is what is lacking
            return None

    def _decomposed(self, table: Mapping[Any, Any]) -> Program:
        before = _fixed_sizes(self.exported)
        decomposed = self.exported.run_decompositions(dict(table))
        if _fixed_sizes(decomposed) > before:
            raise _Fixed
        return self._read(decomposed)

    def _read(self, exported: ExportedProgram, graph: Graph | None = None) -> Program:
        program = read_program(exported, self.name, self.dims, graph)
        return msgspec.structs.replace(program, **self.known)


class _Fixed(Exception):
    """A dimension becomes a number."""


def _is_mapped(node: Any) -> bool:
    """Whether a node begins what ``torch.vmap`` runs, whose tensors have a dimension less than they say."""
    return getattr(node.target, "__name__", "") == "_vmap_increment_nesting"


def _parts() -> Iterator[tuple[Any, Any]]:
    """Each of PyTorch's operations that it makes of others, and how."""
    import torch
    from torch._decomp import decomposition_table

    default: Mapping[Any, Any] = torch.export.default_decompositions()
    for target in default:
        yield target, default[target]
    for target, parts in decomposition_table.items():
        if target not in default:
            yield target, parts


def user_nodes(exported: ExportedProgram) -> Iterator[Any]:
    """The placeholders of the tensors that the user gives."""
    from torch.export.graph_signature import InputKind

    user = {
        spec.arg.name for spec in exported.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT
    }
    for node in exported.graph.nodes:
        if node.op == "placeholder" and node.name in user and hasattr(node.meta.get("val"), "shape"):
            yield node


def _fixed_sizes(exported: ExportedProgram) -> int:
    """How many sizes of inputs are numbers by now."""
    sizes = [size for node in user_nodes(exported) for size in node.meta["val"].shape]
    return sum(isinstance(size, int) or not size.node.expr.free_symbols for size in sizes)
