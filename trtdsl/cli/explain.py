"""`trtdsl explain`: what becomes of each layer in a narrow precision, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trtdsl.cli.options import AS_JSON, FILE, WEIGHTS, command, with_options
from trtdsl.cli.progress import build_progress
from trtdsl.cli.report import report, without_warnings
from trtdsl.options import CheckOptions, CompileOptions


@command
@FILE
@WEIGHTS
@with_options(CheckOptions, "choice")
@with_options(
    CompileOptions, "options", "runtime", "targets", "recipe", "tf32", "plugins", "passes", "skip", "only"
)
@AS_JSON
def explain(
    file: Path,
    weights: Sequence[Path],
    choice: CheckOptions,
    options: CompileOptions,
    as_json: bool,
) -> None:
    """Say in which type each layer is computed, and why, of a model in a narrow precision.

    The model is built as by `compile`, and nothing is written.
    """
    import json

    from trtdsl.compile import check_file, explain_graph
    from trtdsl.precision.report import show_layers, to_dict

    graph = without_warnings(check_file(file, weights, choice))
    with build_progress() as progress:
        found = explain_graph(graph, options, progress=progress)
    report(found.notes)
    print(json.dumps(to_dict(found), indent=1) if as_json else show_layers(found))
