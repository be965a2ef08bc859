"""`trtdsl import`: a PyTorch module, an exported program or an ONNX file as a text."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import join, quote
from typing import TYPE_CHECKING

import click

from trtdsl.cli.call_arguments import call_arguments
from trtdsl.cli.options import PATH, argument, command
from trtdsl.diagnostics import Diagnostic, UsageError, counted
from trtdsl.output import require_writable, show_size

if TYPE_CHECKING:
    from trtdsl.importers.module import Imported
    from trtdsl.importers.source import Opened
    from trtdsl.types import Symbol


_UNNAMED = Path("weights.pth")
"""The checkpoint of a module that was imported without one."""


@command
@argument(
    "source",
    "What to import: package.module:name or file.py:name, which is a torch.nn.Module or makes one, a "
    "program.pt2 that torch.export.save wrote, or a model.onnx.",
)
@click.option(
    "--input",
    "inputs",
    metavar="NAME=TYPE",
    multiple=True,
    help="An input as the language writes it: `x=float32[N, 3, 224, 224]`, `ids=int64[N, S] in 0 .. 50256`. "
    "Names are dynamic dimensions.",
)
@click.option(
    "--dim",
    "dims",
    metavar="NAME=RANGE",
    multiple=True,
    help="The sizes of a dynamic dimension: `N=1..8..64`, `H='64..256..512, step = 32'`.",
)
@click.option(
    "--arg",
    "arguments",
    metavar="NAME=VALUE",
    multiple=True,
    help="An argument for SOURCE: a Python literal.",
)
@click.option(
    "--weights", type=PATH, metavar="CHECKPOINT", help="Load this checkpoint into the module first."
)
@click.option("--name", metavar="NAME", default="", help="The model's name; by default after SOURCE.")
@click.option(
    "--output",
    "-o",
    type=PATH,
    metavar="FILE",
    help="The text; by default it is printed. Constants that no state dict holds go beside it, into "
    "NAME.constants.safetensors; the weights of a file into NAME.weights.safetensors.",
)
@click.option(
    "--with-weights",
    is_flag=True,
    help="Write the module's weights beside the text too, into NAME.weights.safetensors.",
)
@click.option("--force", is_flag=True, help="Overwrite a text that is there and has been edited since.")
@click.option("--flat", is_flag=True, help="Write one model without blocks and loops.")
@click.option(
    "--verify",
    is_flag=True,
    help="Compare with the module at other sizes: in float32, and in float64 with random weights.",
)
@click.pass_context
def import_(
    context: click.Context,
    source: str,
    inputs: Sequence[str],
    dims: Sequence[str],
    arguments: Sequence[str],
    weights: Path | None,
    name: str,
    output: Path | None,
    with_weights: bool,
    force: bool,
    flat: bool,
    verify: bool,
) -> None:
    """Write a PyTorch module, an exported program or an ONNX file as a text.

    Blocks are the module's classes and labels the keys of its state dict, so the
    checkpoint is loaded as it is.
    """
    from trtdsl.cli.report import report
    from trtdsl.importers.inputs import split_pairs
    from trtdsl.importers.source import open_source
    from trtdsl.ir.names import identifier

    if output is not None:
        require_writable(output)
    if name and identifier(name) != name:
        raise UsageError(Diagnostic(f"`--name {name}`: a model cannot have this name"))
    opened = open_source(
        source,
        split_pairs(inputs, "--input", "x=float32[N, 3, 224, 224]"),
        split_pairs(dims, "--dim", "N=1..8..64"),
        call_arguments(arguments),
        weights,
        name,
    )
    with _progress(f"exporting {source}"):
        imported = opened.imported(is_flat=flat)
        if with_weights:
            imported = opened.with_weights(imported)
    report(imported.notes)
    for line in _guesses(opened, imported):
        print(line, file=sys.stderr)
    if output is None:
        print(imported.text, end="")
        if imported.constants or imported.weights:
            what = "its weights" if imported.weights else _count(imported)
            _say(f"the text needs {what} beside it, which `-o FILE` writes")
    else:
        _write(imported, output, force)
        _say(*_written(imported, output))
    if verify and not _verified(opened, imported):
        context.exit(1)
    if output is not None:
        _say(*_next_steps(imported, output, weights))


def _write(imported: Imported, output: Path, force: bool) -> None:
    """Write the files, but not over a text that is another."""
    if output.exists() and not force and output.read_bytes() != imported.text.encode():
        help = ("`--force` overwrites it",)
        raise UsageError(Diagnostic(f"`{output}` is there and is another text", help=help))
    imported.save(output)


def _written(imported: Imported, output: Path) -> list[str]:
    """What was written."""
    from trtdsl.importers.module import constants_path, weights_path

    lines = [f"wrote {output}: {imported.text.count(chr(10))} lines, {_weights(imported)} weights"]
    if imported.weights:
        size = sum(array.nbytes for array in imported.weights.values())
        lines.append(f"wrote {weights_path(output)}: {show_size(size)}")
    if imported.constants:
        size = sum(array.nbytes for array in imported.constants.values())
        lines.append(f"wrote {constants_path(output)}: {_count(imported)}, {show_size(size)}")
    return lines


def _next_steps(imported: Imported, output: Path, weights: Path | None) -> list[str]:
    """How to go on, and where the weights come from that are not there yet."""
    from trtdsl.importers.module import constants_path, weights_path

    files = [output]
    if imported.weights:
        files.append(weights_path(output))
    elif _weights(imported):
        files.append(weights or _UNNAMED)
    if imported.constants:
        files.append(constants_path(output))
    steps = [f"next: trtdsl compile {join(map(str, files))}"]
    if _UNNAMED in files and not _UNNAMED.exists():
        steps.append(
            f'where {_UNNAMED} is what torch.save(module.state_dict(), "{_UNNAMED}") writes;'
            " `--with-weights` writes the module's weights beside the text"
        )
    return steps


def _weights(imported: Imported) -> int:
    assert imported.graph
    return sum(not weight.constant for weight in imported.graph.weights)


def _count(imported: Imported) -> str:
    return counted(len(imported.constants), "constant")


def _guesses(opened: Opened, imported: Imported) -> list[str]:
    """The ranges that nobody gave."""
    guessed = opened.inputs.guessed if opened.inputs else imported.guessed
    ranges = [_range(each) for each in imported.dims if each.name in guessed]
    names = " ".join(f"--dim {quote(text.replace(' ', ''))}" for text in ranges)
    return [f"assumed {', '.join(ranges)}; to change this, give {names}"] if ranges else []


def _range(dim: Symbol) -> str:
    step = f", step = {dim.step}" if dim.step > 1 else ""
    return f"{dim.name} = {dim.minimum} .. {dim.optimum} .. {dim.maximum}{step}"


def _verified(opened: Opened, imported: Imported) -> bool:
    """Whether the text computes what the module does; says so."""
    from trtdsl.importers.verifying import compared
    from trtdsl.verification import show_verification

    equal: list[str] = []
    with _progress(f"verifying against {opened.source}"):
        against, is_fixed = opened.onnx or opened.module, opened.inputs is None
        for found in compared(imported, against, is_fixed=is_fixed):
            if not found.verification.equal:
                print(show_verification(found.verification), file=sys.stderr)
                return False
            equal.append(str(found))
    _say(f"equal to {opened.source}: {'; '.join(equal)}")
    return True


def _say(*lines: str) -> None:
    """Beside the text, which may go to a pipe."""
    for line in lines:
        print(line, file=sys.stderr)


@contextmanager
def _progress(what: str) -> Generator[None]:
    """A line that says what takes so long, on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
