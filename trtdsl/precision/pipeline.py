"""The whole way from a recipe to a quantised graph, as one call.

In: an optimised graph with its weights' values, and a recipe that asks for a narrow precision.  Out: the
graph with the chosen layers on quantised tensors or weights, its other parts in the types that they had, and
what was found on the way::

    narrowed = narrow(graph, Recipe(precision="int8", calibrate="samples.npz"), targets=["sm89"])
    narrowed.graph, narrowed.decisions, narrowed.error

The steps of :func:`narrow` are its lines: data, what makes a policy's layers narrow, the layers that the
error allows, and the error of the outputs. What makes layers narrow is a ``Preparation`` for each kind of
format: by ranges, by weights alone, or in blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

from trtdsl.diagnostics import Diagnostic
from trtdsl.ir import Graph, require_valid
from trtdsl.precision.batches import Batches, RecipeData
from trtdsl.precision.calibrate import Observed, calibrate
from trtdsl.precision.dynamic import quantize_in_blocks
from trtdsl.precision.equalise import ALPHA, Equalised, equalise
from trtdsl.precision.error import OutputError, output_error
from trtdsl.precision.floating import FloatingPolicy
from trtdsl.precision.formats import Format, format_of
from trtdsl.precision.placement import PLACEMENTS, Placement, Policy, capability
from trtdsl.precision.possible import require_possible
from trtdsl.precision.quantize import Decision, Quantised, quantize
from trtdsl.precision.ranges import Ranges, digest, ranges_of
from trtdsl.precision.sensitivity import Sensitivities, sensitivities, within
from trtdsl.precision.small_weights import with_larger_weights
from trtdsl.precision.stored import STORED, lacking, stored_ranges
from trtdsl.precision.weights import RoundedWeights, round_weights, stored_weights
from trtdsl.recipe import Method, Recipe
from trtdsl.trt.dialect import Dialect
from trtdsl.types import DType, shortest

Told: TypeAlias = Callable[[str, int, int], object]
"""Is told what is being done, how many runs of it are done, and how many there are."""


@dataclass(frozen=True)
class Narrowed:
    """A quantised graph, what was decided of each layer, and why.

    ``around`` is the type that the rest is to be computed in, ``words`` are the recipe's; ``clipped`` is the
    share of a layer's input that its range cuts off, and ``error`` that of the outputs with all else in
    float32, where there were data; ``alphas`` say how far the channels of a layer were equalised, ``known``
    how far the outputs are off with each layer alone in the narrow type, in samples of the data.
    """

    graph: Graph
    format: Format
    around: DType
    words: Mapping[str, Any]
    decisions: tuple[Decision, ...]
    ranges: Ranges
    clipped: Mapping[str, float]
    error: OutputError | None
    alphas: Mapping[str, float]
    known: Sensitivities | None
    notes: tuple[Diagnostic, ...] = ()

    @property
    def errors(self) -> Mapping[str, float]:
        """How far the outputs are off with a layer alone in the narrow type, by label."""
        return {} if self.known is None else {label: self.known.of(label) for label in self.known.layers}

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe's words with what they left open, hashes of the data and of the file of ranges, and the
        error of the sample that is furthest off."""
        found: dict[str, Any] = {}
        if self.format.needs_ranges or self.ranges.samples:
            found |= {"samples": self.ranges.samples, "data": self.ranges.data}
        if self.format.needs_ranges:
            found["ranges"] = f"sha256:{hashlib.sha256(self.ranges.text().encode()).hexdigest()[:16]}"
        if self.error is not None:
            found["worst_error"] = shortest(max(self.error.runs))
        told = {} if self.format.name == "mxfp8" else {"method": self.ranges.method}
        return {**self.words, "around": str(self.around), **told, **found}


def narrow(
    graph: Graph,
    recipe: Recipe,
    targets: Sequence[str] = (),
    dialect: Dialect | None = None,
    progress: Told | None = None,
    data: RecipeData | None = None,
) -> Narrowed:
    """Quantise a graph as the recipe says, for a release of TensorRT, by default one of the strongly typed.

    The recipe's ``data`` are read here unless they are given.
    UsageError for what the recipe lacks, and for what a target or the release cannot run.
    """
    told = progress or (lambda phase, done, total: None)
    around, policy = around_of(recipe, graph), policy_of(recipe, targets, dialect)
    require_possible(graph, recipe, policy, around, dialect)
    graph = _with_larger_weights(graph, recipe, policy, around)
    data = data or RecipeData(graph, recipe)
    batches = data.batches(graph)
    observed = _observed(graph, batches, told) if policy.format.needs_ranges else {}
    ranges = _ranges(graph, recipe, observed, "" if data.arrays is None else digest(data.arrays), batches)
    if policy.format.needs_ranges:
        policy = policy.without(_without_range(graph, policy, ranges))
    fitted, measured = batches, batches
    if batches is not None and _fits(recipe):
        # Of the data that weights were rounded for the error is smaller than of others.
        fitted, measured = batches.apart()
    stored = None
    if recipe.is_of_weights and recipe.scales is not None:
        stored, absent = stored_weights(recipe.scales, graph, policy, around)
        policy = policy.without(absent)
    # Whether a product before a quantised tensor keeps TensorRT 8 from computing in int8 nobody has seen.
    products = dialect is None or dialect.facts.strongly_typed
    way = _Way(
        graph, _preparation(graph, recipe, ranges, around, fitted, products, told, stored), measured, told
    )
    known = way.sensitivities(policy)
    policy = _within_error(way, policy, known, recipe)
    prepared = way.prepared(policy)
    found = prepared.quantised(policy)
    require_valid(found.graph, "bound")
    clipped = {
        label: each.magnitudes.share_beyond(ranges.layers[label].input)
        for label, each in observed.items()
        if label in ranges.layers
    }
    return Narrowed(
        found.graph,
        policy.format,
        around,
        recipe.words(),
        found.decisions,
        ranges,
        clipped,
        way.error(found.graph),
        prepared.alphas,
        known,
        (*_notes(policy.format, around, dialect, targets), *_fitted(fitted, measured)),
    )


class Prepared(Protocol):
    """A graph in floating point that computes what the model does, and what quantises the layers of a policy;
    ``alphas`` say how far the channels of a layer's input were equalised in it."""

    @property
    def graph(self) -> Graph: ...
    @property
    def alphas(self) -> Mapping[str, float]: ...
    def quantised(self, policy: Policy) -> Quantised: ...


Preparation: TypeAlias = Callable[[Policy], Prepared]
"""What makes a graph ready for the layers of a policy."""


@dataclass(frozen=True)
class _ByRanges:
    """An equalised graph, quantised by its ranges."""

    equalised: Equalised
    around: DType

    @property
    def graph(self) -> Graph:
        return self.equalised.graph

    @property
    def alphas(self) -> Mapping[str, float]:
        return self.equalised.alphas

    def quantised(self, policy: Policy) -> Quantised:
        if policy.format.reads == "blocks":
            return quantize_in_blocks(self.graph, self.equalised.ranges, policy, self.around)
        return quantize(self.graph, self.equalised.ranges, policy, self.around)


def _preparation(
    graph: Graph,
    recipe: Recipe,
    ranges: Ranges,
    around: DType,
    batches: Batches | None,
    products: bool,
    told: Told,
    stored: RoundedWeights | None,
) -> Preparation:
    """What the recipe's format takes: weights are rounded once, whichever of them are then chosen."""
    if stored is not None:
        return lambda policy: stored
    if recipe.is_of_weights:
        made: list[RoundedWeights] = []

        def rounded(policy: Policy) -> Prepared:
            if not made:
                method, alpha = recipe.chosen_method, recipe.equalise
                made.append(round_weights(graph, policy, method, around, batches, alpha, told))
            return made[0]

        return rounded
    alpha = _alpha(recipe)
    return lambda policy: _ByRanges(equalise(graph, ranges, policy.chosen(graph), alpha, products), around)


class _Way:
    """From a policy to what quantises its layers, and the error of that, the same for every policy tried."""

    def __init__(self, graph: Graph, preparation: Preparation, batches: Batches | None, told: Told) -> None:
        self._graph = graph
        self._batches = batches
        self._told = told
        self.prepared = preparation

    def error(self, changed: Graph) -> OutputError | None:
        """That of the outputs of a quantised graph; None without data."""
        if self._batches is None:
            return None
        return output_error(self._graph, changed, self._batches, partial(self._told, "measuring the error"))

    def sensitivities(self, policy: Policy) -> Sensitivities | None:
        """What each layer adds to it; None without data."""
        if self._batches is None:
            return None
        prepared, told = self.prepared(policy), partial(self._told, "measuring each layer")

        def quantised(alone: Policy) -> Graph:
            return prepared.quantised(alone).graph

        return sensitivities(prepared.graph, policy, quantised, self._batches, told)


def _alpha(recipe: Recipe) -> float:
    """How far to equalise: small numbers of floating-point types are as precise as large ones, and gain
    nothing."""
    if recipe.equalise is not None:
        return recipe.equalise
    return ALPHA if recipe.precision is DType.INT8 else 0.0


def _within_error(way: _Way, policy: Policy, known: Sensitivities | None, recipe: Recipe) -> Policy:
    """The policy with the layers that the recipe's error does not allow left in floating point."""
    if recipe.max_error is None or known is None:
        return policy

    def measured(tried: Policy) -> OutputError:
        found = way.error(way.prepared(tried).quantised(tried).graph)
        assert found
        return found

    return within(recipe.max_error, known, policy, measured)


# --- Choices -----------------------------------------------------------------------------------------------


def around_of(recipe: Recipe, graph: Graph) -> DType:
    """What is computed around narrow layers: what the recipe says, or float16, or the model's bfloat16."""
    if recipe.around is not None:
        return DType(recipe.around)
    has = {weight.type.dtype for weight in graph.weights}
    return DType.BFLOAT16 if DType.BFLOAT16 in has else DType.FLOAT16


def policy_of(recipe: Recipe, targets: Sequence[str], dialect: Dialect | None = None) -> Policy:
    """What the recipe asks for, as what places quantised tensors takes it, for a release of TensorRT."""
    keep = [pattern for patterns in recipe.keep.values() for pattern in patterns]
    allow = [pattern for patterns in recipe.allow.values() for pattern in patterns]
    placement = PLACEMENTS[dialect.name] if dialect else Placement()
    names = [target.lower() for target in targets]
    return Policy(recipe.precision, keep, allow, names, placement, block=recipe.block)


def _with_larger_weights(graph: Graph, recipe: Recipe, policy: Policy, around: DType) -> Graph:
    """The graph with weights whose scales ``around`` holds; codes of another tool stay as they are."""
    if recipe.is_of_weights and recipe.scales is not None:
        return graph
    floats = FloatingPolicy(recipe.keep.get(DType.FLOAT32, ()))
    levels = 1 if policy.dtype.is_floating else int(policy.dtype.limits[1])
    return with_larger_weights(graph, around, floats.is_about, levels).graph


def _fits(recipe: Recipe) -> bool:
    """Whether weights are rounded for the data, so that the error needs others."""
    return recipe.is_of_weights and recipe.scales is None and recipe.chosen_method == "gptq"


def _without_range(graph: Graph, policy: Policy, ranges: Ranges) -> dict[str, str]:
    """Why layers stay in floating point whose input was 0 throughout, so that any other number would be cut
    off, or for whose input a checkpoint has no range."""
    zeros = (label for label, each in ranges.layers.items() if each.input == 0)
    reasons = dict.fromkeys(zeros, "its input is 0 throughout the data, which gives it no range")
    if ranges.method == STORED:
        reasons |= {label: lacking(label) for label in policy.chosen(graph) if label not in ranges.layers}
    return reasons


def _fitted(fitted: Batches | None, measured: Batches | None) -> Iterator[Diagnostic]:
    """Says which of the data weights were rounded for, and which the error is of."""
    if fitted is None or measured is None or fitted is measured:
        return
    used, others = (len(each) * each.size for each in (fitted, measured))
    if fitted.places == measured.places:
        text = "weights are rounded for the samples that the error is measured on: on others it is larger"
        yield Diagnostic(text, severity="note", help=("give more data, of which some are kept apart",))
    else:
        text = f"weights are rounded for {used} samples, and the error is of the other {others}"
        yield Diagnostic(text, severity="note")


def _notes(
    form: Format, around: DType, dialect: Dialect | None, targets: Sequence[str]
) -> tuple[Diagnostic, ...]:
    notes: list[Diagnostic] = []
    if around is DType.FLOAT32:
        text = f"{form.name} around float32 is slower than float16 as a rule"
        notes.append(Diagnostic(text, severity="warning", help=("leave out `--around`",)))
    least = form.first
    older = [name for name in (dialect.targets if dialect else ()) if DEFAULT <= capability(name) < least]
    if older and not targets:
        runs = f"an engine in {form.name} runs from sm{least} on only"
        text = f"the default targets begin with {older[0]}, and {runs}"
        notes.append(Diagnostic(text, severity="warning", help=(f"name targets: `--target sm{least}`",)))
    return tuple(notes)


DEFAULT = 80
"""The least compute capability that TensorRT-RTX builds for where it is not told (NVIDIA's documentation)."""


# --- Ranges ------------------------------------------------------------------------------------------------


def _observed(graph: Graph, batches: Batches | None, told: Told) -> Mapping[str, Observed]:
    if batches is None:
        return {}
    return calibrate(graph, batches, progress=lambda *done: told("calibrating", *done))


def _ranges(
    graph: Graph, recipe: Recipe, observed: Mapping[str, Observed], data: str, batches: Batches | None
) -> Ranges:
    """Those of the file, or what the method makes of the data."""
    if recipe.scales is not None and not recipe.is_of_weights:
        return stored_ranges(recipe.scales, graph, format_of(recipe.precision).dtype)
    kept, form = recipe.percentile or 99.99, format_of(recipe.precision)
    count = 0 if batches is None else len(batches) * batches.size
    if not form.needs_ranges:
        method = STORED if recipe.scales else recipe.chosen_method
        return Ranges(graph.name, method, count, data, {})
    method = cast(Method, recipe.chosen_method)
    return ranges_of(observed, graph.name, method, count, data, dtype=form.dtype, percentile=kept)
