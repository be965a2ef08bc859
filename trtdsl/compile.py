"""The whole way from a `.trtnet` file and a checkpoint to an engine, as one call.

In: paths and choices, as the command line has them.  Out: an engine and its manifest on disk, and
what there is to say about them::

    compiled = compile_file("cnn.trtnet", "weights.pth", "cnn.engine", targets=["sm89"])
    compiled.manifest.sha256
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.elaborate import elaborate, models, read_source
from trtdsl.ir import Graph, require_valid
from trtdsl.types import DType

if TYPE_CHECKING:
    from trtdsl.trt.build import ProgressCallback
    from trtdsl.trt.dialect import Dialect
    from trtdsl.trt.manifest import Manifest
    from trtdsl.weights import WeightsDType


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


def check_file(
    path: str | Path,
    weights: str | Path | None = None,
    *,
    model: str | None = None,
    defines: Mapping[str, Any] | None = None,
    weights_dtype: WeightsDType = None,
    section: str | None = None,
) -> Checked:
    """Check one model of a file, against a checkpoint if one is given; raises :class:`DiagnosticError`."""
    elaborated = elaborate(read_source(Path(path), str(path)), str(path), model, defines)
    if weights is None:
        return Checked(elaborated.graph, elaborated.warnings)
    from trtdsl.weights import bind, load_checkpoint

    checkpoint = load_checkpoint(weights, section=section)
    notes = tuple(Diagnostic(note, severity="warning") for note in checkpoint.notes)
    bound = bind(elaborated.graph, checkpoint, weights_dtype)
    return Checked(bound.graph, (*elaborated.warnings, *notes, *bound.warnings))


def model_names(path: str | Path) -> tuple[str, ...]:
    """The models of a file, in order."""
    return models(read_source(Path(path), str(path)), str(path))


def compile_graph(
    graph: Graph,
    engine: str | Path,
    *,
    runtime: str | None = None,
    targets: str | Sequence[str] = (),
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    precision: DType | str | None = None,
    tf32: bool | None = None,
    after: Callable[[str, Graph], None] | None = None,
    progress: ProgressCallback | None = None,
    tune: Callable[[Any], object] | None = None,
    sources: Sequence[str | Path] = (),
) -> Compiled:
    """Optimise, lower and build a graph whose weights are bound, and write engine and manifest.

    ``precision``, a dtype or its name, computes everything between inputs and outputs in that type; on
    TensorRT 8.5, whose networks are weakly typed, float16 is what TensorRT may compute in where it is faster.
    ``tf32`` and ``tune`` are those of :func:`trtdsl.trt.build.build`; ``after`` sees the graph after each
    pass. Nothing is written unless all of it succeeds, and nothing but an engine is overwritten, least of all
    the ``sources``.
    Raises :class:`DiagnosticError`, and :class:`~trtdsl.diagnostics.Cancelled` on Ctrl-C.
    """
    from concurrent.futures import ThreadPoolExecutor

    from trtdsl.passes import CONVERT_PRECISION, operator_counts, optimize, pass_name, selected
    from trtdsl.trt.build import build, target_names, write_together
    from trtdsl.trt.dialect import load_runtime
    from trtdsl.trt.lower import lower
    from trtdsl.trt.manifest import describe_weights, make_manifest, manifest_path
    from trtdsl.trt.places import require_place
    from trtdsl.weights import release_pages

    engine = Path(engine)
    require_place(engine, sources)
    targets = target_names(targets)
    precision = _precision(precision)
    passes = [pass_name(step) for step in selected(skip, only)]
    require_values(graph)
    optimized = optimize(graph, skip, only, after)
    dialect = load_runtime(runtime)
    mixed = False
    if precision is not None:
        # After the others, so that what they fold is folded in the checkpoint's precision and rounded once.
        optimized, mixed = in_precision(optimized, precision, dialect)
        if not mixed:
            passes.append(CONVERT_PRECISION)
            if after:
                after(CONVERT_PRECISION, optimized)
    # What folding has read is not read again, and would add the checkpoint's size to the build's peak.
    release_pages(weight.data for weight in graph.weights if weight.data is not None)
    lowered = lower(optimized, dialect, mixed=mixed)
    with ThreadPoolExecutor(1) as pool:
        weights = pool.submit(describe_weights, optimized)
        data = build(lowered, targets=targets, tf32=tf32, progress=progress, tune=tune)
        manifest = make_manifest(
            lowered, data, targets=targets, tf32=tf32, passes=passes, weights=weights.result()
        )
    write_together({engine: data, manifest_path(engine): manifest.to_json().encode()})
    return Compiled(engine, manifest, operator_counts(graph), operator_counts(optimized))


def _precision(wanted: DType | str | None) -> DType | None:
    from trtdsl.trt.manifest import PRECISIONS

    found = next((dtype for dtype in PRECISIONS if wanted in (dtype, str(dtype))), None)
    if wanted is not None and found is None:
        text = f"the precision is `{wanted}`: choose one of {', '.join(map(str, PRECISIONS))}"
        raise UsageError(Diagnostic(text))
    return found


def in_precision(graph: Graph, precision: DType, dialect: Dialect) -> tuple[Graph, bool]:
    """The graph to lower for that precision, and whether as a mixed network.

    A weakly typed network stays as it is: TensorRT picks, layer by layer, what is faster in float16.
    Raises :class:`DiagnosticError` for what the precision cannot hold.
    """
    from trtdsl.passes import ConvertPrecision

    converted = require_valid(ConvertPrecision(precision)(graph))
    mixed = precision is DType.FLOAT16 and not dialect.facts.strongly_typed
    return (graph if mixed else converted), mixed


def compile_file(
    path: str | Path,
    weights: str | Path | None,
    engine: str | Path,
    *,
    model: str | None = None,
    defines: Mapping[str, Any] | None = None,
    weights_dtype: WeightsDType = None,
    section: str | None = None,
    runtime: str | None = None,
    targets: str | Sequence[str] = (),
    precision: DType | str | None = None,
    tf32: bool | None = None,
) -> Compiled:
    """A file's model and its checkpoint as an engine on disk; raises :class:`DiagnosticError`.

    The choices are those of :func:`check_file` and :func:`compile_graph`.
    """
    checked = check_file(
        path, weights, model=model, defines=defines, weights_dtype=weights_dtype, section=section
    )
    return compile_graph(
        checked.graph,
        engine,
        runtime=runtime,
        targets=targets,
        precision=precision,
        tf32=tf32,
        sources=[path, *([weights] if weights else [])],
    )


def require_values(graph: Graph) -> None:
    """Refuse a graph that needs a checkpoint and has met none."""
    unbound = [weight.key for weight in graph.weights if weight.data is None]
    if unbound:
        text = (
            f"model `{graph.name}` has {len(unbound)} weights, the first is `{unbound[0]}`: give a checkpoint"
        )
        raise UsageError(Diagnostic(text))
