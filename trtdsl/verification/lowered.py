"""A model in the precision that it is to be compiled in, beside the original: computed as TensorRT rounds it.

In: a graph with weights, a recipe, and a reference.  Out: a
:class:`~trtdsl.verification.result.Verification` whose network was computed layer by layer in the types that
the recipe gives it, on the CPU. What each tensor may be off follows from how often it was rounded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from trtdsl.compile import Optimized, optimize_graph
from trtdsl.ir import Graph, Node, Value
from trtdsl.options import CompileOptions
from trtdsl.passes import CONVERT_PRECISION, QUANTIZE
from trtdsl.recipe import Recipe
from trtdsl.reference import symbol_values
from trtdsl.verification.blame import suspect
from trtdsl.verification.coarse import losses, notes_on_losses, with_losses
from trtdsl.verification.comparison import (
    compare_with,
    notes_on_outputs,
    run_reference,
    unmatched,
    with_advice,
)
from trtdsl.verification.forms import notes_on_forms, without_other_forms
from trtdsl.verification.layers import Call, ModuleCall, Observation, match
from trtdsl.verification.merged import (
    GraphReference,
    beside_itself,
    layer_labels,
    merged_layers,
    merged_points,
    notes_on_merged,
    standing,
)
from trtdsl.verification.oracle import Reference, TorchReference
from trtdsl.verification.outputs import missing, require_all
from trtdsl.verification.result import Difference, Row, Verification, measure, notes_on_numbers, uncompared
from trtdsl.verification.returned import numbers
from trtdsl.verification.roundings import allowed
from trtdsl.verification.rows import row_in_words, rows_of
from trtdsl.verification.seen import Comparison, OutputSeen, Seen, observe
from trtdsl.verification.setting import Computed, Setting, compute


def compare_lowered(
    graph: Graph, reference: Reference | None, recipe: Recipe, setting: Setting, notes: Sequence[str] = ()
) -> Verification:
    """Compare the model as the recipe lowers it with a reference, or with itself."""
    stages: dict[str, Graph] = {}
    optimized = optimize_graph(graph, CompileOptions(recipe=recipe), after=stages.__setitem__)
    before = _before_precision(stages, graph)
    computed = compute(optimized.graph, setting, rounded=True)
    lost = losses(before, optimized.narrowed, setting.inputs)
    may_be = with_losses(optimized.graph, allowed(optimized.graph), lost, optimized.narrowed)
    computed = dataclasses.replace(computed, allowed=may_be)
    if reference is None:
        reference = GraphReference(before, setting.dtype == "float64")
    returned, calls = run_reference(reference, setting)
    named = _named(optimized, before)
    matched = before if isinstance(reference, GraphReference) else graph
    points = _points(matched, calls or layer_labels(graph, matched), named)
    comparison = Comparison(graph, reference, setting, returned.arrays, points)
    if calls is None:
        require_all(graph, comparison.expected)
    else:
        notes = [*notes, *unmatched(graph, calls)]
    more = _held(merged_points(graph, before, points.values(), calls or ()), named)
    merged = merged_layers(before, [*more], computed)
    # What is off by roundings tells less, so that the model must agree in its own types too.
    seen, forms = without_other_forms(
        _seen(comparison, computed, merged),
        reference,
        lambda *_: compare_with(graph, reference, setting).equal,
    )
    rows = standing(_counted(rows_of(seen), seen), graph)
    difference = missing(graph, comparison.expected) or _difference(seen, rows, recipe)
    if difference and isinstance(reference, TorchReference):
        # What is wrong in the model's own types too is not the precision's doing.
        difference = compare_with(graph, reference, setting).difference or difference
    outcome = Verification(
        model=graph.name,
        against=reference.name,
        dtype=setting.dtype,
        tolerance=max((row.tolerance or 0.0 for row in rows), default=setting.tolerance),
        sizes=symbol_values(graph, setting.inputs),
        rows=rows,
        difference=difference,
        notes=(
            *notes,
            *(note.message for note in optimized.notes),
            *notes_on_outputs(graph, reference, returned),
            *_rescaled_note(optimized),
            *notes_on_forms(forms),
            *notes_on_merged(rows, seen),
            *notes_on_losses(optimized.graph, lost, optimized.narrowed),
            *_worst(rows),
            *notes_on_numbers(rows),
            *(f"output `{row.name}`: {row.why}" for row in rows if row.verdict == "rounded"),
        ),
        unknown=uncompared(rows),
        precision=str(recipe.precision),
    )
    return with_advice(outcome, graph, setting)


def _before_precision(stages: Mapping[str, Graph], graph: Graph) -> Graph:
    """The graph as the last pass before the precision left it."""
    found = graph
    for name, stage in stages.items():
        if name in (CONVERT_PRECISION, QUANTIZE):
            break
        found = stage
    return found


# --- Points -----------------------------------------------------------------------------------------------


def _named(optimized: Optimized, before: Graph) -> dict[str, Value]:
    """The lowered graph's values by name, which a value keeps when its type changes; without the scaled."""
    scaled = {value.name for value in _rescaled(optimized, before)}
    values = (value for node in optimized.graph.nodes for value in node.results)
    return {value.name: value for value in values if value.name not in scaled}


def _points(graph: Graph, calls: Mapping[str, int], named: Mapping[str, Value]) -> dict[Call, ModuleCall]:
    """Where both hold the same tensor."""
    return {(point.path, point.call): point for point in _held(match(graph, calls).values(), named)}


def _held(points: Iterable[ModuleCall], named: Mapping[str, Value]) -> Iterator[ModuleCall]:
    """The points in the lowered graph, those that it has."""
    for point in points:
        if all(value.name in named for value in point.values):
            yield dataclasses.replace(point, values=tuple(named[value.name] for value in point.values))


def _rescaled(optimized: Optimized, before: Graph) -> Iterator[Value]:
    """The tensors whose channels equalisation has scaled: back from a layer to what has weights to do it."""
    alphas = optimized.narrowed.alphas if optimized.narrowed else {}
    waiting = [node.operands[0] for node in before.nodes if node.scope in alphas]
    while waiting:
        value = waiting.pop()
        maker = before.producers.get(value)
        if maker is not None:
            yield value
            waiting += () if maker.weights else maker.operands


def _rescaled_note(optimized: Optimized) -> Iterator[str]:
    if optimized.narrowed and optimized.narrowed.alphas:
        yield (
            "not compared on their own, because equalisation scales their channels: the tensors that"
            " quantised layers read (`--equalise 0` compares them)"
        )


# --- What was seen ----------------------------------------------------------------------------------------


def _seen(comparison: Comparison, computed: Computed, merged: Sequence[Observation]) -> Seen:
    """The layers and outputs, measured; where all of these agree, blocks that do not are left out."""
    seen, reference = observe(comparison, computed), comparison.reference
    own = isinstance(reference, GraphReference)
    found = [*beside_itself(reference, comparison.points.values(), computed)] if own else seen.layers
    # What a large mean hides has the roundings of that mean.
    layers = [each if each.agrees else _beside_noise(each, computed) for each in (*found, *merged)]
    outputs = [each if each.agrees else _output_beside_noise(each) for each in seen.outputs]
    seen = dataclasses.replace(seen, layers=layers, outputs=outputs)
    outputs_agree = all(each.agrees for each in seen.outputs)
    if outputs_agree and all(each.agrees for each in seen.layers if each.point.is_layer):
        return dataclasses.replace(seen, layers=[each for each in seen.layers if each.agrees])
    return seen


def _beside_noise(seen: Observation, computed: Computed) -> Observation:
    if seen.theirs is None:
        return seen
    ours = numbers(computed.values[seen.value])
    return dataclasses.replace(seen, measure=measure(ours, seen.theirs, noise=seen.tolerance))


def _output_beside_noise(seen: OutputSeen) -> OutputSeen:
    found = measure(seen.found, seen.expected, noise=seen.tolerance)
    return seen if seen.by_places else dataclasses.replace(seen, measure=found)


def _counted(rows: Sequence[Row], seen: Seen) -> tuple[Row, ...]:
    """The rows, with how many integers of an output differ where these are rounded from numbers that do not.

    A number that lies between two integers becomes either, and is off by one as a whole: so outputs of
    integers are held to that, and what they may lose of their size, as long as nothing else is wrong.
    """
    wrong = {row.name for row in rows if row.verdict in ("differs", "follows")}
    integers = {
        each.output.name: each
        for each in seen.outputs
        if each.output.value.type.dtype.is_integer and each.found.shape == each.expected.shape
    }
    if not wrong <= integers.keys():
        return tuple(rows)
    return tuple(
        _counted_row(row, integers[row.name]) if row.name in wrong and row.kind == "output" else row
        for row in rows
    )


def _counted_row(row: Row, seen: OutputSeen) -> Row:
    off = abs(seen.found.astype("f8") - seen.expected.astype("f8"))
    size = abs(seen.expected.astype("f8")).max(initial=0)
    if not off.max(initial=0) <= 1 + (row.tolerance or 0.0) * size:
        return row
    why = f"{(off > 0).sum()} of {off.size} integers differ, by {off.max(initial=0):g} at most"
    return dataclasses.replace(row, verdict="rounded", why=why)


def _difference(seen: Seen, rows: Sequence[Row], recipe: Recipe) -> Difference | None:
    """The first tensor that is further off than its roundings allow, though what it is made of is not."""
    wrong = [row for row in rows if row.verdict in ("differs", "follows")]
    if not wrong:
        return None
    first = next((row for row in wrong if row.verdict == "differs"), wrong[0])
    words = row_in_words(first, first.tolerance or 0.0)
    may_be = f"{first.tolerance or 0.0:.1e} may be lost to {recipe.precision} there"
    if first.measure and first.measure.is_broken and recipe.calibrate is None:
        may_be += "; with `--calibrate` and real data, what overflows stays float32"
    return Difference(f"{words}, and {may_be}", tuple(map(suspect, _labelled(seen, first.label))))


def _labelled(seen: Seen, label: str) -> Collection[Node]:
    return [node for node in seen.computed.graph.nodes if node.scope == label and node.weights]


def _worst(rows: Sequence[Row]) -> Iterator[str]:
    """The layer that is furthest off."""
    layers = [(row.measure.relative, row.name) for row in rows if row.kind == "layer" and row.measure]
    if layers:
        relative, name = max(layers)
        yield f"of the layers `{name}` is furthest off, by {relative:.1e}"
