"""`trtdsl explain`: in which type each layer is computed, and why."""

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
    CompileOptions,
    "options",
    "runtime",
    "targets",
    "profiles",
    "recipe",
    "tf32",
    "plugins",
    "passes",
    "skip",
    "only",
)
@AS_JSON
def explain(
    file: Path,
    weights: Sequence[Path],
    choice: CheckOptions,
    options: CompileOptions,
    as_json: bool,
) -> None:
    """Say in which type each layer of a model is computed by --precision or --recipe, and why.

    In a narrow precision the model is built as by `compile`, and TensorRT's own list says what it computes;
    of float16 and bfloat16 it is said what stays float32. Nothing is written.
    """
    import json

    from trtdsl.compile import check_file
    from trtdsl.explain import explain_graph
    from trtdsl.precision.floating_report import FloatingReport, floating_to_dict, show_floating
    from trtdsl.precision.report import show_layers, to_dict

    graph = without_warnings(check_file(file, weights, choice))
    with build_progress() as progress:
        found = explain_graph(graph, options, progress=progress)
    report(found.notes)
    if isinstance(found, FloatingReport):
        print(json.dumps(floating_to_dict(found), indent=1) if as_json else show_floating(found))
    else:
        print(json.dumps(to_dict(found), indent=1) if as_json else show_layers(found))
