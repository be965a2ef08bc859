"""`trtdsl compile`: an engine and its manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trtdsl.cli.options import FILE, PATH, WEIGHTS, command, names_in, pass_option, with_options
from trtdsl.cli.progress import build_progress
from trtdsl.cli.report import explainer, report, without_warnings
from trtdsl.diagnostics import counted
from trtdsl.options import CheckOptions, CompileOptions

if TYPE_CHECKING:
    from trtdsl.compile import Compiled
    from trtdsl.ir import Graph


@command
@FILE
@WEIGHTS
@click.option(
    "--output",
    "-o",
    type=PATH,
    metavar="PATH",
    help="The engine; by default FILE.engine in the current folder, with --model MODEL.engine. What is "
    "there is overwritten only if it is an engine, its manifest beside it, or empty.",
)
@with_options(CheckOptions, "choice")
@with_options(CompileOptions, "options")
@pass_option(
    "--print-after",
    help="Print the graph after these passes; with --precision also convert_precision, "
    "with int8, int4 and their kind quantize.",
)
@pass_option("--explain", help="Say what these passes left as it was, and why.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but mistakes and warnings.")
def compile(
    file: Path,
    weights: Sequence[Path],
    output: Path | None,
    choice: CheckOptions,
    options: CompileOptions,
    print_after: Sequence[str],
    explain: Sequence[str],
    quiet: bool,
) -> None:
    """Build a TensorRT engine from a model and its checkpoint."""
    from trtdsl.compile import check_file, compile_command, compile_graph, sources_of
    from trtdsl.trt.memory import return_large_blocks

    return_large_blocks()
    graph = without_warnings(check_file(file, weights, choice))
    engine = output or Path(f"{choice.model or file.stem}.engine")
    with build_progress(quiet) as progress:
        compiled = compile_graph(
            graph,
            engine,
            options,
            after=_printer(names_in(print_after), options),
            refused=explainer(names_in(explain), options),
            progress=progress,
            sources=sources_of(file, weights, choice),
            command=compile_command(file, weights, choice, options),
        )
    report(compiled.notes, quiet)
    if not quiet:
        _print_compiled(compiled)


def _printer(names: Sequence[str], options: CompileOptions) -> Callable[[str, Graph], None]:
    """What prints the graph after these passes; unknown ones are refused."""
    from trtdsl.ir import show as show_graph
    from trtdsl.passes import CONVERT_PRECISION, QUANTIZE, selected, with_passes

    narrow = options.recipe is not None and options.recipe.is_narrow
    stages = (CONVERT_PRECISION,) if options.precision else ()
    asked = [name for name in names if name not in (*stages, *((QUANTIZE,) if narrow else ()))]
    selected(only=asked, passes=with_passes(options.passes))

    def after(name: str, graph: Graph) -> None:
        if name in names:
            print(f"# after {name}\n{show_graph(graph)}")

    return after


def _print_compiled(compiled: Compiled) -> None:
    from trtdsl.output import show_size
    from trtdsl.runtime.binding import show_binding
    from trtdsl.runtime.inspect import show_ranges, show_targets

    manifest = compiled.manifest
    print(f"{'operator':<24}{'model':>8}{'engine':>8}")
    for name in sorted({*compiled.before, *compiled.after}):
        print(f"{name:<24}{compiled.before[name] or '-':>8}{compiled.after[name] or '-':>8}")
    print(f"{'total':<24}{sum(compiled.before.values()):>8}{sum(compiled.after.values()):>8}\n")
    for kind, bindings in (("input", manifest.inputs), ("output", manifest.outputs)):
        for binding in bindings:
            print(f"{kind:<8}{binding.name}: {show_binding(binding)}")
    for profile in manifest.profiles:
        print(f"profile {profile.name}: {show_ranges(profile)}")
    print(
        f"wrote {compiled.engine}: {show_size(manifest.size)}, {counted(len(manifest.layers), 'layer')},"
        f" {manifest.runtime} {manifest.runtime_version} for {show_targets(manifest)}"
    )
    if compiled.precision:
        from trtdsl.precision.report import show_report

        print(f"\n{show_report(compiled.precision)}")
