"""`trtdsl export`: a model as a program for machines that trtdsl does not run on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from trtdsl.cli.options import FILE, PATH, WEIGHTS, choice_of, command, with_options
from trtdsl.cli.report import report
from trtdsl.diagnostics import Diagnostic, UsageError, counted
from trtdsl.options import CheckOptions, CompileOptions
from trtdsl.output import show_size

_KINDS = ("tensorrt",)


@command
@FILE
@WEIGHTS
@click.option(
    "--to",
    "kind",
    metavar="KIND",
    help="tensorrt: a Python script that builds the network with TensorRT and numpy alone, and its weights.",
)
@click.option(
    "--output",
    "-o",
    type=PATH,
    metavar="PATH",
    help="The script; by default build_FILE.py in the current folder, with --model build_MODEL.py. Its "
    "weights are beside it in a .npz file of the same name. What is there is overwritten.",
)
@click.option(
    "--for",
    "release",
    metavar="RELEASE",
    default="8.5",
    show_default=True,
    help="The oldest TensorRT that the script shall run with: layers that came later are composed of others.",
)
@with_options(CheckOptions, "choice")
@with_options(CompileOptions, "options", "profiles", "recipe", "tf32", "passes", "skip", "only")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but mistakes and warnings.")
def export(
    file: Path,
    weights: Sequence[Path],
    kind: str | None,
    output: Path | None,
    release: str,
    choice: CheckOptions,
    options: CompileOptions,
    quiet: bool,
) -> None:
    """Write a model as a Python script that builds its engine elsewhere, as on a Jetson."""
    from trtdsl.exporters.script import arrays_path, export_file

    if kind is None:
        help = (f"give `--to {_KINDS[0]}`: a Python script that builds the network, and its weights",)
        raise UsageError(Diagnostic("`export` must be told what to write", help=help))
    choice_of("--to", kind, _KINDS)
    script = output or Path(f"build_{choice.model or file.stem}.py")
    exported = export_file(file, weights, script, options, check=choice, release=release)
    report(exported.warnings)
    report(exported.notes, quiet)
    if not quiet:
        arrays = arrays_path(script)
        size = show_size(arrays.stat().st_size)
        layers = exported.lowered.network.num_layers
        print(f"wrote {script}: {counted(layers, 'layer')} for {exported.dialect.release} and later")
        print(f"wrote {arrays}: {counted(len(exported.arrays), 'array')}, {size}")
