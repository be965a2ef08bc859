"""Layers that passes made of several: what they stand for, and their rows.

In: a graph as it was written and as the passes leave it, and what its network computes.  Out: an observation
for each layer that has a label of its own, ``wide+narrow``, and a result that no module of the reference
returns. It is held against the model itself, computed by PyTorch as the passes leave it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trtdsl.ir import Graph, Node, Value, walk
from trtdsl.ops.pointwise import Add
from trtdsl.precision.labels import parts
from trtdsl.reference import run
from trtdsl.verification.layers import ModuleCall, Observation, match, observation
from trtdsl.verification.oracle import Array
from trtdsl.verification.result import Row
from trtdsl.verification.returned import Returned, numbers
from trtdsl.verification.seen import Comparison, Seen, layer_again
from trtdsl.verification.setting import Computed, compute
from trtdsl.verification.tolerances import TOLERANCES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class GraphReference:
    """The model itself, computed by PyTorch in its own types or in float64: a reference without a module."""

    graph: Graph
    in_float64: bool = False
    values: dict[Value, torch.Tensor] = field(default_factory=dict["Value", "torch.Tensor"])

    @property
    def name(self) -> str:
        return "itself"

    def run(self, inputs: Mapping[str, Array]) -> Returned:
        """The outputs; the tensors of its layers are kept."""
        nodes = (node for node in self.graph.nodes if node.weights or _makers_below(self.graph, node))
        labelled = {value for node in nodes for value in node.results}

        def keep(value: Value, tensor: torch.Tensor) -> None:
            if value in labelled:
                self.values[value] = tensor

        found = run(self.graph, inputs, in_float64=self.in_float64, observe=keep)
        return Returned([(name, numbers(tensor)) for name, tensor in found.items()])


def beside_itself(
    reference: GraphReference, points: Iterable[ModuleCall], computed: Computed
) -> Iterator[Observation]:
    """The network's values beside those of the model itself, at the points that both have."""
    own = {value.name: tensor for value, tensor in reference.values.items()}
    for point in points:
        for index, value in enumerate(point.values):
            if value.name in own and value in computed.values:
                theirs = own[value.name]
                seen = observation(point, index, value, theirs, None, computed)
                yield dataclasses.replace(seen, theirs=numbers(theirs))


def merged_points(
    graph: Graph, passed: Graph, points: Iterable[ModuleCall], called: Collection[str]
) -> Sequence[ModuleCall]:
    """The layers of ``passed`` that have other labels than those of ``graph``, and none of the points.

    One of the modules that the reference ``called`` is part of each: others have no rows either.
    """
    known = {node.scope for node in walk(graph)}
    shown = {value.name for point in points for value in point.values}
    made = {
        label: count
        for label, count in layer_labels(graph, passed).items()
        if label not in known and any(part in called for part in parts(label))
    }
    found = match(passed, made).values()
    return [point for point in found if not any(value.name in shown for value in point.values)]


def layer_labels(graph: Graph, passed: Graph) -> Counter[str]:
    """The labels of the layers of ``passed``, and how many layers have each.

    Of a layer that a pass has put into parts, ``conv.kept`` and ``conv.moved``, it is that of their sum: of
    what a layer reads a part may be small, and what its rounding costs is not.
    """
    known = {node.scope for node in walk(graph)}
    labels, inside = Counter[str](), set[str]()
    for node in passed.nodes:
        below = {maker.scope for maker in _makers_below(passed, node)} - known
        inside |= below
        labels[node.scope] += bool(node.weights or below)
    return Counter({label: count for label, count in labels.items() if count and label not in inside})


def _makers_below(graph: Graph, node: Node) -> Sequence[Node]:
    """The layers that a sum adds up, where their labels are below its own."""
    if not isinstance(node.op, Add) or not node.scope:
        return ()
    makers = [maker for value in node.operands if (maker := graph.producers.get(value))]
    below = [maker for maker in makers if maker.scope.startswith(f"{node.scope}.")]
    return below if len(below) == len(node.operands) else ()


def with_merged(seen: Seen, comparison: Comparison, called: Collection[str]) -> Seen:
    """What was seen, and the merged layers of its graph beside the model itself; what differs in float32 is
    measured again in float64."""
    passed = seen.computed.graph
    points = merged_points(comparison.graph, passed, comparison.points.values(), called)
    found = merged_layers(passed, points, seen.computed)
    if not all(each.agrees for each in found):
        setting = dataclasses.replace(seen.computed.setting, dtype="float64", tolerance=TOLERANCES["float64"])
        wide = {each.key: each for each in merged_layers(passed, points, compute(passed, setting))}
        found = [layer_again(each, wide.get(each.key)) for each in found]
    return dataclasses.replace(seen, layers=[*seen.layers, *found])


def merged_layers(passed: Graph, points: Sequence[ModuleCall], computed: Computed) -> list[Observation]:
    """Those of a network beside those of the graph ``passed``, which is run here."""
    if not points:
        return []
    reference = GraphReference(passed, computed.setting.dtype == "float64")
    reference.run(computed.setting.inputs)
    found = beside_itself(reference, points, computed)
    return [dataclasses.replace(each, of_itself=True) for each in found]


# --- What a row stands for --------------------------------------------------------------------------------


def standing(rows: Sequence[Row], graph: Graph) -> tuple[Row, ...]:
    """The rows with the labels of the graph, as it was written, that each stands for."""
    known = {node.scope for node in walk(graph)}
    return tuple(
        row
        if row.kind == "output"
        else dataclasses.replace(row, labels=tuple(part for part in parts(row.label) if part in known))
        for row in rows
    )


def notes_on_merged(rows: Sequence[Row], seen: Seen) -> Iterator[str]:
    """Which layers were compared with the model itself, because the reference has no such tensor."""
    compared = {each.point.path for each in seen.layers if each.of_itself}
    listed = [f"`{label}`" for label in dict.fromkeys(row.label for row in rows) if label in compared]
    if listed:
        more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        yield (
            "compared with the model itself, because no module of the reference returns what they do: "
            f"{', '.join(listed[:SHOWN])}{more}"
        )


SHOWN = 2
"""How many labels a note lists."""
