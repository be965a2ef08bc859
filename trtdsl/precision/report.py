"""What became of each layer of a model that was to be computed in a narrow type.

In: a quantised graph with what was decided, the graph that was lowered, and TensorRT's list of its kernels.
Out: a :class:`PrecisionReport`, which says in which type TensorRT computes each layer, and why not in
another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trtdsl.ir import Graph, Node, walk
from trtdsl.ops.quantization import Quantize
from trtdsl.precision.error import OutputError
from trtdsl.precision.pipeline import Narrowed
from trtdsl.trt.kernels import Kernel, Reading, readings
from trtdsl.types import DType


@dataclass(frozen=True)
class LayerReport:
    """A layer by its label: the type that it was planned in, and the reason if that is not the narrow one.

    ``range`` is what its input is cut off at and ``clipped`` the share that is cut off, where these are
    known; ``readings`` are what TensorRT's kernels read, one for each use of the layer that a kernel names.
    """

    label: str
    dtype: DType
    reason: str
    range: float | None = None
    clipped: float | None = None
    readings: tuple[Reading, ...] = ()

    @property
    def computed(self) -> str:
        """What the kernels read: ``int8``, ``int8 by float16``, or nothing where no kernel says."""
        return ", ".join(dict.fromkeys(_told(reading) for reading in self.readings))

    @property
    def is_as_planned(self) -> bool:
        """Whether every kernel of the layer reads tensor and weight in the planned type."""
        wanted = (self.dtype, self.dtype)
        return bool(self.readings) and all((each.input, each.weight) == wanted for each in self.readings)

    @property
    def why(self) -> str:
        """Why it is not computed in the narrow type, as far as that is known."""
        if self.reason or self.is_as_planned:
            return self.reason
        return "TensorRT chose it" if self.readings else "no kernel in TensorRT's list names it"


@dataclass(frozen=True)
class PrecisionReport:
    """A narrow type and the layers that could have it, weights' bytes by type, how many tensors are quantised
    while the network runs, and how far the outputs are off, where there were data."""

    dtype: DType
    layers: tuple[LayerReport, ...]
    weight_bytes: Mapping[DType, int]
    pairs: int
    error: OutputError | None
    listed: bool

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
                tuple(computed.get(decision.label, ())),
            )
        )
    return PrecisionReport(
        narrowed.dtype,
        tuple(layers),
        _weight_bytes(lowered),
        sum(isinstance(node.op, Quantize) for node in walk(lowered)),
        narrowed.error,
        bool(kernels),
    )


def _type(node: Node) -> DType:
    input = node.operand("input")
    return node.results[0].type.dtype if input is None else input.type.dtype


def _weight_bytes(graph: Graph) -> Mapping[DType, int]:
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


# --- As text -----------------------------------------------------------------------------------------------


def show_report(report: PrecisionReport) -> str:
    """The report as `compile` ends with it, with a line for each layer that is not as planned."""
    dtypes = Counter(layer.dtype for layer in report.layers)
    weights = ", ".join(f"{dtype} {_size(size)}" for dtype, size in report.weight_bytes.items())
    lines = [
        f"layers   {', '.join(f'{dtype} {count}' for dtype, count in _narrowest_first(dtypes))}",
        f"weights  {weights}",
        f"pairs    {report.pairs} tensors are quantised and read back",
        f"error    {_show_error(report)}",
        *_show_kernels(report),
    ]
    kept = [layer for layer in report.layers if layer.reason]
    if kept:
        lines.append(f"{len(kept)} of {len(report.layers)} layers stay in floating point")
        lines += [f"  {layer.label}: {layer.dtype}, because {layer.reason}" for layer in kept]
    return "\n".join(lines)


def _narrowest_first(counts: Counter[DType]) -> Sequence[tuple[DType, int]]:
    return sorted(counts.items(), key=lambda item: item[0].bits)


def _show_error(report: PrecisionReport) -> str:
    error = report.error
    if error is None:
        return "unknown without data; `--calibrate` measures it"
    each = ", ".join(f"{size:.2g} of {name}" for name, size in error.outputs.items())
    place = f"sample {error.worst}" if error.batch == 1 else f"samples from {error.worst * error.batch} on"
    worst = f"the worst is {place}, {error.runs[error.worst]:.2g}"
    return f"{each}, in relative L2 on {error.samples} samples; {worst}"


def _show_kernels(report: PrecisionReport) -> Sequence[str]:
    if not report.listed:
        return ["kernels  this TensorRT does not list them"]
    planned, otherwise = report.planned, report.otherwise
    count = f"{len(planned) - len(otherwise)} of {len(planned)} planned layers"
    return [
        f"kernels  TensorRT computes {count} in {report.dtype}",
        *(f"  {layer.label}: {layer.computed or 'unknown'}, because {layer.why}" for layer in otherwise),
    ]


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
