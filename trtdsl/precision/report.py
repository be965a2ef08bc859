"""What became of each layer of a model that was to be computed in a narrow type.

In: a quantised graph with what was decided, the graph that was lowered, and TensorRT's list of its kernels.
Out: a :class:`PrecisionReport`, which says in which type TensorRT computes each layer, and why not in
another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtdsl.diagnostics import Diagnostic, counted
from trtdsl.ir import Graph, Node, walk
from trtdsl.ops.convolution import CONVOLUTIONS
from trtdsl.ops.linear import Linear
from trtdsl.ops.quantization import DynamicQuantize, Quantize
from trtdsl.output import show_size
from trtdsl.precision.error import OutputError
from trtdsl.precision.formats import Format
from trtdsl.precision.pipeline import Narrowed
from trtdsl.trt.kernels import Kernel, Reading, readings
from trtdsl.types import DType


@dataclass(frozen=True)
class LayerReport:
    """A layer by its label: the type that it was planned in, and the reason if that is not the narrow one.

    ``range`` is what its input is cut off at and ``clipped`` the share that is cut off, ``alpha`` how far
    its channels were equalised and ``error`` that of the outputs with this layer alone in the narrow type,
    where these are known; ``readings`` are what TensorRT's kernels read, one for each use of the layer that a
    kernel names.
    """

    label: str
    dtype: DType
    reason: str
    range: float | None = None
    clipped: float | None = None
    alpha: float | None = None
    error: float | None = None
    readings: tuple[Reading, ...] = ()
    reads: DType | None = None
    """The type in which it was to read its input, where that is not the narrow one."""
    known: str = ""
    """Why kernels are not in the format, where that is so of all."""
    format: str = ""
    """What the format is called, where that is not its type."""

    @property
    def planned(self) -> str:
        """The type or format that it was planned in."""
        return str(self.dtype) if self.reason else self.format or str(self.dtype)

    @property
    def computed(self) -> str:
        """What the kernels read: ``int8``, ``int8 by float16``, or nothing where no kernel says."""
        return ", ".join(dict.fromkeys(_told(reading) for reading in self.readings))

    @property
    def is_as_planned(self) -> bool:
        """Whether every kernel of the layer reads tensor and weight in the planned type."""
        wanted = (self.reads or self.dtype, self.dtype)
        return bool(self.readings) and all((each.input, each.weight) == wanted for each in self.readings)

    @property
    def why(self) -> str:
        """Why it is not computed in the narrow type, as far as that is known."""
        if self.reason or self.is_as_planned:
            return self.reason
        return self.known or (
            "TensorRT chose it" if self.readings else "no kernel in TensorRT's list names it"
        )


@dataclass(frozen=True)
class BesideReport:
    """A layer that is never in a narrow type, by its label and operator: the type it has, and why."""

    label: str
    operator: str
    dtype: DType
    why: str


@dataclass(frozen=True)
class PrecisionReport:
    """A narrow precision and the layers that could have it, weights' bytes by type, how many tensors are
    quantised while the network runs, and how far the outputs are off, where there were data.

    ``expected`` is the error that the layers make one by one, put together, and ``shares`` are those of the
    layers in its square, the largest first. ``beside`` are the layers with weights that
    multiply too and are never in a narrow type.
    """

    format: Format
    layers: tuple[LayerReport, ...]
    weight_bytes: Mapping[DType, int]
    pairs: int
    error: OutputError | None
    listed: bool
    expected: float | None = None
    shares: Sequence[tuple[str, float]] = ()
    notes: tuple[Diagnostic, ...] = ()
    beside: tuple[BesideReport, ...] = ()

    @property
    def planned(self) -> tuple[LayerReport, ...]:
        """The layers that were to be computed in the narrow type."""
        return tuple(layer for layer in self.layers if not layer.reason)

    @property
    def otherwise(self) -> tuple[LayerReport, ...]:
        """Those of them that TensorRT computes otherwise, or does not name."""
        return tuple(layer for layer in self.planned if not layer.is_as_planned)


def report_of(narrowed: Narrowed, lowered: Graph, kernels: Sequence[Kernel]) -> PrecisionReport:
    """What became of a model's layers; ``lowered`` is the graph that the kernels are of."""
    computed: dict[str, list[Reading]] = {}
    for node, reading in readings(kernels, lowered).items():
        computed.setdefault(node.scope, []).append(reading)
    nodes = {node.scope: node for node in walk(lowered)}
    layers: list[LayerReport] = []
    for decision in {each.label: each for each in narrowed.decisions}.values():
        known = narrowed.ranges.layers.get(decision.label)
        layers.append(
            LayerReport(
                decision.label,
                _type(nodes[decision.label]) if decision.reason else decision.dtype,
                decision.reason,
                known and known.input,
                narrowed.clipped.get(decision.label),
                narrowed.alphas.get(decision.label),
                narrowed.errors.get(decision.label),
                tuple(computed.get(decision.label, ())),
                None if narrowed.format.computes else narrowed.around,
                narrowed.format.without_kernels,
                narrowed.format.name if narrowed.format.reads == "blocks" else "",
            )
        )
    planned = [layer.label for layer in layers if not layer.reason]
    known = narrowed.known and narrowed.known.among(planned)
    return PrecisionReport(
        narrowed.format,
        tuple(layers),
        weight_bytes(lowered),
        sum(isinstance(node.op, (Quantize, DynamicQuantize)) for node in walk(lowered)),
        narrowed.error,
        bool(kernels),
        known and known.expected(),
        known.shares if known else (),
        narrowed.notes,
        tuple(_beside(lowered)),
    )


def _beside(graph: Graph) -> Iterator[BesideReport]:
    """The layers with weights that stay as they are: transposed, of several products, or in a body."""
    for node in graph.nodes:
        if node.weights and (why := _NEVER.get(node.op.name)):
            yield BesideReport(node.scope, node.op.name, _type(node), why)
        for inner in (each for body in node.bodies for each in walk(body)):
            multiplies = inner.op.name in _NEVER or isinstance(inner.op, (*CONVOLUTIONS, Linear))
            if inner.weights and multiplies:
                yield BesideReport(inner.scope, f"{inner.op.name} in a body", _type(inner), _IN_A_BODY)


_TRANSPOSED = (
    "TensorRT-RTX computes no transposed convolution in a narrow type, and of others it is not known"
)
_RECURRENT = "its products stand in a loop, where nothing is quantised"
_IN_A_BODY = "it stands in the body of a loop or a branch, where nothing is quantised"
_ALONE = "no kernel that TensorRT has for it reads narrow types"
_NEVER = {
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), _TRANSPOSED),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"), _RECURRENT),
    **dict.fromkeys(("DeformConv2d", "Bilinear"), _ALONE),
    "MultiheadAttention": "it is one operator; written with `Linear` layers, its projections can be narrow",
}
"""Operators that multiply by weights and are never chosen from, and why."""


def _type(node: Node) -> DType:
    input = node.operand("input")
    return node.results[0].type.dtype if input is None else input.type.dtype


def weight_bytes(graph: Graph) -> Mapping[DType, int]:
    """The bytes of a graph's weights, narrowest type first."""
    found: Counter[DType] = Counter()
    for weight in graph.weights:
        if weight.data is not None:
            found[weight.type.dtype] += weight.data.size * weight.type.dtype.bits // 8
    return dict(sorted(found.items(), key=lambda item: item[0].bits))


def _told(reading: Reading) -> str:
    names = [_named(reading.input), _named(reading.weight)]
    return " by ".join(dict.fromkeys(names))


def _named(dtype: DType | None) -> str:
    return "an unknown type" if dtype is None else str(dtype)


def to_dict(report: PrecisionReport) -> dict[str, Any]:
    """The report as JSON has it; what is not known is left out."""
    found: dict[str, Any] = {
        "precision": report.format.name,
        "layers": [_layer_dict(layer) for layer in report.layers],
        "weight_bytes": {str(dtype): size for dtype, size in report.weight_bytes.items()},
        "pairs": report.pairs,
    }
    if report.beside:
        found["beside"] = [
            {"layer": each.label, "operator": each.operator, "dtype": str(each.dtype), "why": each.why}
            for each in report.beside
        ]
    if (error := report.error) is not None:
        worst = {"first_sample": error.worst_sample, "error": error.runs[error.worst]}
        found["error"] = {"outputs": dict(error.outputs), "samples": error.samples, "worst": worst}
    return found


def _layer_dict(layer: LayerReport) -> dict[str, Any]:
    kernels = [
        {"name": each.kernel.name, "input": _named(each.input), "weight": _named(each.weight)}
        for each in layer.readings
    ]
    numbers = {name: getattr(layer, name) for name in ("range", "clipped", "alpha", "error")}
    known = {name: number for name, number in numbers.items() if number is not None}
    return {"layer": layer.label, "dtype": str(layer.dtype), **known, "why": layer.why, "kernels": kernels}


# --- As text -----------------------------------------------------------------------------------------------


def show_report(report: PrecisionReport) -> str:
    """The report as `compile` ends with it, with a line for each layer that is not as planned."""
    planned = Counter(layer.planned for layer in sorted(report.layers, key=lambda each: each.dtype.bits))
    weights = ", ".join(f"{dtype} {show_size(size)}" for dtype, size in report.weight_bytes.items())
    lines = [
        f"layers   {', '.join(f'{name} {count}' for name, count in planned.items())}",
        f"weights  {weights}",
        *_show_pairs(report),
        f"error    {_show_error(report)}",
        *_show_expected(report),
        *_show_kernels(report),
    ]
    kept = [layer for layer in report.layers if layer.reason]
    if kept:
        stay = "stays" if len(kept) == 1 else "stay"
        lines.append(f"{len(kept)} of {counted(len(report.layers), 'layer')} {stay} in floating point")
        lines += [f"  {layer.label}: {layer.dtype}, because {layer.reason}" for layer in kept]
    if report.beside:
        counts = Counter(each.operator for each in report.beside)
        listed = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        lines.append(f"beside these, always in floating point: {listed}")
    return "\n".join(lines)


def show_layers(report: PrecisionReport) -> str:
    """A line for each layer: its type, what its input is like, what the kernel reads, and why; those that are
    never narrow are the last."""
    head = ("layer", "type", "range", "clipped", "alpha", "error", "kernel reads", "why", "kernel")
    others = [
        (each.label or each.operator, str(each.dtype), *"-----", each.why, "-") for each in report.beside
    ]
    return show_table(head, [*map(_row, report.layers), *others])


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows below their heads, cells of one column one below the other; a column of "-" alone is left out."""
    # What nothing is known of has no column.
    shown = [column for column in zip(head, *rows, strict=True) if any(cell != "-" for cell in column[1:])]
    widths = [max(map(len, column)) for column in shown]
    lines = (zip(row, widths, strict=True) for row in zip(*shown, strict=True))
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in line).rstrip() for line in lines)


def _row(layer: LayerReport) -> tuple[str, ...]:
    names = ", ".join(dict.fromkeys(reading.kernel.name for reading in layer.readings))
    numbers = (layer.range, layer.clipped, layer.alpha, layer.error)
    cells = (layer.label, layer.planned, *map(_number, numbers), layer.computed, layer.why, names)
    return tuple(cell or "-" for cell in cells)


def _number(number: float | None) -> str:
    return "-" if number is None else f"{number:.3g}"


def _show_error(report: PrecisionReport) -> str:
    error = report.error
    if error is None:
        return "unknown without data; `--calibrate` measures it"
    each = ", ".join(f"{size:.2g} of {name}" for name, size in error.outputs.items())
    place = f"sample {error.worst_sample}" if error.batch == 1 else f"samples from {error.worst_sample} on"
    samples = counted(error.samples, "sample")
    worst = f"the worst is {place}, {error.runs[error.worst]:.2g}"
    return f"{each}, in relative L2 on {samples}; {worst}"


def _show_pairs(report: PrecisionReport) -> Sequence[str]:
    return [f"pairs    {_tensors(report.pairs)} quantised and read back"] if report.format.computes else []


def _tensors(count: int) -> str:
    return "1 tensor is" if count == 1 else f"{count} tensors are"


def _show_expected(report: PrecisionReport) -> Sequence[str]:
    """Which five layers add most to the error."""
    if report.expected is None:
        return []
    most = ", ".join(f"{label} {share:.0%}" for label, share in report.shares[:5])
    return [f"expected {report.expected:.2g} of the layers one by one; most of it: {most}"]


def _show_kernels(report: PrecisionReport) -> Sequence[str]:
    if not report.listed:
        return ["kernels  this TensorRT does not list them"]
    planned, otherwise = report.planned, report.otherwise
    count = f"{len(planned) - len(otherwise)} of {counted(len(planned), 'planned layer')}"
    does = "computes" if report.format.computes else "reads the weights of"
    return [f"kernels  TensorRT {does} {count} in {report.format.name}", *_show_otherwise(otherwise)]


def _show_otherwise(layers: Sequence[LayerReport]) -> Iterator[str]:
    """A line for each layer, or for many of which the same is said."""
    told: dict[str, list[str]] = {}
    for layer in layers:
        told.setdefault(f"{layer.computed or 'unknown'}, because {layer.why}", []).append(layer.label)
    for what, labels in told.items():
        if len(labels) > SHOWN:
            yield f"  {labels[0]} and {len(labels) - 1} more: {what}"
        else:
            yield from (f"  {label}: {what}" for label in labels)


SHOWN = 8
"""Layers of which the same is said that have a line each; `explain` has one for every layer."""
