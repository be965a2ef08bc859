"""What was observed, as the rows of a table with a verdict each.

In: a :class:`~trtdsl.verification.seen.Seen`.  Out: the layers in the order of computation, then the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

from trtdsl.ir import Graph, Output, Value
from trtdsl.trt.naming import source_of
from trtdsl.verification.layers import Observation
from trtdsl.verification.outputs import is_of_type
from trtdsl.verification.result import Measure, Row, Verdict, is_hidden
from trtdsl.verification.returned import Array
from trtdsl.verification.seen import Seen

Shape: TypeAlias = tuple[int, ...]


def rows_of(seen: Seen) -> tuple[Row, ...]:
    """The layers in the order of computation, then the outputs."""
    graph = seen.computed.graph
    place = {value: index for index, node in enumerate(graph.nodes) for value in node.results}
    agreement = {each.value: each.agrees for each in seen.layers}
    for each in seen.outputs:
        value = each.output.value
        agreement[value] = agreement.get(value, True) and each.agrees
    verdicts = _verdicts(graph, agreement)
    ordered = sorted(seen.layers, key=lambda each: place.get(each.value, -1))
    # A layer's result may agree though the same value as an output does not.
    rows = [_layer_row(graph, each, "equal" if each.agrees else verdicts[each.value]) for each in ordered]
    outputs = (
        output_row(
            each.output,
            each.found,
            each.expected,
            each.measure,
            "equal" if each.agrees else verdicts[each.output.value],
            each.tolerance,
        )
        for each in seen.outputs
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
        verdict=_known(seen.measure, verdict),
        call=point.call + 1 if point.calls > 1 else None,
        tolerance=seen.tolerance,
        why="" if verdict == "equal" else _layer_reason(seen),
    )


def output_row(
    output: Output,
    found: Array,
    expected: Array,
    measured: Measure | None,
    verdict: Verdict,
    tolerance: float,
) -> Row:
    """The row of an output that was computed, beside what it should be."""
    source = output.origins[0].source if output.origins else ""
    why = "" if verdict == "equal" else reason(measured, tolerance)
    dtype = expected.dtype.name
    if verdict != "equal" and not why and not is_of_type(output.value, dtype, is_cast=False):
        why = f"{dtype} in the reference"
    return Row(
        "output",
        output.name,
        source,
        found.shape,
        expected.shape,
        measured,
        _known(measured, verdict),
        tolerance=tolerance,
        why=why,
    )


def shape_in_words(shape: Shape) -> str:
    """``1x1000``."""
    return "x".join(map(str, shape)) or "scalar"


def _known(measured: Measure | None, verdict: Verdict) -> Verdict:
    return "unknown" if verdict == "equal" and measured and not measured.compared else verdict


def _layer_reason(seen: Observation) -> str:
    if seen.hides_its_input:
        return "it reads something else, which its weights hide"
    return reason(seen.measure, seen.tolerance)


def reason(found: Measure | None, tolerance: float) -> str:
    """Why two tensors differ, where their largest difference and relative error do not show it."""
    if found is None:
        return "another shape"
    if found.is_complex:
        return "complex in the reference"
    if math.isinf(found.relative):
        is_zero = math.isfinite(found.max_abs)
        return "the reference is 0 throughout" if is_zero else "NaN or infinity on one side"
    if found.is_right_as_a_whole(tolerance) and is_hidden(found, tolerance):
        return f"by {found.hidden:.1e} without its mean or in a channel"
    return ""


def row_in_words(row: Row, tolerance: float) -> str:
    """What differs at a row."""
    return difference_in_words(row.kind, row.name, row.measure, tolerance, (row.shape, row.expected))


def difference_in_words(
    kind: str, name: str, found: Measure | None, tolerance: float, shapes: tuple[Shape, Shape]
) -> str:
    """``output `y` differs by 1.2e-02``; where nothing is measured, the shape beside the reference's."""
    if found is None:
        own, expected = map(shape_in_words, shapes)
        return f"{kind} `{name}` is {own}, not {expected}"
    if found.is_right_as_a_whole(tolerance) and is_hidden(found, tolerance):
        whole = f"{found.relative:.1e} as a whole"
        return f"{kind} `{name}` differs by {found.hidden:.1e} without its mean or in a channel, by {whole}"
    said = reason(found, tolerance)
    return f"{kind} `{name}` differs by {found.relative:.1e}" + (f": {said}" if said else "")
