"""One comparison: compute the model's TensorRT network, run the reference, measure, and explain.

In: a graph with weights, a reference and inputs.  Out: a :class:`~trtdsl.verification.result.Verification`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from trtdsl.ir import Graph, Value
from trtdsl.passes import optimize
from trtdsl.verification.blame import Evidence, Fault, confirmed, explain, suspect
from trtdsl.verification.forms import are_shown, notes_on_forms, without_other_forms
from trtdsl.verification.idle import idle_numbers
from trtdsl.verification.inputs import input_advice
from trtdsl.verification.layers import Observation, below, count_calls, match
from trtdsl.verification.merged import notes_on_merged, standing, with_merged
from trtdsl.verification.narrow import lost, narrow_type
from trtdsl.verification.oracle import ArraysReference, Reference, TorchReference
from trtdsl.verification.outputs import missing, output_notes, paired, require_all
from trtdsl.verification.result import Difference, Idle, Row, Verification, notes_on_numbers, uncompared
from trtdsl.verification.returned import Returned
from trtdsl.verification.rows import difference_in_words, row_in_words, rows_of
from trtdsl.verification.seen import Comparison, Seen, look
from trtdsl.verification.setting import Setting, cast_values, compute
from trtdsl.verification.visibility import Unseen, unseen

__all__ = ["compare_with", "paired"]


def compare_with(
    graph: Graph, reference: Reference, setting: Setting, notes: Sequence[str] = ()
) -> Verification:
    """Compare the optimised graph's network with the reference, and say what is wrong with the graph."""
    returned, calls = run_reference(reference, setting)
    points = {} if calls is None else match(graph, calls)
    comparison = Comparison(graph, reference, setting, returned.arrays, points)
    if calls is None:
        require_all(graph, comparison.expected)
    else:
        notes = [*notes, *unmatched(graph, calls)]
    seen = with_merged(look(comparison, compute(optimize(graph), setting)), comparison, calls or ())
    seen, forms = without_other_forms(seen, reference, partial(are_shown, graph))
    rows = standing(rows_of(seen), graph)
    difference = missing(graph, comparison.expected)
    if any(row.verdict in ("differs", "follows") for row in rows):
        difference = _difference(comparison, seen, rows)
    outcome = Verification(
        model=graph.name,
        against=reference.name,
        dtype=setting.dtype,
        tolerance=setting.tolerance,
        sizes=seen.computed.sizes,
        rows=rows,
        difference=difference,
        notes=(
            *notes,
            *notes_on_outputs(graph, reference, returned),
            *_tied(seen),
            *notes_on_forms(forms),
            *notes_on_merged(rows, seen),
            *notes_on_numbers(rows),
        ),
        unknown=uncompared(rows),
    )
    if difference is None:
        outcome = _with_lost(_with_unseen(outcome, comparison, seen), seen)
    return with_advice(outcome, graph, setting)


def run_reference(reference: Reference, setting: Setting) -> tuple[Returned, Mapping[str, int] | None]:
    """What the reference returns, and how often it calls each of its modules if it has any."""
    if not isinstance(reference, TorchReference):
        return reference.run(setting.inputs), None
    value, calls = count_calls(reference, setting.inputs)
    return reference.returned(value, setting.inputs), calls


# --- Notes ------------------------------------------------------------------------------------------------


def notes_on_outputs(graph: Graph, reference: Reference, returned: Returned) -> Iterator[str]:
    """What is to be said of the reference's call and of the outputs' names and types; of stored ones, their
    file was asked before."""
    yield from returned.notes
    if not isinstance(reference, ArraysReference):
        yield from output_notes(graph, returned.arrays, cast_values(graph))


def unmatched(graph: Graph, calls: Mapping[str, int]) -> Iterator[str]:
    """A note on layers with weights that the reference has nothing like."""
    paths = [
        path
        for path, nodes in below(graph).items()
        if path not in calls and any(node.scope == path and node.weights for node in nodes)
    ]
    if paths:
        listed = ", ".join(f"`{path}`" for path in paths[:5]) + (" …" if len(paths) > 5 else "")
        yield f"not compared on their own, because the reference runs no modules with these names: {listed}"


def _tied(seen: Seen) -> Iterator[str]:
    for each in seen.outputs:
        if each.by_places and each.agrees:
            yield f"output `{each.output.name}` holds other places than the reference's, of equal elements"


def _with_unseen(outcome: Verification, comparison: Comparison, seen: Seen) -> Verification:
    """The outcome with what the comparison could not see."""
    compared = {each.value for each in seen.layers} | {each.output.value for each in seen.outputs}
    found = unseen(comparison.graph, compared, seen.computed)
    notes = [
        f"output `{output.name}` does not depend on the inputs: it does not show what is computed before it"
        for output in found.outputs
    ]
    idle = idle_numbers(comparison.graph, seen.computed, found.values)
    return dataclasses.replace(
        outcome,
        notes=(*outcome.notes, *notes),
        unseen=tuple(map(suspect, found.nodes)),
        advice=_advice(comparison),
        idle=tuple(Idle(suspect(node), number) for node, number in idle),
        unknown=(*outcome.unknown, *_nothing_seen(outcome, found)),
    )


def _advice(comparison: Comparison) -> str:
    """What may let the comparison see more."""
    if comparison.setting.randomized:
        return "other random weights (`--seed`) or inputs (`--input`) may show it"
    if isinstance(comparison.reference, TorchReference):
        return "`--randomize` compares with weights that show it"
    return "other inputs or weights may show it"


def _with_lost(outcome: Verification, seen: Seen) -> Verification:
    """The outcome with what a narrow type costs that the comparison was spared."""
    dtype = narrow_type(seen.computed)
    found = [] if dtype is None else list(lost(seen.computed, dtype))
    differences = [each for each in found if isinstance(each, Difference)]
    notes = [each for each in found if isinstance(each, str)]
    difference = differences[0] if differences else None
    return dataclasses.replace(outcome, notes=(*outcome.notes, *notes), difference=difference)


def _nothing_seen(outcome: Verification, found: Unseen) -> Iterator[str]:
    if found.outputs and len(found.outputs) == len(outcome.rows):
        yield "no output depends on the inputs, and no layer was compared"


def with_advice(outcome: Verification, graph: Graph, setting: Setting) -> Verification:
    """The outcome; where it is not equal, with what may be wrong about inputs that were made up."""
    if outcome.equal:
        return outcome
    advice = input_advice(graph, setting.made_up)
    difference = outcome.difference
    if advice and difference and any(row.measure and row.measure.is_broken for row in outcome.rows):
        # Infinity and NaN are what a made-up mask or length makes of a right network.
        message = f"{difference.message.rstrip(':')}; or the made-up input is at fault"
        colon = ":" if difference.message.endswith(":") else ""
        difference = dataclasses.replace(difference, message=message + colon)
    return dataclasses.replace(outcome, difference=difference, notes=(*outcome.notes, *advice))


# --- The difference ---------------------------------------------------------------------------------------


def _difference(comparison: Comparison, seen: Seen, rows: Sequence[Row]) -> Difference:
    """Why they differ, found on the graph as it was written, without optimisations."""
    first = next(row for row in rows if row.verdict in ("differs", "follows"))
    tolerance = first.tolerance or 0.0
    words = row_in_words(first, tolerance)
    if not isinstance(comparison.reference, TorchReference):
        return Difference(words, ())
    wide = comparison.in_float64
    if first.measure and first.measure.is_right_as_a_whole(tolerance) and wide is not None:
        # Only float64 tells apart what a large mean hides.
        comparison, plain = wide
    else:
        plain = look(comparison, compute(comparison.graph, comparison.setting))
    reference = comparison.reference
    assert isinstance(reference, TorchReference)
    right = confirmed(reference, plain.computed) | {each.value for each in plain.layers if each.agrees}
    fault = _first_fault(plain, right)
    if fault is None:
        nodes = [node for node in seen.computed.graph.nodes if node.scope == first.label]
        text = f"{words}, but not without the optimisations: a bug in trtdsl"
        return Difference(f"{text}, which `--skip` may get around", tuple(map(suspect, nodes)))
    return explain(fault, Evidence(plain.computed, right, reference))


def _layer_in_words(seen: Observation) -> str:
    if seen.hides_its_input:
        return f"layer `{seen.point.path}` reads something else, which its weights hide"
    shapes = seen.found, seen.expected
    return difference_in_words(seen.point.kind, seen.point.path, seen.measure, seen.tolerance, shapes)


def _first_fault(seen: Seen, right: set[Value]) -> Fault | None:
    """The first wrong value in the order of computation."""
    graph = seen.computed.graph
    faults = [
        Fault(each.value, _layer_in_words(each), each, each.measure is None)
        for each in seen.layers
        if not each.agrees and (each.point.is_layer or each.value not in right)
    ]
    faults += [
        Fault(
            each.output.value,
            difference_in_words(
                "output",
                each.output.name,
                each.measure,
                each.tolerance,
                (each.found.shape, each.expected.shape),
            ),
            is_shape=each.measure is None,
        )
        for each in seen.outputs
        if not each.agrees
    ]
    place = {value: index for index, node in enumerate(graph.nodes) for value in node.results}
    return min(faults, key=lambda fault: place.get(fault.value, -1), default=None)
