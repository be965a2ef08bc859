"""`trtdsl check`: what a model is, or what is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trtdsl.cli.options import FILE, WEIGHTS, command, with_options
from trtdsl.cli.report import without_warnings
from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError
from trtdsl.options import CheckOptions

if TYPE_CHECKING:
    from trtdsl.ir import Graph


@command
@FILE
@WEIGHTS
@with_options(CheckOptions, "options")
def check(file: Path, weights: Path | None, options: CheckOptions) -> None:
    """Check a model, and a checkpoint against it, without TensorRT."""
    from trtdsl.compile import check_file, model_names

    names: Sequence[str | None] = [options.model]
    if options.model is None and weights is None and not options.defines:
        names = model_names(file) or [None]
    failed: list[Diagnostic] = []
    for name in names:
        try:
            checked = check_file(file, weights, dataclasses.replace(options, model=name))
        except UsageError:
            raise
        except DiagnosticError as error:
            failed += error.diagnostics
            continue
        print(_summary(without_warnings(checked)))
    if failed:
        raise DiagnosticError(*_distinct(failed))


def _distinct(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Diagnostics without those that say the same of the same place, as several models of a file do."""
    found: dict[tuple[object, ...], Diagnostic] = {}
    for diagnostic in diagnostics:
        found.setdefault((diagnostic.message, str(diagnostic.span)), diagnostic)
    return list(found.values())


def _summary(graph: Graph) -> str:
    from trtdsl.types import product

    count = sum(int(str(product(weight.type.shape))) for weight in graph.weights)
    inputs = ", ".join(f"{value.name}: {value.type}" for value in graph.inputs)
    outputs = ", ".join(f"{output.name}: {output.value.type}" for output in graph.outputs)
    weights = f"{len(graph.weights)} weights with {_count(count)} values"
    return f"{graph.name}: {len(graph.nodes)} operators, {weights}\n  {inputs} -> {outputs}"


def _count(number: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)
