"""`trtdsl calibrate`: the ranges of a model's tensors, from data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from trtdsl.cli.options import FILE, PATH, WEIGHTS, command, with_options, with_words
from trtdsl.cli.progress import run_progress
from trtdsl.cli.report import without_warnings
from trtdsl.diagnostics import Diagnostic, UsageError, counted
from trtdsl.options import CheckOptions, CompileOptions
from trtdsl.output import require_unread, require_writable
from trtdsl.recipe import Recipe


@command
@FILE
@WEIGHTS
@with_words("words", "calibrate", "samples", "method", "percentile")
@click.option("--output", "-o", type=PATH, metavar="PATH", help="The file; by default MODEL.ranges.json.")
@with_options(CheckOptions, "choice")
@with_options(CompileOptions, "options", "passes", "skip", "only")
def calibrate(
    file: Path,
    weights: Sequence[Path],
    words: Mapping[str, Any],
    output: Path | None,
    choice: CheckOptions,
    options: CompileOptions,
) -> None:
    """Find the ranges of the tensors that a model's layers read, for int8 and float8."""
    from trtdsl.calibrate import calibrate_graph
    from trtdsl.compile import check_file, sources_of

    if "calibrate" not in words:
        raise UsageError(Diagnostic("ranges are found with data", help=("give `--calibrate samples.npz`",)))
    # Says what is wrong with these, or does not go together.
    recipe = Recipe(precision="int8", **words)
    graph = without_warnings(check_file(file, weights, choice))
    path = output or Path(f"{graph.name}.ranges.json")
    require_writable(path)
    sources = (*sources_of(file, weights, choice), words["calibrate"], *options.files_read)
    require_unread(path, sources, "the ranges are found with it")
    with run_progress() as progress:
        found = calibrate_graph(graph, recipe, options, progress=progress)
    found.write(path)
    print(f"wrote {path}: {counted(len(found.layers), 'range')}, from {counted(found.samples, 'sample')}")
