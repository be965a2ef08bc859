"""The whole way from a `.trtnet` file and a checkpoint to an engine, as one call.

In: paths and choices, as the command line has them.  Out: an engine and its manifest on disk, and
what there is to say about them::

    compiled = compile_file("cnn.trtnet", "weights.pth", "cnn.engine", CompileOptions(targets=["sm89"]))
    compiled.manifest.sha256
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.elaborate import elaborate, models, read_source
from trtdsl.ir import Graph, require_valid
from trtdsl.options import CheckOptions, CompileOptions
from trtdsl.types import DType

if TYPE_CHECKING:
    from trtdsl.trt.build import ProgressCallback
    from trtdsl.trt.dialect import Dialect
    from trtdsl.trt.manifest import Manifest


@dataclass(frozen=True)
class Checked:
    """A model that is right as far as can be known without TensorRT; its weights bound, if any were given."""

    graph: Graph
    warnings: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class Compiled:
    """An engine on disk: its path and manifest, and the operator counts before and after the passes."""

    engine: Path
    manifest: Manifest
    before: Counter[str]
    after: Counter[str]


@dataclass(frozen=True)
class _Optimized:
    """The graph to lower, the names of the passes that made it, and whether its network is a mixed one."""

    graph: Graph
    passes: tuple[str, ...]
    mixed: bool = False


def check_file(
    path: str | Path, weights: str | Path | None = None, options: CheckOptions = CheckOptions()
) -> Checked:
    """Check one model of a file, against a checkpoint if one is given; raises :class:`DiagnosticError`."""
    text = read_source(Path(path), str(path))
    elaborated = elaborate(text, str(path), options.model, options.defines)
    if weights is None:
        return Checked(elaborated.graph, elaborated.warnings)
    from trtdsl.weights import bind, load_checkpoint

    checkpoint = load_checkpoint(weights, section=options.section, prefix=options.weights_prefix)
    notes = tuple(Diagnostic(note, severity="warning") for note in checkpoint.notes)
    bound = bind(elaborated.graph, checkpoint, options.weights_dtype)
    return Checked(bound.graph, (*elaborated.warnings, *notes, *bound.warnings))


def model_names(path: str | Path) -> tuple[str, ...]:
    """The models of a file, in order."""
    return models(read_source(Path(path), str(path)), str(path))


def compile_file(
    path: str | Path,
    weights: str | Path | None,
    engine: str | Path,
    options: CompileOptions = CompileOptions(),
    *,
    check: CheckOptions = CheckOptions(),
) -> Compiled:
    """A file's model and its checkpoint as an engine on disk; raises what :func:`compile_graph` does."""
    checked = check_file(path, weights, check)
    return compile_graph(checked.graph, engine, options, sources=[path, *([weights] if weights else [])])


def compile_graph(
    graph: Graph,
    engine: str | Path,
    options: CompileOptions = CompileOptions(),
    *,
    after: Callable[[str, Graph], None] | None = None,
    progress: ProgressCallback | None = None,
    tune: Callable[[Any], object] | None = None,
    sources: Sequence[str | Path] = (),
) -> Compiled:
    """Optimise, lower and build a graph whose weights are bound, and write engine and manifest.

    ``after`` sees the graph after each pass; ``progress`` and ``tune`` are those of
    :func:`trtdsl.trt.build.build`. Nothing is written unless all of it succeeds, and nothing but an engine is
    overwritten, least of all the ``sources``.
    Raises :class:`DiagnosticError`, and :class:`~trtdsl.diagnostics.Cancelled` on Ctrl-C.
    """
    from concurrent.futures import ThreadPoolExecutor

    from trtdsl.output import write_together
    from trtdsl.passes import operator_counts
    from trtdsl.trt.build import build
    from trtdsl.trt.dialect import load_runtime
    from trtdsl.trt.lower import lower
    from trtdsl.trt.manifest import describe_weights, make_manifest, manifest_path
    from trtdsl.trt.places import require_place
    from trtdsl.weights import release_pages

    engine = Path(engine)
    require_place(engine, sources)
    dialect = load_runtime(options.runtime)
    optimized = _optimized(graph, options, dialect, after)
    # What folding has read is not read again, and would add the checkpoint's size to the build's peak.
    release_pages(weight.data for weight in graph.weights if weight.data is not None)
    lowered = lower(optimized.graph, dialect, mixed=optimized.mixed)
    with ThreadPoolExecutor(1) as pool:
        weights = pool.submit(describe_weights, optimized.graph)
        data = build(lowered, options, progress=progress, tune=tune)
        manifest = make_manifest(lowered, data, options, passes=optimized.passes, weights=weights.result())
    write_together({engine: data, manifest_path(engine): manifest.to_json().encode()})
    return Compiled(engine, manifest, operator_counts(graph), operator_counts(optimized.graph))


def _optimized(
    graph: Graph, options: CompileOptions, dialect: Dialect, after: Callable[[str, Graph], None] | None
) -> _Optimized:
    from trtdsl.passes import CONVERT_PRECISION, optimize, pass_name, selected

    passes = tuple(pass_name(step) for step in selected(options.skip, options.only))
    require_values(graph)
    optimized = optimize(graph, options.skip, options.only, after)
    if options.precision is None:
        return _Optimized(optimized, passes)
    # After the others, so that what they fold is folded in the checkpoint's precision and rounded once.
    optimized, mixed = in_precision(optimized, DType(options.precision), dialect)
    if mixed:
        return _Optimized(optimized, passes, mixed)
    if after:
        after(CONVERT_PRECISION, optimized)
    return _Optimized(optimized, (*passes, CONVERT_PRECISION))


def in_precision(graph: Graph, precision: DType, dialect: Dialect) -> tuple[Graph, bool]:
    """The graph to lower for that precision, and whether as a mixed network.

    A weakly typed network stays as it is: TensorRT picks, layer by layer, what is faster in float16.
    Raises :class:`DiagnosticError` for what the precision cannot hold.
    """
    from trtdsl.passes import ConvertPrecision

    converted = require_valid(ConvertPrecision(precision)(graph))
    mixed = precision is DType.FLOAT16 and not dialect.facts.strongly_typed
    return (graph if mixed else converted), mixed


def require_values(graph: Graph) -> None:
    """Refuse a graph that needs a checkpoint and has met none."""
    unbound = [weight.key for weight in graph.weights if weight.data is None]
    if unbound:
        text = (
            f"model `{graph.name}` has {len(unbound)} weights, the first is `{unbound[0]}`: give a checkpoint"
        )
        raise UsageError(Diagnostic(text))
