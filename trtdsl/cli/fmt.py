"""`trtdsl fmt`: texts laid out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from trtdsl.cli.options import PATH, argument, command
from trtdsl.diagnostics import DiagnosticError, UsageError


@command
@argument(
    "files", "The .trtnet files, or --weights-map files, to format.", type=PATH, nargs=-1, required=True
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
@click.pass_context
def fmt(context: click.Context, files: Sequence[Path], check: bool, diff: bool) -> None:
    """Lay out .trtnet files in the one way there is."""
    from trtdsl.syntax import format_text
    from trtdsl.syntax.source import read_source

    changed = False
    failed: list[DiagnosticError] = []
    for path in files:
        try:
            before = read_source(path, str(path))
            after = format_text(before, str(path))
        except DiagnosticError as error:
            failed.append(error)
            continue
        if before == after:
            continue
        changed = True
        if diff:
            _print_diff(path, before, after)
        elif check:
            print(f"would reformat {path}")
        else:
            _write(path, after)
            print(f"reformatted {path}")
    if failed:
        kind = UsageError if all(isinstance(error, UsageError) for error in failed) else DiagnosticError
        raise kind(*(diagnostic for error in failed for diagnostic in error.diagnostics))
    if changed and (check or diff):
        context.exit(1)


def _print_diff(path: Path, before: str, after: str) -> None:
    import difflib

    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), str(path), f"{path} (formatted)"
    )
    sys.stdout.writelines(lines)


def _write(path: Path, text: str) -> None:
    from trtdsl.output import write_atomically

    # What a link points to is written, the link stays.
    write_atomically(path.resolve(), text.encode())
