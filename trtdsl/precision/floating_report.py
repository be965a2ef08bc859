"""What became of each layer of a model that was to be computed in float16 or bfloat16.

In: a model that was lowered by the policy.  Out: a :class:`FloatingReport`, with the type of each layer, and
of each operator that stays float32 the reason::

    report = floating_report(lower_floats(graph, DType.FLOAT16), DType.FLOAT16)
    [(layer.name, layer.reason) for layer in report.wide]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtdsl.diagnostics import Diagnostic, counted
from trtdsl.ir import Node, graphs
from trtdsl.output import show_size
from trtdsl.passes.convert_precision import is_cast, is_converted_type
from trtdsl.precision.lower_floats import LoweredFloats, casts
from trtdsl.precision.report import show_table, weight_bytes
from trtdsl.trt.naming import source_of
from trtdsl.types import DType

BETWEEN = "it stands between such, where casts would be more"
"""Why an operator stays float32 that has no reason of its own."""


@dataclass(frozen=True)
class FloatingLayer:
    """A layer, or an operator that stays float32: its label, operator, type, and place in the text.

    ``reason`` says why it stays float32; a layer of the narrow type has none.
    """

    label: str
    operator: str
    dtype: DType
    reason: str
    source: str

    @property
    def name(self) -> str:
        """Its label, or else its operator."""
        return self.label or self.operator


@dataclass(frozen=True)
class FloatingReport:
    """A type, the layers and what else stays float32, and the bytes of weights by type.

    ``operators`` is how many compute floating-point numbers, ``casts`` how many casts there are; ``notes``
    say what was changed in masks.
    """

    dtype: DType
    layers: tuple[FloatingLayer, ...]
    operators: int
    casts: int
    weight_bytes: Mapping[DType, int]
    notes: tuple[Diagnostic, ...] = ()

    @property
    def wide(self) -> tuple[FloatingLayer, ...]:
        """What stays float32."""
        return tuple(layer for layer in self.layers if layer.reason)


def floating_report(lowered: LoweredFloats, dtype: DType) -> FloatingReport:
    """The layers of a lowered model in their order, with what stays float32 between them."""
    why = {each.node: each.reason for each in lowered.stayed} | dict.fromkeys(lowered.among, BETWEEN)
    types = {
        value.name: value.type.dtype
        for graph in graphs(lowered.graph)
        for node in graph.nodes
        for value in node.results
    }
    nodes = [node for graph in graphs(lowered.wide) for node in graph.nodes if _computes_floats(node)]
    layers = [
        FloatingLayer(
            node.scope if node.weights else "",
            node.op.name,
            types.get(node.results[0].name, DType.FLOAT32),
            why.get(node, ""),
            source_of(node),
        )
        for node in nodes
        if node.weights or node in why
    ]
    return FloatingReport(
        dtype, tuple(layers), len(nodes), casts(lowered.graph), weight_bytes(lowered.graph), lowered.masks
    )


def _computes_floats(node: Node) -> bool:
    floats = (value for value in (*node.operands, *node.results) if is_converted_type(value.type))
    return bool(node.tensors) and not is_cast(node) and any(floats)


def floating_to_dict(report: FloatingReport) -> dict[str, Any]:
    """The report as JSON has it; what is not known is left out."""
    return {
        "precision": str(report.dtype),
        "operators": report.operators,
        "casts": report.casts,
        "weight_bytes": {str(dtype): size for dtype, size in report.weight_bytes.items()},
        "layers": [
            {
                **({"layer": layer.label} if layer.label else {}),
                "operator": layer.operator,
                "dtype": str(layer.dtype),
                **({"why": layer.reason} if layer.reason else {}),
                **({"source": layer.source} if layer.source else {}),
            }
            for layer in report.layers
        ],
        "notes": [note.message for note in report.notes],
    }


def show_floating(report: FloatingReport) -> str:
    """A line for each layer and for what else stays float32, then how many these are."""
    rows = [
        tuple(cell or "-" for cell in (each.label, each.operator, str(each.dtype), each.reason, each.source))
        for each in report.layers
    ]
    count, wide = report.operators, len(report.wide)
    stay = "stays" if wide == 1 else "stay"
    between = sum(layer.reason == BETWEEN for layer in report.layers)
    beside = f", {between} of them between others that do" if between else ""
    weights = ", ".join(f"{dtype} {show_size(size)}" for dtype, size in report.weight_bytes.items())
    return "\n".join(
        [
            show_table(("layer", "operator", "type", "why", "source"), rows),
            "",
            f"{wide} of {counted(count, 'operator')} {stay} float32{beside}; casts: {report.casts}",
            f"weights: {weights or 'none'}",
        ]
    )
