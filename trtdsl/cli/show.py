"""`trtdsl show`: a model's graph as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trtdsl.cli.options import FILE, WEIGHTS, command, names_in, pass_option, with_options
from trtdsl.cli.report import explainer, without_warnings
from trtdsl.options import CheckOptions, CompileOptions


@command
@FILE
@WEIGHTS
@with_options(CheckOptions, "choice")
@with_options(CompileOptions, "options", "profiles", "recipe", "passes", "skip", "only")
@pass_option("--explain", help="Say what these passes left as it was, and why.")
def show(
    file: Path,
    weights: Sequence[Path],
    choice: CheckOptions,
    options: CompileOptions,
    explain: Sequence[str],
) -> None:
    """Print a model's graph as a flat .trtnet file; with a checkpoint, or sizes, as the passes leave it."""
    from trtdsl.compile import check_file, optimize_graph
    from trtdsl.ir import show as show_graph

    graph = without_warnings(check_file(file, weights, choice))
    if weights or explain or options != CompileOptions():
        graph = optimize_graph(graph, options, refused=explainer(names_in(explain), options)).graph
    print(show_graph(graph), end="")
