"""What commands print about models and mistakes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trtdsl.diagnostics import Diagnostic, render

if TYPE_CHECKING:
    from trtdsl.compile import Checked
    from trtdsl.ir import Graph


def report(diagnostics: Sequence[Diagnostic]) -> None:
    """Print mistakes and warnings where they belong, on stderr."""
    for diagnostic in diagnostics:
        print(render(diagnostic), file=sys.stderr)


def without_warnings(checked: Checked) -> Graph:
    """The graph of a checked model, whose warnings are printed."""
    report(checked.warnings)
    return checked.graph
