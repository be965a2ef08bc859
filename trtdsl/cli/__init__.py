"""The command line: arguments in, text out; every command is one call into the library."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtdsl.cli import engine as cli_engine
from trtdsl.diagnostics import Cancelled, Diagnostic, DiagnosticError, UsageError, render

if TYPE_CHECKING:
    from trtdsl.compile import Checked

app = typer.Typer(
    help="Text models in, TensorRT engines out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

OBJECTS_PER_COLLECTION = 200_000
"""Trees and graphs are many objects without cycles: by default Python would look through them again and
again while they grow, a third of the time of a large model."""

EXIT_INTERRUPTED = 130
EXIT_BUG = 70
BUG = "\nThis is a bug in trtdsl. Please report it with the command, the .trtnet file and the text above."

File = Annotated[Path, typer.Argument(help="A .trtnet file.", show_default=False)]
Weights = Annotated[
    Path | None,
    typer.Argument(help="A checkpoint: .pth, .pt, .safetensors or a shard index.", show_default=False),
]
ModelName = Annotated[str | None, typer.Option("--model", "-m", help="Which of the file's models.")]
Defines = Annotated[
    list[str] | None, typer.Option("-D", metavar="NAME=VALUE", help="Set a parameter of the model.")
]
WeightsType = Annotated[
    str | None,
    typer.Option(
        "--weights-dtype",
        metavar="DTYPE",
        help="Convert the checkpoint's floats to this dtype, or to `model` for what each layer needs.",
    ),
]
Section = Annotated[
    str | None, typer.Option("--section", help="The dict in the checkpoint that holds the weights: ema.")
]

PASSES = "remove_identities, fold_constants, merge_common_subexpressions, fold_batch_norm, remove_dead_nodes"
"""Written out, since importing them takes longer than printing a help."""

Skip = Annotated[list[str] | None, typer.Option(metavar="PASS,...", help=f"Leave out passes, of {PASSES}.")]
Only = Annotated[
    list[str] | None, typer.Option(metavar="PASS,...", help=f"Run no passes but these, of {PASSES}.")
]


def _print_versions(wanted: bool) -> None:
    if not wanted:
        return
    from importlib import metadata

    from trtdsl.trt.dialect import RUNTIMES

    for name in ("trtdsl", *RUNTIMES):
        # A runtime that is not installed has no line.
        with suppress(metadata.PackageNotFoundError):
            print(f"{name} {metadata.version(name)}")
    raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_versions, is_eager=True, help="Print the versions in use and exit."
        ),
    ] = False,
) -> None:
    """Options that stand before any command."""


@app.command()
def check(
    file: File,
    weights: Weights = None,
    model: ModelName = None,
    define: Defines = None,
    weights_dtype: WeightsType = None,
    section: Section = None,
) -> None:
    """Check a model, and a checkpoint against it, without TensorRT."""
    from trtdsl.compile import model_names

    names: Sequence[str | None] = [model]
    if model is None and weights is None and not define:
        names = model_names(file) or [None]
    failed: list[Diagnostic] = []
    for name in names:
        try:
            checked = _checked(file, weights, name, define, weights_dtype, section)
        except UsageError:
            raise
        except DiagnosticError as error:
            failed += error.diagnostics
            continue
        print(_summary(checked.graph))
    if failed:
        raise DiagnosticError(*_distinct(failed))


@app.command()
def compile(
    file: File,
    weights: Weights = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The engine; by default MODEL.engine in the current folder, after the model's name. What is "
            "there is overwritten only if it is an engine, its manifest beside it, or empty.",
        ),
    ] = None,
    model: ModelName = None,
    define: Defines = None,
    weights_dtype: WeightsType = None,
    section: Section = None,
    runtime: Annotated[
        str | None, typer.Option(help="tensorrt_rtx, or tensorrt where it is installed.")
    ] = None,
    target: Annotated[
        str, typer.Option(help="Compute capabilities to build for: sm89,sm120. TensorRT's choice by default.")
    ] = "",
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="DTYPE",
            help="Compute in float32, float16 or bfloat16; inputs and outputs keep their types.",
        ),
    ] = None,
    tf32: Annotated[
        bool | None, typer.Option(help="Let float32 products round to 10 bits, as TensorRT does by default.")
    ] = None,
    skip: Skip = None,
    only: Only = None,
    print_after: Annotated[
        list[str] | None,
        typer.Option(
            "--print-after",
            metavar="PASS,...",
            help=f"Print the graph after these passes: {PASSES}; with --precision also convert_precision.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but mistakes.")] = False,
) -> None:
    """Build a TensorRT engine from a model and its checkpoint."""
    from trtdsl.compile import compile_graph
    from trtdsl.trt.memory import return_large_blocks

    return_large_blocks()
    checked = _checked(file, weights, model, define, weights_dtype, section)
    with _progress(quiet) as progress:
        compiled = compile_graph(
            checked.graph,
            output or Path(f"{checked.graph.name}.engine"),
            runtime=_runtime(runtime),
            targets=_listed([target]),
            skip=_listed(skip),
            only=_listed(only) if only else None,
            precision=precision,
            tf32=tf32,
            after=_printer(_listed(print_after), precision),
            progress=progress,
            sources=[file, *([weights] if weights else [])],
        )
    if not quiet:
        _print_compiled(compiled)


@app.command()
def show(
    file: File,
    weights: Weights = None,
    model: ModelName = None,
    define: Defines = None,
    weights_dtype: WeightsType = None,
    section: Section = None,
    skip: Skip = None,
    only: Only = None,
) -> None:
    """Print a model's graph as a flat .trtnet file; with a checkpoint, as the passes leave it."""
    from trtdsl.ir import show as show_graph

    checked = _checked(file, weights, model, define, weights_dtype, section)
    graph = checked.graph
    if weights or skip or only:
        from trtdsl.passes import optimize

        graph = optimize(graph, _listed(skip), _listed(only) if only else None)
    print(show_graph(graph), end="")


@app.command()
def fmt(
    files: Annotated[list[Path], typer.Argument(help="The .trtnet files to format.", show_default=False)],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a file would change.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change.")] = False,
) -> None:
    """Lay out .trtnet files in the one way there is."""
    from trtdsl.elaborate import read_source
    from trtdsl.syntax.printer import format_text

    changed: list[Path] = []
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
        changed.append(path)
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
        raise typer.Exit(1)


@app.command()
def verify(
    file: File,
    weights: Weights = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="What makes the PyTorch module: torchvision.models:resnet18. Without a checkpoint both "
            "sides have the module's own weights.",
        ),
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option("--arg", metavar="NAME=VALUE", help="An argument for --against.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Compare with an ONNX model, run by onnxruntime.")] = None,
    outputs: Annotated[
        Path | None,
        typer.Option(help="Compare with the arrays of a .npz file; inputs are in it, or in --input."),
    ] = None,
    engine: Annotated[
        Path | None,
        typer.Option(help="Compute the outputs by this engine, on the GPU; by default on the CPU."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME=FILE.npy", help="An input's values; random by default but for --outputs."
        ),
    ] = None,
    model: ModelName = None,
    define: Defines = None,
    weights_dtype: WeightsType = None,
    section: Section = None,
    at: Annotated[str, typer.Option(help="Sizes of dynamic dimensions: min, opt or max.")] = "opt",
    seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0,
    dtype: Annotated[str, typer.Option(help="What both sides compute in: float32 or float64.")] = "float32",
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Relative L2 error allowed: 1e-4 in float32, 1e-6 in float64, 2e-3 with float16 weights, "
            "1.6e-2 with bfloat16 weights; of an engine in float32 1e-4, with TF32 2e-3, in float16 1e-2, "
            "in bfloat16 8e-2."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a model with PyTorch, layer by layer, or with other outputs; exit 1 where they differ.

    With --engine the engine computes the outputs on the GPU. Where they differ, the network is computed on
    the CPU to find out why; where they agree, neither a checkpoint nor PyTorch is needed for --outputs and
    --onnx.
    """
    import json

    from trtdsl import verification

    found = verification.verify(
        file,
        weights,
        against,
        arguments=_defines(arg, "--arg"),
        onnx=onnx,
        outputs=outputs,
        engine=engine,
        inputs=verification.load_inputs(inputs or ()),
        at=_choice("--at", at, ("min", "opt", "max")),
        seed=seed,
        dtype=_choice("--dtype", dtype, ("float32", "float64")),
        tolerance=tolerance,
        model=model,
        defines=_defines(define),
        weights_dtype=_dtype(weights_dtype),
        section=section,
    )
    print(json.dumps(found.to_dict(), indent=1) if as_json else verification.show_verification(found))
    if not found.equal:
        raise typer.Exit(1)


@app.command()
def ops(
    name: Annotated[str | None, typer.Argument(help="An operator to describe.", show_default=False)] = None,
) -> None:
    """List the operators of the language, or describe one."""
    from trtdsl.ops.describe import describe_operator, operator_table

    print(operator_table() if name is None else describe_operator(name))


for engine_command in (cli_engine.run, cli_engine.bench, cli_engine.inspect):
    app.command()(engine_command)


def _checked(
    file: Path,
    weights: Path | None,
    model: str | None,
    define: Sequence[str] | None,
    weights_dtype: str | None,
    section: str | None,
) -> Checked:
    """The model that these options choose, checked; its warnings are printed."""
    from trtdsl.compile import check_file

    checked = check_file(
        file,
        weights,
        model=model,
        defines=_defines(define),
        weights_dtype=_dtype(weights_dtype),
        section=section,
    )
    _report(checked.warnings)
    return checked


def _defines(texts: Sequence[str] | None, option: str = "-D") -> dict[str, Any]:
    from trtdsl.elaborate import evaluate_define

    return dict(evaluate_define(text, option) for text in texts or ())


def _listed(texts: Sequence[str] | None) -> list[str]:
    """The names in an option that takes several, by commas or by being repeated."""
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def _choice(option: str, value: str, choices: Sequence[str]) -> Any:
    if value not in choices:
        raise UsageError(Diagnostic(f"`{option} {value}`: choose one of {', '.join(choices)}"))
    return value


def _dtype(name: str | None) -> Any:
    from trtdsl.types import DType

    floats = {str(dtype): dtype for dtype in DType if dtype.is_floating}
    if name is None or name == "model":
        return name
    if name not in floats:
        raise UsageError(Diagnostic(f"`--weights-dtype {name}`: choose one of model, {', '.join(floats)}"))
    return floats[name]


def _runtime(name: str | None) -> str | None:
    """The runtime's module; the package is spelled with a dash."""
    return name.replace("-", "_") if name else None


def _printer(names: Sequence[str], precision: str | None) -> Callable[[str, Any], None]:
    """What prints the graph after these passes; unknown ones are refused."""
    from trtdsl.ir import show as show_graph
    from trtdsl.passes import CONVERT_PRECISION, selected

    selected(only=[name for name in names if not (precision and name == CONVERT_PRECISION)])

    def after(name: str, graph: Any) -> None:
        if name in names:
            print(f"# after {name}\n{show_graph(graph)}")

    return after


def _report(diagnostics: Sequence[Diagnostic]) -> None:
    for diagnostic in diagnostics:
        print(render(diagnostic), file=sys.stderr)


def _distinct(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Diagnostics without those that say the same of the same place, as several models of a file do."""
    found: dict[tuple[object, ...], Diagnostic] = {}
    for diagnostic in diagnostics:
        found.setdefault((diagnostic.message, str(diagnostic.span)), diagnostic)
    return list(found.values())


def _summary(graph: Any) -> str:
    from trtdsl.types import product

    count = sum(int(str(product(weight.type.shape))) for weight in graph.weights)
    inputs = ", ".join(f"{value.name}: {value.type}" for value in graph.inputs)
    outputs = ", ".join(f"{output.name}: {output.value.type}" for output in graph.outputs)
    weights = f"{len(graph.weights)} weights with {_count(count)} values"
    return f"{graph.name}: {len(graph.nodes)} operators, {weights}\n  {inputs} -> {outputs}"


def _count(number: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def _print_compiled(compiled: Any) -> None:
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
        f"wrote {compiled.engine}: {manifest.size / 1e6:.1f} MB, {len(manifest.layers)} layers,"
        f" {manifest.runtime} {manifest.runtime_version} for {show_targets(manifest)}"
    )


def _print_diff(path: Path, before: str, after: str) -> None:
    import difflib

    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), str(path), f"{path} (formatted)"
    )
    sys.stdout.writelines(lines)


def _write(path: Path, text: str) -> None:
    from trtdsl.trt.build import write_atomically

    # What a link points to is written, the link stays.
    write_atomically(path.resolve(), text.encode())


@contextmanager
def _progress(quiet: bool) -> Generator[Callable[[Any], object] | None]:
    """A progress bar fed by TensorRT, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def update(event: Any) -> None:
            if event.phase not in tasks:
                tasks[event.phase] = bar.add_task(event.phase, total=event.total)
            bar.update(tasks[event.phase], completed=event.step)

        yield update


def main() -> None:
    """Run the command line; every outcome has its exit code."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    # No product of matrices is computed here, and numpy's import would start threads for it: 0.06 s.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app()
    except DiagnosticError as error:
        _report(error.diagnostics)
        sys.exit(error.exit_code)
    except (Cancelled, KeyboardInterrupt):
        print("cancelled; nothing was written", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        traceback.print_exception(error)
        print(BUG, file=sys.stderr)
        sys.exit(EXIT_BUG)
