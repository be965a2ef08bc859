"""Convolutions whose kernels read the input where another tensor says: torchvision's ``deform_conv2d``.

Composed: a grid sample lays out what every kernel element reads, and a matrix product weighs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trtdsl.ops.base import Module, Op, Spelling, static
from trtdsl.ops.ranges import Arange
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import given_type, require_elements, require_floating, require_rank, weight_sizes
from trtdsl.ops.sampling import GridSample
from trtdsl.ops.windows import Window, per_axis
from trtdsl.types import Dim, DType, SymbolicDim, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


def _configure(types: Mapping[str, TensorType], given: Mapping[str, Any]) -> Op:
    out, each, *sizes = weight_sizes(types, "deform_conv2d", 4)
    input = given_type(types, "input", "deform_conv2d")
    require_rank(input, (4,), "deform_conv2d", "input")
    channels = static(input.shape[1], "the number of channels", "input")
    if channels % each:
        raise Refused(
            f"the weight takes {each} channels, which do not divide the input's {channels}", "weight"
        )
    return DeformConv2d(out, tuple(sizes), groups=channels // each, bias="bias" in types, **given)


class DeformConv2d(Module):
    """A convolution whose kernel elements are moved by ``offset``, and weighed by ``mask`` where it is given.

    ``offset`` has for each group of channels and each element of the kernel how far down and how far across
    it is moved, ``[N, 2 * groups * kernel, H, W]`` of the output's size; ``mask`` has one number in their
    place.
    """

    torch = "torchvision.ops.DeformConv2d"
    inferred = ("in_channels",)
    weight_shapes = {
        "weight": "[out_channels, in_channels // groups, *kernel_size]",
        "bias": "[out_channels]",
    }
    spellings = (
        Spelling(
            "torchvision.ops.deform_conv2d",
            ("input", "offset", "weight", "bias", "stride", "padding", "dilation", "mask"),
            defaults={"bias": None, "mask": None},
            configure=_configure,
            examples=(
                "deform_conv2d(float32[N, 4, 8, 9], float32[N, 18, 8, 9], float32[6, 2, 3, 3], float32[6],"
                " padding = 1) -> float32[N, 6, 8, 9]",
                "deform_conv2d(float32[N, 4, 8, 9], float32[N, 16, 4, 5], float32[6, 4, 2, 2], stride = 2,"
                " padding = (0, 1), mask = float32[N, 8, 4, 5]) -> float32[N, 6, 4, 5]",
            ),
        ),
    )
    examples = (
        "DeformConv2d(6, 3)(float32[N, 4, 8, 9], float32[N, 18, 6, 7]) -> float32[N, 6, 6, 7]",
        "DeformConv2d(6, (2, 3), stride = (2, 1), padding = 1, dilation = (1, 2), groups = 2, bias = false)"
        "(float32[N, 4, 8, 9], float32[N, 24, 5, 7], float32[N, 12, 5, 7]) -> float32[N, 6, 5, 7]",
        "DeformConv2d(2, 3, padding = 1)(float32[N, 3, H, W], float32[N, 18, H, W]) -> float32[N, 2, H, W]",
        "DeformConv2d(2, 1)(float16[2, 3, 5, 4], float16[2, 2, 5, 4]) -> float16[2, 2, 5, 4]",
    )

    out_channels: int
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    bias: bool = True

    @property
    def window(self) -> Window:
        kernel, stride, margin, dilation = (
            per_axis(value, 2, about, least)
            for value, about, least in (
                (self.kernel_size, "kernel_size", 1),
                (self.stride, "stride", 1),
                (self.padding, "padding", 0),
                (self.dilation, "dilation", 1),
            )
        )
        return Window(kernel, stride, margin, margin, dilation)

    @property
    def channel_dim(self) -> int:
        """Where an output has its channels, from the end."""
        return -3

    def torch_arguments(
        self, input: TensorType, offset: TensorType, mask: TensorType | None = None
    ) -> Mapping[str, object]:
        return {"in_channels": static(input.shape[1], "the number of channels", "input")}

    def weights(
        self, input: TensorType, offset: TensorType, mask: TensorType | None = None
    ) -> dict[str, TensorType]:
        channels = static(input.shape[1], "the number of channels", "input")
        kernel = (self.out_channels, channels // self.groups, *self.window.kernel)
        return {
            "weight": input.with_shape(kernel),
            **({"bias": input.with_shape((self.out_channels,))} if self.bias else {}),
        }

    def infer(self, input: TensorType, offset: TensorType, mask: TensorType | None = None) -> TensorType:
        require_floating(input, "deform_conv2d", "input")
        require_rank(input, (4,), "deform_conv2d", "input")
        require_elements(input, range(1, 4), "deform_conv2d")
        channels = static(input.shape[1], "the number of channels", "input")
        for about, number in (("groups", self.groups), ("out_channels", self.out_channels)):
            if number < 1:
                raise Refused(f"`{about}` must be at least 1, not {number}", about)
        if channels % self.groups or self.out_channels % self.groups:
            text = f"{self.groups} groups do not divide {channels} and {self.out_channels} channels"
            raise Refused(text, "groups")
        window = self.window
        places = window.sizes(input.shape[2:])
        groups = self._offset_groups(offset)
        if groups < 1 or channels % groups:
            text = f"the offset has {offset.shape[1]} channels, of which each group of channels needs"
            raise Refused(
                f"{text} {2 * self.elements}, and {groups} groups do not divide {channels}", "offset"
            )
        for about, type, count in (("offset", offset, 2), ("mask", mask, 1)):
            wanted = input.with_shape((input.shape[0], count * groups * self.elements, *places))
            if type is not None and type != wanted:
                raise Refused(f"the {about} must be {wanted}, not {type}", about)
        return input.with_shape((input.shape[0], self.out_channels, *places))

    @property
    def elements(self) -> int:
        """The elements of the kernel."""
        height, width = self.window.kernel
        return height * width

    def _offset_groups(self, offset: TensorType) -> int:
        """The groups of channels that are moved alike; 0 where the offset has another number of channels."""
        require_rank(offset, (4,), "the offset", "offset")
        channels = static(offset.shape[1], "the offset's number of channels", "offset")
        return 0 if channels % (2 * self.elements) else channels // (2 * self.elements)

    def lower(
        self,
        net: Network,
        input: Tensor,
        offset: Tensor,
        weight: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        images, channels, height, width = input.shape
        places = net.result.shape[2:]
        moved, each = self._offset_groups(offset.type), self.elements
        maps = net.reshape(input, (images * moved, channels // moved, height, width))
        # In narrow dtypes a place would be off by elements.
        wide = net.cast(maps, DType.FLOAT32)
        sampled = net.cast(net.apply(GridSample(), wide, self._grid(net, input, offset)), input.dtype)
        if mask is not None:
            weighed = net.reshape(mask, (images * moved, 1, each * places[0], places[1]))
            sampled = net.elementwise("PROD", sampled, weighed)
        columns = (images, self.groups, channels // self.groups * each, places[0] * places[1])
        kernel = net.reshape(weight, (self.groups, self.out_channels // self.groups, columns[2]))
        found = net.reshape(net.matmul(kernel, net.reshape(sampled, columns)), net.result.shape)
        if bias is None:
            return found
        return net.elementwise("SUM", found, net.reshape(bias, (1, self.out_channels, 1, 1)))

    def _grid(self, net: Network, input: Tensor, offset: Tensor) -> Tensor:
        """Where each kernel element reads at each place, ``[images * groups, elements * H, W, 2]``."""
        window, places = self.window, net.result.shape[2:]
        images, each = input.shape[0] * self._offset_groups(offset.type), self.elements
        moves = net.reshape(net.cast(offset, DType.FLOAT32), (images, each, 2, *places))
        axes: list[Tensor] = []
        for axis, size in enumerate(input.shape[2:]):
            start = (0, 0, axis, 0, 0)
            move = net.reshape(net.slice(moves, start, (images, each, 1, *places)), (images, each, *places))
            element = np.indices(window.kernel)[axis].reshape(1, each, 1, 1) * window.dilation[axis]
            first = net.constant((element - window.before[axis]).astype(np.float32))
            steps = net.apply(Arange(0, places[axis], dtype=DType.FLOAT32))
            steps = net.reshape(steps, (1, 1, *(places[axis] if i == axis else 1 for i in range(2))))
            steps = net.elementwise("PROD", steps, net.scalar(window.stride[axis], steps))
            place = net.elementwise("SUM", net.elementwise("SUM", steps, first), move)
            axes.append(self._between_edges(net, place, size))
        down, across = (net.reshape(x, (images, each * places[0], places[1], 1)) for x in axes)
        return net.concat([across, down], 3)

    def _between_edges(self, net: Network, place: Tensor, size: Dim) -> Tensor:
        """Places counted in elements as GridSample counts them: ``(2 * place + 1) / size - 1``."""
        twice = net.elementwise("SUM", net.elementwise("SUM", place, place), net.scalar(1, place))
        whole = net.elementwise("DIV", twice, _number(net, size))
        return net.elementwise("SUB", whole, net.scalar(1, whole))


def _number(net: Network, dim: Dim) -> Tensor:
    """A dimension as a float32 tensor of one element."""
    if isinstance(dim, SymbolicDim):
        return net.cast(net.shape_tensor((dim,)), DType.FLOAT32)
    return net.filled((1,), dim, DType.FLOAT32)
