"""What commands print about models and mistakes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, render

if TYPE_CHECKING:
    from trtdsl.compile import Checked
    from trtdsl.ir import Graph, RefusedNode
    from trtdsl.options import CompileOptions


def report(diagnostics: Sequence[Diagnostic], quiet: bool = False) -> None:
    """Print mistakes, warnings and, unless ``quiet``, notes where they belong, on stderr."""
    for diagnostic in diagnostics:
        if not quiet or diagnostic.severity != "note":
            print(render(diagnostic), file=sys.stderr)


def without_warnings(checked: Checked) -> Graph:
    """The graph of a checked model, whose warnings are printed."""
    report(checked.warnings)
    return checked.graph


def explainer(names: Sequence[str], options: CompileOptions) -> Callable[[str, Sequence[RefusedNode]], None]:
    """What prints, after these of the passes, which nodes they left as they were, and why."""
    from trtdsl.passes import selected, with_passes

    steps = with_passes(options.passes)
    selected(only=names, passes=steps)
    running = {step.name for step in selected(options.skip, options.only, steps)}
    for name in names:
        if name not in running:
            print(f"{name}: it does not run, as the options have it", file=sys.stderr)

    def explain(name: str, refused: Sequence[RefusedNode]) -> None:
        if name not in names:
            return
        if not refused:
            print(f"{name}: nothing was refused", file=sys.stderr)
        for each in refused:
            node = each.node
            what = f"`{node.scope or node.results[0].name}`, {node.op.name}"
            message = f"{name} leaves {what}: {each.refusal.reason}"
            report([replace(Diagnostic.at(message, each.origins), severity="note")])

    return explain
