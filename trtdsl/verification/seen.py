"""What a comparison observes, measured: the layers and the outputs, and a second look at what differs.

In: a graph's network, computed, and a reference that was run.  Out: a :class:`Seen`.  What differs in
float32 is measured again in float64: to know how far PyTorch's own float32 is off, and to see parts that a
large mean or a large channel hides without the rounding of what hides them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from trtdsl.diagnostics import DiagnosticError
from trtdsl.ir import Graph, Output, Value
from trtdsl.verification.alike import measure_alike
from trtdsl.verification.layers import Call, ModuleCall, Observation, compare
from trtdsl.verification.oracle import Array, Reference, TorchReference
from trtdsl.verification.outputs import paired
from trtdsl.verification.result import Measure, is_close, measure
from trtdsl.verification.returned import Named, numbers
from trtdsl.verification.setting import Computed, Setting, compute
from trtdsl.verification.ties import measure_places
from trtdsl.verification.tolerances import TOLERANCES

SUMMED = 1e-6
"""The relative error of float32 sums of some thousand terms."""

LARGEST_OWN_ERROR = 1e-2
"""A reference that is further off in float32 than this is not right in float32, and excuses nothing."""


@dataclass(frozen=True, eq=False)
class OutputSeen:
    """An output beside what is expected of it. ``by_places``: it names other places of the same elements,
    and the measure is that of the elements."""

    output: Output
    found: Array
    expected: Array
    measure: Measure | None
    tolerance: float
    by_places: bool = False

    @property
    def agrees(self) -> bool:
        return is_close(self.measure, self.tolerance)


@dataclass(frozen=True, eq=False)
class Seen:
    """What was observed of a graph: its layers and blocks, and its outputs."""

    computed: Computed
    layers: Sequence[Observation]
    outputs: Sequence[OutputSeen]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A graph as it was written, what it is held against and how, and where both hold the same tensor."""

    graph: Graph
    reference: Reference
    setting: Setting
    expected: Named
    points: Mapping[Call, ModuleCall]

    @cached_property
    def in_float64(self) -> tuple[Comparison, Seen] | None:
        """The graph, without optimisations, against the module in float64; None where it cannot be so."""
        if not isinstance(self.reference, TorchReference):
            return None
        reference = self.reference.in_float64()
        setting = self.setting
        if setting.dtype != "float64":
            setting = dataclasses.replace(setting, dtype="float64", tolerance=TOLERANCES["float64"])
        try:
            expected = reference.run(setting.inputs).arrays
            wide = Comparison(self.graph, reference, setting, expected, self.points)
            return wide, observe(wide, compute(self.graph, setting), keeps_all=True)
        except DiagnosticError:
            # A module may insist on float32.
            return None


def look(comparison: Comparison, computed: Computed) -> Seen:
    """Compare layers and outputs.

    What a block returns may be a matter of where its braces stand: where all layers and outputs agree,
    blocks that do not are left out.
    """
    seen = observe(comparison, computed)
    if not all(each.agrees for each in (*seen.layers, *seen.outputs)):
        seen = _second_look(comparison, seen)
    outputs_agree = all(each.agrees for each in seen.outputs)
    if outputs_agree and all(each.agrees for each in seen.layers if each.point.is_layer):
        return dataclasses.replace(seen, layers=[each for each in seen.layers if each.agrees])
    return seen


def observe(comparison: Comparison, computed: Computed, keeps_all: bool = False) -> Seen:
    """Measure layers and outputs in the setting's own dtype."""
    layers: Sequence[Observation] = []
    if isinstance(comparison.reference, TorchReference) and comparison.points:
        layers = compare(
            comparison.reference, comparison.points, computed, lambda seen: keeps_all or not seen.agrees
        )
        layers = [_layer_beside_rounding(each, computed) for each in layers]
    pairs = paired(computed.graph, comparison.expected)
    return Seen(computed, layers, [see_output(computed, output, array) for output, array in pairs])


def see_output(computed: Computed, output: Output, expected: Array) -> OutputSeen:
    """An output as the network computes it on the CPU."""
    found = computed.outputs[output.name]
    exact = expected.dtype.kind in "biu"
    seen = OutputSeen(
        output, found, expected, measure(found, expected), 0.0 if exact else computed.tolerance(output.value)
    )
    if not exact and not seen.agrees and (noise := _rounding(computed, output.value)):
        return dataclasses.replace(seen, measure=measure(found, expected, noise))
    if not exact or seen.agrees:
        return seen
    elements = measure_places(computed, output.value, found, expected)
    if elements is None:
        return seen
    return dataclasses.replace(seen, measure=elements, tolerance=computed.setting.tolerance, by_places=True)


def _layer_beside_rounding(seen: Observation, computed: Computed) -> Observation:
    """The layer, its hidden parts measured beside what rounding costs what hides them."""
    noise = _rounding(computed, seen.value)
    if seen.agrees or seen.theirs is None or not noise:
        return seen
    ours = numbers(computed.values[seen.value])
    return dataclasses.replace(seen, measure=measure(ours, seen.theirs, noise))


def _rounding(computed: Computed, value: Value) -> float:
    """The relative error that a hidden part may have of what hides it, where the network rounds that."""
    is_rounded = value in computed.rounded and not computed.setting.chosen
    return computed.tolerance(value) if is_rounded else 0.0


# --- The second look --------------------------------------------------------------------------------------


def _second_look(comparison: Comparison, seen: Seen) -> Seen:
    """What differs, measured again with what float64 tells."""
    wide = comparison.in_float64
    if wide is None:
        layers = [_layer_with_noise(each, seen.computed) for each in seen.layers]
        return dataclasses.replace(seen, layers=layers, outputs=_outputs_with_noise(comparison, seen))
    layers = {each.key: each for each in wide[1].layers}
    outputs = {each.output.name: each for each in wide[1].outputs}
    return Seen(
        seen.computed,
        [layer_again(each, layers.get(each.key)) for each in seen.layers],
        [_output_again(each, outputs.get(each.output.name)) for each in seen.outputs],
    )


def layer_again(seen: Observation, wide: Observation | None) -> Observation:
    """What differs, measured beside what float64 tells of both sides."""
    if seen.agrees or seen.measure is None or wide is None or wide.theirs is None or seen.theirs is None:
        return seen
    return dataclasses.replace(seen, measure=_again(seen.measure, wide.measure, seen.theirs, wide.theirs))


def _output_again(seen: OutputSeen, wide: OutputSeen | None) -> OutputSeen:
    if seen.agrees or seen.measure is None or wide is None or seen.expected.dtype.kind in "biu":
        return seen
    return dataclasses.replace(seen, measure=_again(seen.measure, wide.measure, seen.expected, wide.expected))


def _again(seen: Measure, wide: Measure | None, theirs: Array, theirs_in_float64: Array) -> Measure:
    """The measure beside the reference's own error, its hidden parts as float64 shows them."""
    own = measure(theirs, theirs_in_float64)
    known = own is not None and own.relative <= LARGEST_OWN_ERROR
    hidden = seen.hidden if wide is None or not math.isfinite(wide.relative) else wide.hidden
    return dataclasses.replace(seen, own=own.relative if own and known else 0.0, hidden=hidden)


def _layer_with_noise(seen: Observation, computed: Computed) -> Observation:
    """The layer, its hidden parts measured beside what float32 may cost it."""
    if seen.agrees or seen.measure is None or seen.theirs is None or not seen.tolerance:
        return seen
    ours = numbers(computed.values[seen.value])
    return dataclasses.replace(seen, measure=measure_alike(ours, seen.theirs, seen.tolerance, SUMMED))


def _outputs_with_noise(comparison: Comparison, seen: Seen) -> list[OutputSeen]:
    """The outputs, their hidden parts measured beside what float32 costs the network itself."""
    wide = dataclasses.replace(comparison.setting, dtype="float64")
    computed = compute(seen.computed.graph, wide)
    found: list[OutputSeen] = []
    for each in seen.outputs:
        own = measure(each.found, computed.outputs[each.output.name])
        noise = own.relative if own is not None and own.relative <= LARGEST_OWN_ERROR else 0.0
        again = measure(each.found, each.expected, noise)
        keeps = each.agrees or each.by_places or again is None
        found.append(each if keeps else dataclasses.replace(each, measure=again))
    return found
