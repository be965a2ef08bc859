"""Which layers are computed in a narrow type: the policy, a rule at a time, each with its reason.

In: a layer, the type, and where the model is to run.  Out: why it stays in floating point, or None.
The rules are what TensorRT's own list of kernels, and the error that each layer adds, have shown; ``allow``
names layers for which those of size do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trtdsl.ir import Graph
from trtdsl.precision.formats import Format, format_of
from trtdsl.precision.labels import matching
from trtdsl.precision.layers import QuantisableLayer, quantisable_layers
from trtdsl.types import DType

FEWEST_CHANNELS = 16
"""Layers with fewer on a side cost accuracy, and gain no time: a kernel computes as many at once."""

LARGEST_KERNEL = 32
"""Elements of a kernel beyond which a convolution is not put into float8, as NVIDIA's ModelOpt has it."""

FIRST_INT8_CONVOLUTION = 80
"""What is older, Turing, computes int8 convolutions in float16, and converts their tensors besides."""


@dataclass(frozen=True)
class Placement:
    """What a kind of TensorRT computes in fewer or faster kernels where, beside the tensors and weights of
    layers, something else is quantised too. By default nothing."""

    residuals: bool = False
    """What is added to a convolution's result, where a layer reads it quantised: the convolution's
    kernel adds."""
    sums: bool = False
    """Of the results of two convolutions the shorter branch's: the kernel of the other adds it."""
    average_pools: bool = False
    """What an average pool reads, between two layers: the convolution writes fewer bytes."""
    image_channels: int = 0
    """A convolution with so many input channels or fewer becomes int8 in spite of them: they are padded."""


PLACEMENTS = {
    "tensorrt_rtx": Placement(),
    "tensorrt": Placement(residuals=True, sums=True, average_pools=True, image_channels=4),
}
"""By the module. TensorRT-RTX's convolutions add nothing and write no int8: it gains by none of it."""


@dataclass(frozen=True)
class Policy:
    """What is asked for: the narrow precision, the labels that are kept or allowed whatever the rules say, as
    patterns with a star, and the compute capabilities, ``sm89``, that the engine is for.

    ``measured`` are labels that stay in floating point because of what was measured or is known, with the
    reason; ``among`` are those that there is a choice of, where that is not all.
    """

    precision: DType | str
    keep: Sequence[str] = ()
    allow: Sequence[str] = ()
    targets: Sequence[str] = ()
    placement: Placement = Placement()
    measured: Mapping[str, str] = field(default_factory=dict[str, str])
    among: Collection[str] | None = None
    block: int | None = None
    """How many elements of a weight share a scale at most, where the format leaves that open."""

    @property
    def format(self) -> Format:
        """What the layers become."""
        return format_of(self.precision)

    @property
    def dtype(self) -> DType:
        """The type of their weights."""
        return self.format.dtype

    def only(self, labels: Collection[str]) -> Policy:
        """The policy with the choice of these labels alone."""
        return replace(self, among=labels)

    def without(self, measured: Mapping[str, str]) -> Policy:
        """The policy that leaves these labels, for their reasons, in floating point too."""
        return replace(self, measured={**self.measured, **measured})

    def reason(self, layer: QuantisableLayer) -> str | None:
        """Why the layer stays in floating point; None where it becomes narrow."""
        if self.among is not None and layer.label not in self.among:
            return "it is not among the layers to choose from"
        if pattern := matching([layer.label], self.keep):
            return f"it matches `{pattern}` in `--keep`"
        if why := _lacking(layer, self):
            return why
        if layer.label in self.measured:
            return self.measured[layer.label]
        if matching([layer.label], self.allow):
            return None
        shape = _shape(layer)
        return next((why for rule in _RULES if (why := rule(shape, self))), None)

    def chosen(self, graph: Graph) -> list[str]:
        """The labels of the layers that become narrow."""
        return [layer.label for layer in quantisable_layers(graph) if self.reason(layer) is None]


@dataclass(frozen=True)
class _Shape:
    """What the rules look at: channels that one output sums over, outputs, groups, elements of the kernel,
    and whether there is one row only."""

    inputs: int
    outputs: int
    groups: int
    kernel: int
    one_row: bool

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.inputs == 1


def _shape(layer: QuantisableLayer) -> _Shape:
    outputs, inputs, *kernel = (int(size) for size in layer.weight.type.shape)  # pyright: ignore[reportArgumentType]
    count = 1
    for size in kernel:
        count *= size
    rows = layer.input.type.shape[:-1]
    one_row = not layer.is_convolution and all(size == 1 for size in rows)
    op: Any = layer.node.op
    return _Shape(inputs, outputs, op.groups if layer.is_convolution else 1, count, one_row)


def _lacking(layer: QuantisableLayer, policy: Policy) -> str | None:
    """Why the layer cannot be computed in the format, whatever it gains."""
    form = policy.format
    for target in policy.targets:
        if capability(target) < form.first:
            return f"{target} has no {form.name}"
        old = capability(target) < FIRST_INT8_CONVOLUTION
        if layer.is_convolution and form.name == "int8" and old:
            return f"{target} would compute an int8 convolution in float16, with added conversions"
    if not form.is_of_linear_layers:
        return None
    if layer.is_convolution:
        if form.computes:
            return f"{form.name} is for linear layers"
        return "a convolution would read its weights back in a kernel of its own"
    outputs, inputs = (int(size) for size in layer.weight.type.shape)  # pyright: ignore[reportArgumentType]
    if form.without_kernels and outputs == 1:
        return f"it has one output: TensorRT does not build a product of {form.name} with it"
    if form.blocks and form.block(inputs, policy.block) is None:
        return f"{inputs} inputs do not make blocks of {form.blocks[-1]}, two at least"
    if form.reads == "blocks" and not 2 <= layer.input.type.rank <= 3:
        return f"its input has rank {layer.input.type.rank}: TensorRT finds scales of blocks for 2 and 3"
    return None


def _narrow(shape: _Shape, policy: Policy) -> str | None:
    if shape.depthwise:
        return None
    if _of_image(shape, policy) and shape.outputs >= FEWEST_CHANNELS:
        return None
    for count, what in ((shape.inputs, "inputs"), (shape.outputs, "outputs")):
        if count < FEWEST_CHANNELS:
            return f"{count} {what}: fewer than {FEWEST_CHANNELS}"
    return None


def _of_image(shape: _Shape, policy: Policy) -> bool:
    """Whether it is a convolution of an image's few channels, which the target's kernels pad."""
    few = shape.inputs <= policy.placement.image_channels
    return policy.format.name == "int8" and few and shape.groups == 1 and shape.kernel > 1


def _uneven(shape: _Shape, policy: Policy) -> str | None:
    if policy.format.name == "int8" and (shape.inputs * shape.groups * shape.outputs) % 8:
        return f"{shape.inputs * shape.groups} inputs times {shape.outputs} outputs are not a multiple of 8"
    return None


def _vector(shape: _Shape, policy: Policy) -> str | None:
    if shape.one_row and policy.format.reads == "ranges":
        return "it has one row: reading the weights is all its time"
    return None


def _of_float8(shape: _Shape, policy: Policy) -> str | None:
    if policy.dtype is not DType.FLOAT8:
        return None
    if shape.depthwise:
        return "it is depthwise, which float8 is left out for"
    if shape.kernel > LARGEST_KERNEL:
        return f"a kernel of {shape.kernel} elements: float8 is left out for more than {LARGEST_KERNEL}"
    few = min(shape.inputs, shape.outputs)
    return (
        f"{few} channels: {FEWEST_CHANNELS} or fewer do not pay in float8" if few <= FEWEST_CHANNELS else None
    )


_RULES: Sequence[Callable[[_Shape, Policy], str | None]] = (_narrow, _uneven, _vector, _of_float8)


def capability(target: str) -> int:
    """The compute capability of a target: 89 of `sm89`."""
    return int("".join(filter(str.isdigit, target)) or 0)
