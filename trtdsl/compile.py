"""The whole way from a `.trtnet` file and a checkpoint to an engine, as one call.

In: paths and choices, as the command line has them.  Out: an engine and its manifest on disk, and
what there is to say about them::

    compiled = compile_file("cnn.trtnet", "weights.pth", "cnn.engine", CompileOptions(targets=["sm89"]))
    compiled.manifest.sha256
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from trtdsl.diagnostics import Diagnostic, Source, UsageError, counted
from trtdsl.elaborate import Elaborated, elaborate, elaborate_models, read_source
from trtdsl.flags import flags
from trtdsl.ir import Graph, Node, RefusedNode
from trtdsl.ops.text import literal
from trtdsl.options import CheckOptions, CompileOptions, WeightFiles, files_of
from trtdsl.recipe import Recipe
from trtdsl.types import DType

if TYPE_CHECKING:
    from trtdsl.precision.lower_floats import LoweredFloats
    from trtdsl.precision.pipeline import Narrowed, Told
    from trtdsl.precision.report import PrecisionReport
    from trtdsl.trt.build import Built, ProgressCallback
    from trtdsl.trt.dialect import Dialect
    from trtdsl.trt.lower import LoweredNetwork
    from trtdsl.trt.manifest import Manifest
    from trtdsl.weights import Checkpoint


class Checked(msgspec.Struct, frozen=True):
    """A model that is right as far as can be known without TensorRT; its weights bound, if any were given."""

    graph: Graph
    warnings: tuple[Diagnostic, ...]


class Compiled(msgspec.Struct, frozen=True):
    """An engine on disk: its path, manifest and notes, and the operators' counts before and after passes.

    ``precision`` says what became of the layers that a recipe wants in a narrow precision.
    """

    engine: Path
    manifest: Manifest
    before: Counter[str]
    after: Counter[str]
    notes: tuple[Diagnostic, ...] = ()
    precision: PrecisionReport | None = None


class Optimized(msgspec.Struct, frozen=True):
    """The graph to lower, the names of the passes that made it, and whether its network is a mixed one.

    ``taken`` is the graph before the passes: its dimensions and profiles say what an engine takes, where the
    other has the size in place of a dimension that has only one. ``notes`` say what the precision changed,
    ``narrowed`` how layers became narrow, ``floats`` what stayed float32 in a strongly typed network of
    float16 or bfloat16, ``wide`` what must in a mixed one.
    """

    graph: Graph
    taken: Graph
    passes: tuple[str, ...]
    mixed: bool = False
    notes: tuple[Diagnostic, ...] = ()
    narrowed: Narrowed | None = None
    floats: LoweredFloats | None = None
    wide: frozenset[Node] = frozenset()


def check_file(
    path: str | Path,
    weights: WeightFiles | Mapping[str, Any] = None,
    options: CheckOptions = CheckOptions(),
) -> Checked:
    """Check one model of a file, against a checkpoint if one is given; raises :class:`DiagnosticError`.

    Files beside the checkpoint hold further keys; the options are about the first one. In place of files
    there may be arrays or tensors by key, such as a ``state_dict()``.
    """
    found = elaborated(path, options)
    given, notes = given_weights(weights, options.section, options.weights_prefix)
    if given is None:
        return Checked(found.graph, found.warnings)
    from trtdsl.weights import bind

    with proposing_parameters(path, options):
        bound = bind(found.graph, given, options.weights_dtype)
    return Checked(bound.graph, (*found.warnings, *notes, *bound.warnings))


def given_weights(
    weights: WeightFiles | Mapping[str, Any], section: str | None, prefix: str | None
) -> tuple[Checkpoint | Mapping[str, Any] | None, tuple[Diagnostic, ...]]:
    """The weights by key, without the prefix, and what there is to say of their files; None without any.

    They are files, of which the first has the section, or arrays or tensors by key, which have none. Raises
    :class:`DiagnosticError` for what is neither, cannot be read, or has nothing behind the prefix.
    """
    found: Checkpoint | Mapping[str, Any]
    if isinstance(weights, Mapping):
        found = _by_key(weights, section, prefix)
    elif files := files_of(weights):
        from trtdsl.weights import load_checkpoints

        found = load_checkpoints(files, section=section, prefix=prefix)
    else:
        return None, ()
    from trtdsl.weights import Checkpoint, entered

    if not isinstance(found, Checkpoint):
        return found, ()
    notes = [Diagnostic(note, severity="warning") for note in found.notes]
    notes += [Diagnostic(note, severity="note") for note in entered(found, section)]
    return found, tuple(notes)


def _by_key(weights: Mapping[Any, Any], section: str | None, prefix: str | None) -> Mapping[str, Any]:
    """Weights that are in no file, without the prefix."""
    from trtdsl.weights import behind_prefix

    if section is not None:
        text = f"the weights are arrays by key, which have no section `{section}`"
        raise UsageError(Diagnostic(text, help=(f"give the arrays of it alone: `weights[{section!r}]`",)))
    for key in weights:
        if not isinstance(key, str):
            text = f"weights are arrays by the names of their keys, but one of these is {key!r}"
            raise UsageError(Diagnostic(text))
    return behind_prefix(prefix, weights) if prefix else weights


def elaborated(path: str | Path, options: CheckOptions) -> Elaborated:
    """The model that is chosen of a file; raises :class:`DiagnosticError`."""
    text = read_source(Path(path), str(path))
    weights_map = _source_of(options.weights_map)
    return elaborate(text, str(path), options.model, options.defines, weights_map=weights_map)


def proposing_parameters(path: str | Path, options: CheckOptions) -> AbstractContextManager[None]:
    """Where weights are bound that may be of the model with another parameter: says with which."""
    from trtdsl.fitting import proposing

    def make(defines: Mapping[str, Any]) -> Elaborated:
        changed = dataclasses.replace(options, defines={**options.defines, **defines})
        return elaborated(path, changed)

    return proposing(make)


def _source_of(path: str | Path | None) -> Source | None:
    return None if path is None else Source(str(path), read_source(Path(path), str(path)))


def check_models(path: str | Path) -> Iterator[Checked]:
    """Every model of a file that is right, in order; then :class:`DiagnosticError` for the others."""
    for found in elaborate_models(read_source(Path(path), str(path)), str(path)):
        yield Checked(found.graph, found.warnings)


def compile_file(
    path: str | Path,
    weights: WeightFiles,
    engine: str | Path,
    options: CompileOptions = CompileOptions(),
    *,
    check: CheckOptions = CheckOptions(),
) -> Compiled:
    """A file's model and its checkpoint as an engine on disk; raises what :func:`compile_graph` does."""
    checked = check_file(path, weights, check)
    sources, command = sources_of(path, weights, check), compile_command(path, weights, check, options)
    return compile_graph(checked.graph, engine, options, sources=sources, command=command)


def sources_of(path: str | Path, weights: WeightFiles, check: CheckOptions) -> tuple[str | Path, ...]:
    """The files that a model is read from, which nothing that is made from it may overwrite."""
    return (path, *files_of(weights), *files_of(check.weights_map))


def compile_command(
    path: str | Path, weights: WeightFiles, check: CheckOptions, options: CompileOptions
) -> tuple[str, ...]:
    """The arguments of `trtdsl` that compile a file so, all but where the engine goes.

    They are ``("compile", "cnn.trtnet", "cnn.pth", "--precision", "float16")``.
    """
    return ("compile", *map(str, (path, *files_of(weights))), *arguments(check), *arguments(options))


def arguments(options: CheckOptions | CompileOptions | Recipe) -> list[str]:
    """How the command line is told these choices; those that are the default are left out."""
    given = {field.name: field.default for field in dataclasses.fields(options)}
    found: list[str] = []
    for field, flag in flags(type(options)).items():
        value = getattr(options, field)
        if isinstance(value, Recipe):
            found += arguments(value)
        elif flag.repeats:
            found += [part for each in value for part in (flag.names[0], str(each))]
        elif not _is_default(value, given[field]):
            found += _spelled(flag.names[0], value)
    return found


def _is_default(value: Any, default: Any) -> bool:
    return value is None or value == default or (isinstance(default, tuple) and tuple(value) == default)


def _spelled(name: str, value: Any) -> list[str]:
    """A flag and its value: ``["--target", "sm89,sm120"]``, ``["--no-tf32"]``, or nothing."""
    if isinstance(value, bool):
        yes, _, no = name.partition("/")
        return [yes if value else no]
    if isinstance(value, Mapping):
        items = cast(Mapping[Any, Any], value).items()
        # Parameters have values of the language, and types have labels.
        shown = literal if name == "-D" else ",".join
        return [part for key, each in items for part in (name, f"{key}={shown(each)}")]
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return [name, ",".join(map(str, cast(Sequence[Any], value))) if several else str(value)]


def compile_graph(
    graph: Graph,
    engine: str | Path,
    options: CompileOptions = CompileOptions(),
    *,
    after: Callable[[str, Graph], None] | None = None,
    refused: Callable[[str, Sequence[RefusedNode]], None] | None = None,
    progress: ProgressCallback | None = None,
    tune: Callable[[Any], object] | None = None,
    sources: Sequence[str | Path] = (),
    command: Sequence[str] = (),
) -> Compiled:
    """Optimise, lower and build a graph whose weights are bound, and write engine and manifest.

    ``after`` sees the graph after each pass, ``refused`` what each one left as it was; ``progress`` and
    ``tune`` are those of :func:`trtdsl.trt.build.build`. Nothing is written unless all of it succeeds, and
    nothing but an engine is overwritten, least of all the ``sources``. The manifest keeps the ``command`` for
    whoever compiles again.
    Raises :class:`DiagnosticError`, and :class:`~trtdsl.diagnostics.Cancelled` on Ctrl-C.
    """
    from trtdsl.output import write_together
    from trtdsl.passes import operator_counts
    from trtdsl.trt.manifest import manifest_path
    from trtdsl.trt.places import require_place

    engine = Path(engine)
    sources = (*sources, *options.files_read)
    require_place(engine, sources)
    scales = _place_of_scales(options, engine, sources)
    optimized, lowered = lowered_network(graph, options, after=after, refused=refused, progress=progress)
    (built, manifest), notes = built_engine(
        lowered, optimized, options, progress=progress, tune=tune, command=command
    )
    ranges = optimized.narrowed.ranges.text().encode() if optimized.narrowed else b""
    # The manifest first: an engine that has none is never overwritten, also if this is killed in between.
    files = {manifest_path(engine): manifest.to_json().encode(), engine: built.data}
    write_together({scales: ranges, **files} if scales else files)
    counts = operator_counts(graph), operator_counts(optimized.graph)
    report = _report(optimized, lowered, built)
    return Compiled(engine, manifest, *counts, (*optimized.notes, *notes), report)


def lowered_network(
    graph: Graph,
    options: CompileOptions,
    *,
    after: Callable[[str, Graph], None] | None = None,
    refused: Callable[[str, Sequence[RefusedNode]], None] | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[Optimized, LoweredNetwork]:
    """The graph as it is built, and its network."""
    from trtdsl.trt.lower import lower
    from trtdsl.weights import release_pages

    optimized, dialect = optimized_for(graph, options, after=after, refused=refused, progress=progress)
    # What folding has read is not read again, and would add the checkpoint's size to the build's peak.
    release_pages(weight.data for weight in graph.weights if weight.data is not None)
    return optimized, lower(optimized.graph, dialect, mixed=optimized.mixed, wide=optimized.wide)


def optimized_for(
    graph: Graph,
    options: CompileOptions,
    *,
    after: Callable[[str, Graph], None] | None = None,
    refused: Callable[[str, Sequence[RefusedNode]], None] | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[Optimized, Dialect]:
    """The graph as it is lowered for the runtime that the options name, and that runtime."""
    from trtdsl.trt.build import require_builds, require_targets
    from trtdsl.trt.dialect import load_runtime

    dialect = load_runtime(options.runtime)
    require_targets(dialect, options.targets)
    require_builds(dialect, options.builds)
    _load_plugins(dialect, options.plugins)
    require_values(graph)
    told = _as_told(progress)
    return optimize_graph(graph, options, dialect, after=after, refused=refused, progress=told), dialect


def built_engine(
    lowered: LoweredNetwork,
    optimized: Optimized,
    options: CompileOptions = CompileOptions(),
    *,
    progress: ProgressCallback | None = None,
    tune: Callable[[Any], object] | None = None,
    command: Sequence[str] = (),
) -> tuple[tuple[Built, Manifest], tuple[Diagnostic, ...]]:
    """The engine, the fastest of as many as the options want, its manifest, and what there is to say of it.

    The manifest's hashes are computed while TensorRT builds.
    """
    from concurrent.futures import ThreadPoolExecutor

    from trtdsl.runtime.fastest import fastest, milliseconds
    from trtdsl.trt.build import build_with_facts
    from trtdsl.trt.manifest import describe_weights, make_manifest

    narrowed = optimized.narrowed

    def build() -> tuple[Built, Manifest]:
        built = build_with_facts(lowered, options, progress=progress, tune=tune, kernels=narrowed is not None)
        return built, make_manifest(
            lowered,
            built.data,
            options,
            taken=optimized.taken,
            targets=built.targets,
            tactic_sources=built.tactic_sources,
            passes=optimized.passes,
            command=command,
            weights=weights.result(),
            recipe=narrowed and narrowed.recipe,
        )

    def times(candidate: tuple[Built, Manifest]) -> list[float]:
        return milliseconds(candidate[0].data, candidate[1], lowered.dialect, options.plugins)

    with ThreadPoolExecutor(1) as pool:
        weights = pool.submit(describe_weights, optimized.graph)
        return fastest(build, options.builds, times)


def _report(optimized: Optimized, lowered: LoweredNetwork, built: Built) -> PrecisionReport | None:
    if optimized.narrowed is None:
        return None
    from trtdsl.precision.report import report_of

    return report_of(optimized.narrowed, lowered.graph, built.kernels)


def _place_of_scales(options: CompileOptions, engine: Path, sources: Sequence[str | Path]) -> Path | None:
    """Where the ranges are to be written; refused where they would overwrite something else."""
    if options.recipe is None or options.recipe.save_scales is None:
        return None
    from trtdsl.output import require_writable
    from trtdsl.trt.manifest import manifest_path

    path = Path(options.recipe.save_scales)
    for other in (engine, manifest_path(engine), *map(Path, sources)):
        if path.resolve() == other.resolve():
            raise UsageError(Diagnostic(f"`--save-scales {path}` would overwrite `{other}`"))
    require_writable(path)
    return path


def _as_told(progress: ProgressCallback | None) -> Told | None:
    """The callback of the build, told of what is done before it."""
    if progress is None:
        return None
    from trtdsl.trt.build import Progress

    def told(phase: str, done: int, total: int) -> None:
        progress(Progress(phase, None, done, total))

    return told


def _load_plugins(dialect: Dialect, libraries: Sequence[str | Path]) -> None:
    """Load the libraries of plugins that were asked for."""
    if libraries and not dialect.places_plugins:
        text = f"the API of {dialect} cannot place plugins, so that it needs no libraries of them"
        raise UsageError(Diagnostic(text, help=("leave out `--plugins`, or build with tensorrt",)))
    dialect.plugins.load(libraries)


def optimize_graph(
    graph: Graph,
    options: CompileOptions,
    dialect: Dialect | None = None,
    *,
    after: Callable[[str, Graph], None] | None = None,
    refused: Callable[[str, Sequence[RefusedNode]], None] | None = None,
    progress: Told | None = None,
    keeps_dimensions: bool = False,
) -> Optimized:
    """The graph as the chosen profiles, passes and precision leave it.

    It is for a strongly typed network, or for a dialect's. With ``keeps_dimensions``, and where a recipe has
    narrow layers or data, dimensions of one size stay dynamic: data come in batches of other sizes too, and
    ranges are those of the same layers. So they do where the dialect's release fuses attention less if all
    sizes are known. ``progress`` is told of runs over data. Raises
    :class:`DiagnosticError` for sizes that the model does not take, an unknown pass, and what the precision
    cannot hold.
    """
    from trtdsl.ir.profiles import with_profiles
    from trtdsl.passes import CONVERT_PRECISION, FLOATS_ONLY, QUANTIZE, optimize, selected, with_passes
    from trtdsl.precision.in_precision import in_precision

    recipe = options.recipe
    is_of_numbers = recipe is not None and (recipe.is_narrow or recipe.calibrate is not None)
    if is_of_numbers:
        require_values(graph)
    taken = with_profiles(graph, options.profiles)
    unfit = FLOATS_ONLY if recipe is not None and recipe.is_narrow else ()
    steps = selected((*options.skip, *unfit), options.only, with_passes(options.passes))
    passes = tuple(step.name for step in steps)
    graph = taken if keeps_dimensions or is_of_numbers else _with_known_sizes(taken, dialect)
    optimized = optimize(graph, steps, after=after, refused=refused)
    if recipe is None:
        return Optimized(optimized, taken, passes)
    narrowed, data = None, None
    if recipe.calibrate is not None:
        from trtdsl.precision.batches import RecipeData

        data = RecipeData(optimized, recipe)
    if recipe.is_narrow:
        from trtdsl.precision.pipeline import narrow

        narrowed = narrow(optimized, recipe, options.targets, dialect, progress, data)
        optimized, precision, passes = narrowed.graph, narrowed.around, (*passes, QUANTIZE)
        if after:
            after(QUANTIZE, optimized)
    else:
        precision = DType(recipe.precision)
    # After the others, so that what they fold is folded in the checkpoint's precision and rounded once.
    found = in_precision(optimized, precision, dialect, recipe, progress, data)
    notes = (*found.notes, *(narrowed.notes if narrowed else ()), *(data.notes(graph) if data else ()))
    if found.mixed:
        return Optimized(found.graph, taken, passes, True, notes, narrowed, wide=found.wide)
    if after:
        after(CONVERT_PRECISION, found.graph)
    return Optimized(found.graph, taken, (*passes, CONVERT_PRECISION), False, notes, narrowed, found.floats)


def _with_known_sizes(graph: Graph, dialect: Dialect | None) -> Graph:
    """The graph with the sizes that its profiles fix, unless the release had better not know all of them."""
    from trtdsl.ir.profiles import with_fixed_sizes
    from trtdsl.passes.computed_masks import has_computed_masks

    fixed = with_fixed_sizes(graph)
    if fixed is graph or fixed.symbols or dialect is None or dialect.facts.habits.fuses_computed_masks:
        return fixed
    return graph if has_computed_masks(fixed) else fixed


def require_values(graph: Graph) -> None:
    """Refuse a graph that needs a checkpoint and has met none."""
    unbound = [weight for weight in graph.weights if weight.data is None]
    weights = [weight.key for weight in unbound if not weight.constant]
    if weights:
        text = f"model `{graph.name}` has {counted(len(weights), 'weight')}, the first is `{weights[0]}`"
        raise UsageError(Diagnostic(f"{text}: give a checkpoint"))
    if unbound:
        what = f"{counted(len(unbound), 'constant')} without values"
        text = f"model `{graph.name}` has {what}, the first is `{unbound[0].key}`"
        raise UsageError(Diagnostic(f"{text}: give the file that has them after the checkpoint"))
