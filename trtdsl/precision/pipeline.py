"""The whole way from a recipe to a quantised graph, as one call.

In: an optimised graph with its weights' values, and a recipe that asks for int8 or float8.  Out: the graph
with the chosen layers on quantised tensors, its other parts in the types that they had, and what was found on
the way::

    narrowed = narrow(graph, Recipe(precision="int8", calibrate="samples.npz"), targets=["sm89"])
    narrowed.graph, narrowed.decisions, narrowed.error

The steps of :func:`narrow` are its lines: ranges, equalisation, the layers that the error allows,
quantisation, and the error of the outputs. Each takes and gives plain values (a graph, :class:`Ranges`, a
:class:`Policy`), so that one more is one more line:

- what rewrites the float graph and its ranges goes where :func:`equalise` is called, in ``_Way``, so that
  every policy that is tried has it;
- what decides, by measuring, that layers stay in floating point goes where ``_within_error`` is called: it
  returns the policy with their labels and reasons in ``measured``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from trtdsl.array_files import Array, read_named
from trtdsl.diagnostics import Diagnostic
from trtdsl.ir import Graph, require_valid
from trtdsl.precision.batches import Batches
from trtdsl.precision.calibrate import Observed, calibrate
from trtdsl.precision.equalise import ALPHA, Equalised, equalise
from trtdsl.precision.error import OutputError, output_error
from trtdsl.precision.placement import FIRST_CAPABILITY, PLACEMENTS, Placement, Policy, capability
from trtdsl.precision.possible import require_possible
from trtdsl.precision.quantize import Decision, Quantised, quantize
from trtdsl.precision.ranges import Ranges, digest, ranges_of
from trtdsl.precision.sensitivity import Sensitivities, sensitivities, within
from trtdsl.precision.stored import STORED, stored_ranges
from trtdsl.recipe import Recipe
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
    dtype: DType
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
        found: dict[str, Any] = {
            "samples": self.ranges.samples,
            "data": self.ranges.data,
            "ranges": f"sha256:{hashlib.sha256(self.ranges.text().encode()).hexdigest()[:16]}",
        }
        if self.error is not None:
            found["error"] = shortest(max(self.error.runs))
        return {**self.words, "around": str(self.around), "method": self.ranges.method, **found}


def narrow(
    graph: Graph,
    recipe: Recipe,
    targets: Sequence[str] = (),
    dialect: Dialect | None = None,
    progress: Told | None = None,
) -> Narrowed:
    """Quantise a graph as the recipe says, for a release of TensorRT, by default one of the strongly typed.

    UsageError for what the recipe lacks, and for what a target or the release cannot run.
    """
    told = progress or (lambda phase, done, total: None)
    dtype, around = DType(recipe.precision), around_of(recipe, graph)
    policy = policy_of(recipe, targets, dialect)
    require_possible(graph, recipe, policy, around, dialect)
    data = _data(graph, recipe)
    batches = None if data is None else Batches(graph, data, recipe.samples)
    observed = _observed(graph, batches, told)
    ranges = _ranges(graph, recipe, observed, "" if data is None else digest(data), batches)
    if ranges.method == STORED:
        absent = [label for label in policy.chosen(graph) if label not in ranges.layers]
        policy = policy.without(dict.fromkeys(absent, "the checkpoint has no range of it"))
    # Whether a product before a quantised tensor keeps TensorRT 8 from computing in int8 nobody has seen.
    products = dialect is None or dialect.facts.strongly_typed
    balance = partial(equalise, graph, ranges, alpha=_alpha(recipe), products=products)
    way = _Way(graph, balance, around, batches, told)
    known = way.sensitivities(policy)
    policy = _within_error(way, policy, known, recipe)
    equalised, found = way.quantised(policy)
    require_valid(found.graph, "bound")
    clipped = {
        label: each.magnitudes.share_beyond(ranges.layers[label].input)
        for label, each in observed.items()
        if label in ranges.layers
    }
    return Narrowed(
        found.graph,
        dtype,
        around,
        recipe.words(),
        found.decisions,
        ranges,
        clipped,
        way.error(policy),
        equalised.alphas,
        known,
        _notes(dtype, around, dialect, targets),
    )


class _Way:
    """From a policy to a quantised graph and its error, the same for every policy that is tried."""

    def __init__(
        self,
        graph: Graph,
        balance: Callable[[Sequence[str]], Equalised],
        around: DType,
        batches: Batches | None,
        told: Told,
    ) -> None:
        self._graph = graph
        self._balance = balance
        self._around = around
        self._batches = batches
        self._told = told

    def equalised(self, policy: Policy) -> Equalised:
        return self._balance(policy.chosen(self._graph))

    def quantised(self, policy: Policy) -> tuple[Equalised, Quantised]:
        equalised = self.equalised(policy)
        return equalised, quantize(equalised.graph, equalised.ranges, policy, self._around)

    def error(self, policy: Policy) -> OutputError | None:
        """That of the outputs; None without data."""
        if self._batches is None:
            return None
        told = partial(self._told, "measuring the error")
        return output_error(self._graph, self.quantised(policy)[1].graph, self._batches, told)

    def sensitivities(self, policy: Policy) -> Sensitivities | None:
        """What each layer adds to it; None without data."""
        if self._batches is None:
            return None
        equalised, told = self.equalised(policy), partial(self._told, "measuring each layer")
        return sensitivities(equalised.graph, equalised.ranges, policy, self._batches, told)


def _alpha(recipe: Recipe) -> float:
    """How far to equalise: numbers of float8 are as precise when they are small, and gain nothing."""
    if recipe.equalise is not None:
        return recipe.equalise
    return 0.0 if DType(recipe.precision) is DType.FLOAT8 else ALPHA


def _within_error(way: _Way, policy: Policy, known: Sensitivities | None, recipe: Recipe) -> Policy:
    """The policy with the layers that the recipe's error does not allow left in floating point."""
    if recipe.max_error is None or known is None:
        return policy

    def measured(tried: Policy) -> OutputError:
        found = way.error(tried)
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
    return Policy(DType(recipe.precision), keep, allow, names, placement)


def _notes(
    dtype: DType, around: DType, dialect: Dialect | None, targets: Sequence[str]
) -> tuple[Diagnostic, ...]:
    notes: list[Diagnostic] = []
    if around is DType.FLOAT32:
        text = f"{dtype} around float32 is slower than float16 as a rule"
        notes.append(Diagnostic(text, severity="warning", help=("leave out `--around`",)))
    least = FIRST_CAPABILITY[dtype]
    older = [name for name in (dialect.targets if dialect else ()) if DEFAULT <= capability(name) < least]
    if older and not targets:
        text = (
            f"the default targets begin with {older[0]}, and an engine in {dtype} runs from sm{least} on only"
        )
        notes.append(Diagnostic(text, severity="warning", help=(f"name targets: `--target sm{least}`",)))
    return tuple(notes)


DEFAULT = 80
"""The least compute capability that TensorRT-RTX builds for where it is not told (NVIDIA's documentation)."""


# --- Ranges ------------------------------------------------------------------------------------------------


def _data(graph: Graph, recipe: Recipe) -> dict[str, Array] | None:
    if recipe.calibrate is None:
        return None
    return read_named(Path(recipe.calibrate), [value.name for value in graph.inputs])


def _observed(graph: Graph, batches: Batches | None, told: Told) -> Mapping[str, Observed]:
    if batches is None:
        return {}
    return calibrate(graph, batches, progress=lambda *done: told("calibrating", *done))


def _ranges(
    graph: Graph, recipe: Recipe, observed: Mapping[str, Observed], data: str, batches: Batches | None
) -> Ranges:
    """Those of the file, or what the method makes of the data."""
    if recipe.scales is not None:
        return stored_ranges(recipe.scales, graph, DType(recipe.precision))
    kept, dtype = recipe.percentile or 99.99, DType(recipe.precision)
    count = 0 if batches is None else len(batches) * batches.size
    return ranges_of(observed, graph.name, recipe.method, count, data, dtype=dtype, percentile=kept)
