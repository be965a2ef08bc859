"""`trtdsl calibrate`: the ranges of a model's tensors, from data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trtdsl.cli.options import FILE, PATH, WEIGHTS, command, with_options
from trtdsl.cli.progress import run_progress
from trtdsl.cli.report import without_warnings
from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.options import CheckOptions, CompileOptions
from trtdsl.output import require_writable
from trtdsl.recipe import Recipe


@command
@FILE
@WEIGHTS
@click.option(
    "--data",
    type=PATH,
    metavar="PATH",
    required=True,
    help="A .npz file with an array for each input, samples along the first dimension; of a model with one "
    "input a .npy file will do.",
)
@click.option("--output", "-o", type=PATH, metavar="PATH", help="The file; by default MODEL.ranges.json.")
@click.option(
    "--method",
    type=click.Choice(["max", "percentile", "mse", "entropy"]),
    default="max",
    show_default=True,
    help="How a range is chosen.",
)
@click.option(
    "--percentile",
    type=float,
    help="The share of the numbers that --method percentile keeps whole, 99.99 by default.",
)
@click.option("--samples", type=click.IntRange(1), metavar="N", help="Use the first N samples only.")
@with_options(CheckOptions, "choice")
@with_options(CompileOptions, "options", "passes", "skip", "only")
def calibrate(
    file: Path,
    weights: Sequence[Path],
    data: Path,
    output: Path | None,
    method: Any,
    percentile: float | None,
    samples: int | None,
    choice: CheckOptions,
    options: CompileOptions,
) -> None:
    """Find the ranges of the tensors that a model's layers read, for int8 and float8."""
    from trtdsl.array_files import read_named
    from trtdsl.compile import check_file, optimize_graph, require_values
    from trtdsl.precision.calibrate import calibrate as observe
    from trtdsl.precision.ranges import digest, ranges_of
    from trtdsl.reference import require_torch

    # Says what is wrong with these, or does not go together.
    chosen = Recipe(precision="int8", calibrate=data, method=method, percentile=percentile)
    require_torch("finding ranges")
    graph = without_warnings(check_file(file, weights, choice))
    require_values(graph)
    path = output or Path(f"{graph.name}.ranges.json")
    require_writable(path)
    arrays = read_named(data, [value.name for value in graph.inputs])
    optimized = optimize_graph(graph, options).graph
    with run_progress() as progress:
        observed = observe(optimized, arrays, samples=samples, progress=progress)
    if not observed:
        raise UsageError(Diagnostic(f"model `{graph.name}` has neither convolutions nor linear layers"))
    count = min(samples or sys.maxsize, *(len(array) for array in arrays.values()))
    share = 99.99 if percentile is None else percentile
    found = ranges_of(observed, graph.name, chosen.method, count, digest(arrays), percentile=share)
    found.write(path)
    layers, used = len(found.layers), f"{count} sample{'s' * (count != 1)}"
    print(f"wrote {path}: the ranges of {layers} layer{'s' * (layers != 1)}, from {used}")
