"""`trtdsl show`: a model's graph as text."""

from __future__ import annotations

from pathlib import Path

from trtdsl.cli.options import FILE, WEIGHTS, command, with_options
from trtdsl.cli.report import without_warnings
from trtdsl.options import CheckOptions, CompileOptions


@command
@FILE
@WEIGHTS
@with_options(CheckOptions, "choice")
@with_options(CompileOptions, "options", "precision", "skip", "only")
def show(file: Path, weights: Path | None, choice: CheckOptions, options: CompileOptions) -> None:
    """Print a model's graph as a flat .trtnet file; with a checkpoint, as the passes leave it."""
    from trtdsl.compile import check_file
    from trtdsl.ir import show as show_graph

    graph = without_warnings(check_file(file, weights, choice))
    if weights or options != CompileOptions():
        from trtdsl.passes import optimize

        graph = optimize(graph, options.skip, options.only)
    if options.precision is not None:
        from trtdsl.ir import require_valid
        from trtdsl.passes import ConvertPrecision
        from trtdsl.types import DType

        graph = require_valid(ConvertPrecision(DType(options.precision))(graph))
    print(show_graph(graph), end="")
