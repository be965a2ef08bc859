"""One comparison: compute the model's TensorRT network, run the reference, measure, and explain.

In: a graph with weights, a reference and inputs.  Out: a :class:`~trtdsl.verification.result.Verification`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError
from trtdsl.ir import Graph, Output, Value
from trtdsl.passes import optimize
from trtdsl.reference import symbol_values
from trtdsl.trt.naming import source_of
from trtdsl.verification.blame import Evidence, Fault, confirmed, explain, suspect
from trtdsl.verification.layers import (
    Call,
    ModuleCall,
    Observation,
    Values,
    below,
    compare,
    count_calls,
    match,
)
from trtdsl.verification.oracle import Array, Named, Reference, TorchReference, named, numbers
from trtdsl.verification.result import (
    Difference,
    Measure,
    Row,
    Verdict,
    Verification,
    is_close,
    measure,
    notes_on_numbers,
)

Floats: TypeAlias = Literal["float32", "float64"]


@dataclass(frozen=True)
class Setting:
    """What both sides compute on, in which dtype, and how far apart they may be."""

    inputs: Mapping[str, Array]
    dtype: Floats
    tolerance: float


@dataclass(frozen=True, eq=False)
class Computed:
    """A graph and what its TensorRT network computes: the values that became tensors, and the outputs."""

    graph: Graph
    values: Values
    outputs: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Seen:
    """What was observed of a graph: its layers and blocks, and for each output what is expected of it."""

    computed: Computed
    layers: Sequence[Observation]
    outputs: Sequence[tuple[Output, Array, Measure | None]]


def compute(graph: Graph, setting: Setting) -> Computed:
    """Lower a graph and evaluate the network on the CPU."""
    from trtdsl.evaluate import EvaluationError, evaluate_all
    from trtdsl.trt.lower import lower

    lowered = lower(graph)
    try:
        found = evaluate_all(
            lowered.network, setting.inputs, precision=setting.dtype, weights=lowered.weights
        )
    except EvaluationError as error:
        raise DiagnosticError(Diagnostic(f"the network cannot be computed on the CPU: {error}")) from error
    names = {value: tensor.handle.name for value, tensor in lowered.tensors.items() if tensor.array is None}
    values = {value: found[name] for value, name in names.items() if name in found}
    return Computed(graph, values, {output.name: numbers(found[output.name]) for output in graph.outputs})


def compare_with(
    graph: Graph, reference: Reference, setting: Setting, notes: Sequence[str] = ()
) -> Verification:
    """Compare the optimised graph's network with the reference, and say what is wrong with the graph."""
    points: dict[Call, ModuleCall] = {}
    if isinstance(reference, TorchReference):
        returned, calls = count_calls(reference, setting.inputs)
        expected = named(returned)
        points = match(graph, calls)
        notes = [*notes, *_unmatched(graph, calls)]
    else:
        expected = reference.run(setting.inputs)
    seen = _look(compute(optimize(graph), setting), reference, expected, points, setting)
    rows = _rows(seen, setting)
    difference = None
    if any(row.verdict != "equal" for row in rows):
        difference = _difference(graph, seen, rows, reference, expected, points, setting)
    return Verification(
        model=graph.name,
        against=reference.name,
        dtype=setting.dtype,
        tolerance=setting.tolerance,
        sizes=sizes_of(graph, setting),
        rows=rows,
        difference=difference,
        notes=(*notes, *notes_on_numbers(rows)),
    )


def sizes_of(graph: Graph, setting: Setting) -> dict[str, int]:
    """The dynamic dimensions that the inputs have."""
    return symbol_values(graph, setting.inputs)


def _unmatched(graph: Graph, calls: Mapping[str, int]) -> Iterator[str]:
    """A note on layers with weights that the reference has nothing like."""
    paths = [
        path
        for path, nodes in below(graph).items()
        if path not in calls and any(node.scope == path and node.weights for node in nodes)
    ]
    if paths:
        listed = ", ".join(f"`{path}`" for path in paths[:5]) + (" …" if len(paths) > 5 else "")
        yield f"not compared by themselves, for the reference runs no module of that name: {listed}"


def _look(
    computed: Computed,
    reference: Reference,
    expected: Named,
    points: Mapping[Call, ModuleCall],
    setting: Setting,
) -> Seen:
    """Compare layers and outputs.

    What a block returns may be a matter of where its braces stand: where all layers and outputs agree,
    blocks that do not are left out.
    """
    layers: Sequence[Observation] = []
    if isinstance(reference, TorchReference) and points:
        layers = compare(reference, setting.inputs, points, computed.values)
    outputs = [
        (output, array, measure(computed.outputs[output.name], array))
        for output, array in paired(computed.graph, expected)
    ]
    outputs_agree = all(is_close(found, limit(array, setting.tolerance)) for _, array, found in outputs)
    if outputs_agree and all(_agrees(each, setting) for each in layers if each.point.is_layer):
        layers = [each for each in layers if _agrees(each, setting)]
    return Seen(computed, layers, outputs)


def paired(graph: Graph, expected: Named) -> list[tuple[Output, Array]]:
    """Each output with the reference's of that name, or else of that position."""
    by_name = {name: array for name, array in expected if name}
    if all(output.name in by_name for output in graph.outputs):
        return [(output, by_name[output.name]) for output in graph.outputs]
    if len(expected) < len(graph.outputs):
        names = ", ".join(name or "unnamed" for name, _ in expected) or "nothing"
        wanted = ", ".join(output.name for output in graph.outputs)
        raise UsageError(Diagnostic(f"the model's outputs are {wanted}, but the reference gives {names}"))
    return [(output, array) for output, (_, array) in zip(graph.outputs, expected, strict=False)]


def limit(expected: Array, tolerance: float) -> float:
    """Integers and bools agree exactly or not at all."""
    return 0.0 if expected.dtype.kind in "biu" else tolerance


def _agrees(seen: Observation, setting: Setting) -> bool:
    return is_close(seen.measure, setting.tolerance if seen.is_floating else 0.0)


# --- Rows -------------------------------------------------------------------------------------------------


def _rows(seen: Seen, setting: Setting) -> tuple[Row, ...]:
    """The layers in the order of computation, then the outputs."""
    graph = seen.computed.graph
    place = {value: index for index, node in enumerate(graph.nodes) for value in node.results}
    agreement = {each.value: _agrees(each, setting) for each in seen.layers}
    for output, array, found in seen.outputs:
        agrees = is_close(found, limit(array, setting.tolerance))
        agreement[output.value] = agreement.get(output.value, True) and agrees
    verdicts = _verdicts(graph, agreement)
    ordered = sorted(seen.layers, key=lambda each: place.get(each.value, -1))
    rows = [_layer_row(graph, each, verdicts[each.value]) for each in ordered]
    outputs = (
        output_row(output, seen.computed.outputs[output.name], array, found, verdicts[output.value])
        for output, array, found in seen.outputs
    )
    return (*rows, *outputs)


def _verdicts(graph: Graph, agreement: Mapping[Value, bool]) -> dict[Value, Verdict]:
    """Whether each compared value is right; and if not, whether something before it was wrong already."""
    found: dict[Value, Verdict] = {value: "equal" if ok else "differs" for value, ok in agreement.items()}
    wrong = {value for value in graph.inputs if not agreement.get(value, True)}
    for node in graph.nodes:
        follows = any(value in wrong for value in node.operands)
        for value in node.results:
            if not agreement.get(value, not follows):
                wrong.add(value)
                found.update({value: "follows"} if follows and value in found else {})
    return found


def _layer_row(graph: Graph, seen: Observation, verdict: Verdict) -> Row:
    node = graph.producers.get(seen.value)
    point = seen.point
    # Two layers that were folded into one have both their labels.
    label = node.scope if node and "+" in node.scope else point.path
    return Row(
        kind=point.kind,
        label=label,
        source=source_of(node) if node else "",
        shape=seen.found,
        expected=seen.expected,
        measure=seen.measure,
        verdict=verdict,
        call=point.call + 1 if point.calls > 1 else None,
    )


def output_row(
    output: Output, found: Array, expected: Array, measured: Measure | None, verdict: Verdict
) -> Row:
    """The row of an output that was computed, beside what it should be."""
    source = output.origins[0].source if output.origins else ""
    return Row("output", output.name, source, found.shape, expected.shape, measured, verdict)


# --- The difference ---------------------------------------------------------------------------------------


def _difference(
    graph: Graph,
    seen: Seen,
    rows: Sequence[Row],
    reference: Reference,
    expected: Named,
    points: Mapping[Call, ModuleCall],
    setting: Setting,
) -> Difference:
    """Why they differ, found on the graph as it was written, without optimisations."""
    first = next(row for row in rows if row.verdict != "equal")
    if not isinstance(reference, TorchReference):
        return Difference(difference_in_words(first.kind, first.name, first.measure), ())
    plain = _look(compute(graph, setting), reference, expected, points, setting)
    right = confirmed(reference, setting.inputs, plain.computed.values, setting.tolerance)
    fault = _first_fault(plain, right, setting)
    if fault is None:
        nodes = [node for node in seen.computed.graph.nodes if node.scope == first.label]
        seen_as = difference_in_words(first.kind, first.name, first.measure)
        text = f"{seen_as}, but not without the optimisations: a bug in trtdsl"
        return Difference(f"{text}, which `--skip` may get around", tuple(map(suspect, nodes)))
    evidence = Evidence(
        graph,
        plain.computed.values,
        right,
        reference,
        setting.inputs,
        sizes_of(graph, setting),
        setting.tolerance,
    )
    return explain(fault, evidence)


def _first_fault(seen: Seen, right: set[Value], setting: Setting) -> Fault | None:
    """The first wrong value in the order of computation."""
    graph = seen.computed.graph
    faults = [
        Fault(each.value, difference_in_words(each.point.kind, each.point.path, each.measure), each)
        for each in seen.layers
        if not _agrees(each, setting) and (each.point.is_layer or each.value not in right)
    ]
    faults += [
        Fault(output.value, difference_in_words("output", output.name, found))
        for output, array, found in seen.outputs
        if not is_close(found, limit(array, setting.tolerance))
    ]
    place = {value: index for index, node in enumerate(graph.nodes) for value in node.results}
    return min(faults, key=lambda fault: place.get(fault.value, -1), default=None)


def difference_in_words(kind: str, name: str, found: Measure | None) -> str:
    """``output `y` differs by 1.2e-02``."""
    much = "has another shape" if found is None else f"differs by {found.relative:.1e}"
    return f"{kind} `{name}` {much}"
