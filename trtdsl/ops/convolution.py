"""Convolutions and transposed convolutions over one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trtdsl.ops.base import OPERATORS, Module, Op, Spelling, static
from trtdsl.ops.pad import lower_padding, padded_by_torch, padded_type
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_at_most, weight_sizes
from trtdsl.ops.windows import Window, per_axis, planes, planes_type, require_spatial
from trtdsl.types import Dim, DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


def _functional(spatial: int, *examples: str, transposed: bool = False) -> Spelling:
    """The function that takes kernel and bias as tensors."""
    name = f"conv_transpose{spatial}d" if transposed else f"conv{spatial}d"

    def configure(types: Mapping[str, TensorType], given: Mapping[str, Any]) -> Op:
        sizes, groups = weight_sizes(types, name, spatial + 2), given.get("groups", 1)
        channels = sizes[1] * groups if transposed else sizes[0]
        if groups > 0 and channels % groups:
            raise Refused(
                f"the weight has {channels} output channels, which {groups} groups do not divide", "groups"
            )
        module: Any = OPERATORS[f"ConvTranspose{spatial}d" if transposed else f"Conv{spatial}d"]
        return module(channels, tuple(sizes[2:]), bias="bias" in types, **given)

    tensors = ("input", "weight", "bias")
    windows = ("stride", "padding", "output_padding", "groups", "dilation")
    order = windows if transposed else ("stride", "padding", "dilation", "groups")
    return Spelling(
        f"torch.nn.functional.{name}",
        (*tensors, *order),
        defaults={"bias": None},
        configure=configure,
        examples=examples,
    )


class _Convolution(Module, abstract=True):
    """What all convolutions share. ``spatial`` is the number of dimensions the window slides over."""

    spatial: ClassVar[int]
    inferred = ("in_channels",)
    weight_shapes = {
        "weight": "[out_channels, in_channels // groups, *kernel_size]",
        "bias": "[out_channels]",
    }

    def torch_arguments(self, input: TensorType) -> Mapping[str, object]:
        return {"in_channels": self.channels(input)}

    @property
    def channel_dim(self) -> int:
        """The dimension of the channels, counted from the end: an image may come without a batch."""
        return -self.spatial - 1

    def channels(self, input: TensorType) -> int:
        return static(input.shape[self.channel_dim], "the number of channels", "input")

    def check_groups(self, channels: int, out_channels: int, groups: int) -> None:
        if groups < 1:
            raise Refused(f"`groups` must be at least 1, not {groups}", "groups")
        if channels % groups:
            raise Refused(f"the input has {channels} channels, which {groups} groups do not divide", "groups")
        if out_channels < 1:
            raise Refused(f"`out_channels` must be positive, not {out_channels}", "out_channels")
        if out_channels % groups:
            raise Refused(
                f"`out_channels` {out_channels} is not a multiple of {groups} groups", "out_channels"
            )


class _Conv(_Convolution, abstract=True):
    out_channels: int
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] | Literal["same", "valid"] = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    bias: bool = True
    padding_mode: PaddingMode = "zeros"

    @property
    def window(self) -> Window:
        kernel = per_axis(self.kernel_size, self.spatial, "kernel_size", 1)
        stride = per_axis(self.stride, self.spatial, "stride", 1)
        dilation = per_axis(self.dilation, self.spatial, "dilation", 1)
        if self.padding == "same":
            if any(step != 1 for step in stride):
                raise Refused('padding = "same" needs a stride of 1, as in PyTorch', "padding")
            whole = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            # PyTorch puts the odd element of an even kernel's padding at the end.
            before = tuple(total // 2 for total in whole)
            after = tuple(total - total // 2 for total in whole)
        else:
            before = after = per_axis(
                0 if self.padding == "valid" else self.padding, self.spatial, "padding", 0
            )
        return Window(kernel, stride, before, after, dilation)

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        kernel = per_axis(self.kernel_size, self.spatial, "kernel_size", 1)
        shapes: dict[str, tuple[int, ...]] = {
            "weight": (self.out_channels, self.channels(input) // self.groups, *kernel)
        }
        if self.bias:
            shapes["bias"] = (self.out_channels,)
        return {name: input.with_shape(shape) for name, shape in shapes.items()}

    def infer(self, input: TensorType) -> TensorType:
        require_spatial(input, self.spatial, self.name)
        self.check_groups(self.channels(input), self.out_channels, self.groups)
        window, sizes = self.window, input.shape[-self.spatial :]
        require_layer(window)
        if self.padding_mode != "zeros":
            padded_type(
                input, tuple(zip(window.before, window.after, strict=True)), self.padding_mode, "padding"
            )
        batch = input.shape[: -self.spatial - 1]
        return input.with_shape((*batch, self.out_channels, *window.sizes(sizes)))

    def lower(self, net: Network, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        window = self.window
        if self.padding_mode != "zeros":
            amounts = tuple(zip(window.before, window.after, strict=True))
            input = lower_padding(net, input, amounts, self.padding_mode)
            none = (0,) * self.spatial
            window = Window(window.kernel, window.stride, none, none, window.dilation)
        window = window.as_planes()
        x, result = planes(net, input, self.spatial), planes_type(net.result, self.spatial)
        maps = _laid(net, "convolution_nd", x, (weight, bias), window, self.groups, result)
        return _unfolded(net, maps)

    def reference(self, torch: Any, input: Any, weight: Any, bias: Any = None) -> Any:
        """The module itself, but for padding that PyTorch 2.5 does not compute in float16."""
        if self.padding_mode == "zeros" or input.dtype != torch.float16:
            return None
        window = self.window
        sides = tuple(zip(window.before, window.after, strict=True))[::-1]
        padded = padded_by_torch(
            torch, input, [amount for side in sides for amount in side], self.padding_mode
        )
        convolve = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)
        return convolve[self.spatial - 1](
            padded, weight, bias, window.stride, 0, window.dilation, self.groups
        )


def _unfolded(net: Network, maps: Tensor) -> Tensor:
    """What the layer gave in the promised shape, a line rather than an image."""
    y = net.reshape(maps, net.result.shape)
    if y is not maps:
        net.conv_lines.add(y)
    return y


def require_layer(window: Window) -> None:
    """Refuse a window that no layer takes."""
    if window.refusal:
        raise window.refusal


def _laid(
    net: Network,
    layer: str,
    x: Tensor,
    weights: tuple[Tensor, Tensor | None],
    window: Window,
    groups: int,
    result: TensorType,
) -> Tensor:
    """The layer, in the type that the release has it in; ``weights`` are the kernel and the bias.

    Those that are computed in the graph, as dequantised ones are, are inputs of the layer.
    """
    dtype = net.convolves_in(layer, x.dtype, window, groups)
    kernel, bias = (None if each is None else _in(net, each, dtype) for each in weights)
    assert kernel is not None
    inputs: dict[int, Tensor] = {}
    if kernel.array is None:
        inputs[1] = net.reshape(kernel, (*kernel.shape[:2], *window.kernel))
    if bias is not None and bias.array is None:
        inputs[2] = bias
    maps = net.add(
        layer,
        net.cast(x, dtype),
        result.shape[1],
        window.kernel,
        kernel.array,
        None if bias is None else bias.array,
        inputs=inputs,
        result=result.with_dtype(dtype),
        stride_nd=window.stride,
        pre_padding=window.before,
        post_padding=window.after,
        dilation_nd=window.dilation,
        num_groups=groups,
    )
    return net.cast(maps, result.dtype)


def _in(net: Network, weight: Tensor, dtype: DType) -> Tensor:
    """A weight in another type: where it is known, another constant."""
    if weight.dtype is dtype or weight.array is None:
        return net.cast(weight, dtype)
    return net.constant(weight.array.astype(dtype.numpy))


class Conv1d(_Conv):
    """Cross-correlation: ``y[o, i] = bias[o] + sum of weight[o, c, k] * x[c, i * stride + k]``."""

    torch = "torch.nn.Conv1d"
    spatial = 1
    spellings = (
        _functional(
            1,
            "conv1d(float32[N, 8, S], float32[6, 4, 3], float32[6], padding = 1, groups = 2)"
            " -> float32[N, 6, S]",
        ),
    )
    examples = (
        "Conv1d(16, 3)(float32[N, 8, S + 3]) -> float32[N, 16, S + 1]",
        "Conv1d(16, 5, stride = 2, padding = 2, bias = false)(float32[N, 8, S])"
        " -> float32[N, 16, (S + 1) // 2]",
        'Conv1d(8, 4, padding = "same", dilation = 3, groups = 4)(float16[N, 8, S]) -> float16[N, 8, S]',
        'Conv1d(6, 3, padding = 1, padding_mode = "circular")(float32[4, S]) -> float32[6, S]',
    )


class Conv2d(_Conv):
    """Cross-correlation over two dimensions: ``y[o] = bias[o] + sum over c of weight[o, c] * x[c]``."""

    torch = "torch.nn.Conv2d"
    spatial = 2
    spellings = (
        _functional(
            2,
            "conv2d(float32[N, 3, H, W], float32[8, 3, 3, 3], float32[8], padding = 1)"
            " -> float32[N, 8, H, W]",
            'conv2d(float16[N, 4, H, W], float16[8, 1, 2, 3], padding = "valid", groups = 4)'
            " -> float16[N, 8, H - 1, W - 2]",
        ),
    )
    examples = (
        "Conv2d(64, 7, stride = 2, padding = 3)(float32[N, 3, H, W])"
        " -> float32[N, 64, (H + 1) // 2, (W + 1) // 2]",
        "Conv2d(8, (3, 5), padding = (0, 2), bias = false)(float32[N, 4, H, W]) -> float32[N, 8, H - 2, W]",
        "Conv2d(8, 3, dilation = (2, 1), groups = 4)(float16[N, 4, H, W]) -> float16[N, 8, H - 4, W - 2]",
        'Conv2d(8, (2, 4), padding = "same", dilation = 3)(float32[N, 4, H, W]) -> float32[N, 8, H, W]',
        'Conv2d(8, 3, padding = "valid")(float32[4, H, W]) -> float32[8, H - 2, W - 2]',
        'Conv2d(8, 3, padding = 1, padding_mode = "reflect")(float32[N, 4, H, W]) -> float32[N, 8, H, W]',
        'Conv2d(8, 3, padding = (2, 1), padding_mode = "replicate")(float32[1, 4, 9, 7])'
        " -> float32[1, 8, 11, 7]",
        'Conv2d(8, 4, padding = "same", padding_mode = "circular")(float32[N, 4, H, W])'
        " -> float32[N, 8, H, W]",
    )


class Conv3d(_Conv):
    """Cross-correlation over three dimensions."""

    torch = "torch.nn.Conv3d"
    spatial = 3
    spellings = (
        _functional(3, "conv3d(float32[N, 2, 4, 5, 6], float32[3, 2, 2, 2, 2]) -> float32[N, 3, 3, 4, 5]"),
    )
    examples = (
        "Conv3d(8, 3, padding = 1)(float32[N, 4, 5, H, W]) -> float32[N, 8, 5, H, W]",
        "Conv3d(8, (1, 3, 3), stride = (1, 2, 2), groups = 2)(float32[4, 5, 9, 9]) -> float32[8, 5, 4, 4]",
        'Conv3d(4, 2, padding = "same", padding_mode = "replicate")(float32[1, 2, 3, 4, 5])'
        " -> float32[1, 4, 3, 4, 5]",
    )


class _ConvTranspose(_Convolution, abstract=True):
    weight_shapes = {
        "weight": "[in_channels, out_channels // groups, *kernel_size]",
        "bias": "[out_channels]",
    }

    out_channels: int
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    output_padding: int | tuple[int, ...] = 0
    groups: int = 1
    bias: bool = True
    dilation: int | tuple[int, ...] = 1
    padding_mode: Literal["zeros"] = "zeros"

    @property
    def window(self) -> Window:
        """``after`` is what the output padding leaves of the padding; below zero it adds to the output."""
        kernel = per_axis(self.kernel_size, self.spatial, "kernel_size", 1)
        stride = per_axis(self.stride, self.spatial, "stride", 1)
        dilation = per_axis(self.dilation, self.spatial, "dilation", 1)
        padding = per_axis(self.padding, self.spatial, "padding", 0)
        extra = per_axis(self.output_padding, self.spatial, "output_padding", 0)
        for more, step, spread in zip(extra, stride, dilation, strict=True):
            if more >= max(step, spread):
                message = (
                    f"`output_padding` {more} must be smaller than the stride {step} or the dilation {spread}"
                )
                raise Refused(message, "output_padding")
        after = tuple(p - more for p, more in zip(padding, extra, strict=True))
        return Window(kernel, stride, padding, after, dilation)

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        kernel = per_axis(self.kernel_size, self.spatial, "kernel_size", 1)
        shapes: dict[str, tuple[int, ...]] = {
            "weight": (self.channels(input), self.out_channels // self.groups, *kernel)
        }
        if self.bias:
            shapes["bias"] = (self.out_channels,)
        return {name: input.with_shape(shape) for name, shape in shapes.items()}

    def infer(self, input: TensorType) -> TensorType:
        require_spatial(input, self.spatial, self.name)
        self.check_groups(self.channels(input), self.out_channels, self.groups)
        require_layer(_as_laid(self.window))
        sizes = _spread(self.window, input.shape[-self.spatial :])
        for size in sizes:
            require_at_most(1, size, f"`padding` leaves an output of {size}", "padding")
        return input.with_shape((*input.shape[: -self.spatial - 1], self.out_channels, *sizes))

    def lower(self, net: Network, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = planes(net, input, self.spatial)
        window, weight = _without_holes(self.window.as_planes(), weight, net)
        # TensorRT has no negative padding: what lies after the last window is appended, then the bias added.
        behind = tuple(max(0, -after) for after in window.after)
        post = tuple(max(0, after) for after in window.after)
        cut = Window(window.kernel, window.stride, window.before, post, window.dilation)
        whole = planes_type(net.result, self.spatial)
        late = bias if any(behind) else None
        early = None if any(behind) else bias
        result = whole.with_shape((*whole.shape[:2], *_spread(cut, x.shape[2:])))
        maps = _laid(net, "deconvolution_nd", x, (weight, early), cut, self.groups, result)
        maps = lower_padding(net, maps, tuple((0, more) for more in behind), "constant")
        if late is not None:
            column = net.reshape(late, (self.out_channels, *(1,) * len(window.kernel)))
            maps = net.elementwise("SUM", maps, column)
        return net.reshape(maps, net.result.shape)


def _spread(window: Window, sizes: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The sizes that windows ``stride`` apart cover, less the padding (as torch.nn.ConvTranspose2d)."""
    axes = zip(sizes, window.stride, window.before, window.after, window.reach, strict=True)
    return tuple((size - 1) * step - before - after + reach for size, step, before, after, reach in axes)


def _as_laid(window: Window) -> Window:
    """A transposed convolution's window without dilation where TensorRT takes no stride beside it.

    TensorRT-RTX: "Strided & Dilated Deconv are currently not supported".
    """
    ones = (1,) * len(window.kernel)
    if window.dilation == ones or window.stride == ones:
        return window
    return Window(window.reach, window.stride, window.before, window.after, ones)


def _without_holes(window: Window, weight: Tensor, net: Network) -> tuple[Window, Tensor]:
    """The window of :func:`_as_laid`; zeros fill the holes of its kernel."""
    laid = _as_laid(window)
    if laid == window:
        return window, weight
    if weight.array is None:
        raise Refused(
            "TensorRT has no transposed convolution with stride and dilation for a computed weight",
            "dilation",
        )
    filled = np.zeros((*weight.array.shape[:2], *window.reach), weight.array.dtype)
    holes = tuple(slice(None, None, d) for d in window.dilation)
    filled[(slice(None), slice(None), *holes)] = weight.array.reshape(
        (*weight.array.shape[:2], *window.kernel)
    )
    return laid, net.constant(filled)


class ConvTranspose1d(_ConvTranspose):
    """The transpose of :class:`Conv1d`: ``(L - 1) * stride - 2 * padding + kernel_size`` elements."""

    torch = "torch.nn.ConvTranspose1d"
    spatial = 1
    spellings = (
        _functional(
            1,
            "conv_transpose1d(float32[N, 4, S], float32[4, 3, 2], float32[3], stride = 2)"
            " -> float32[N, 3, 2 * S]",
            transposed=True,
        ),
    )
    examples = (
        "ConvTranspose1d(4, 3)(float32[N, 8, S]) -> float32[N, 4, S + 2]",
        "ConvTranspose1d(4, 4, stride = 2, padding = 1, bias = false)(float16[N, 8, S])"
        " -> float16[N, 4, 2 * S]",
        "ConvTranspose1d(4, 3, stride = 2, output_padding = 1, groups = 2)(float32[8, S])"
        " -> float32[4, 2 * S + 2]",
    )


class ConvTranspose2d(_ConvTranspose):
    """The transpose of :class:`Conv2d`: each input element spreads the kernel, overlaps are summed."""

    torch = "torch.nn.ConvTranspose2d"
    spatial = 2
    spellings = (
        _functional(
            2,
            "conv_transpose2d(float32[N, 4, H, W], float32[4, 3, 2, 2], stride = 2, groups = 2)"
            " -> float32[N, 6, 2 * H, 2 * W]",
            transposed=True,
        ),
    )
    examples = (
        "ConvTranspose2d(4, 2, stride = 2)(float32[N, 8, H, W]) -> float32[N, 4, 2 * H, 2 * W]",
        "ConvTranspose2d(4, 3, stride = 2, padding = 1, output_padding = 1)(float32[N, 8, H, W])"
        " -> float32[N, 4, 2 * H, 2 * W]",
        "ConvTranspose2d(4, 3, stride = (3, 2), output_padding = (2, 0), bias = false)(float32[1, 8, 4, 5])"
        " -> float32[1, 4, 14, 11]",
        "ConvTranspose2d(8, 3, groups = 4, dilation = 2)(float16[N, 4, H, W]) -> float16[N, 8, H + 4, W + 4]",
        "ConvTranspose2d(4, 3, stride = 2, dilation = (2, 3), groups = 2)(float32[8, 5, 6])"
        " -> float32[4, 13, 17]",
    )


class ConvTranspose3d(_ConvTranspose):
    """The transpose of :class:`Conv3d`: each input element spreads the kernel, overlaps are summed."""

    torch = "torch.nn.ConvTranspose3d"
    spatial = 3
    spellings = (
        _functional(
            3,
            "conv_transpose3d(float32[N, 2, 3, 4, 5], float32[2, 3, 2, 2, 2], float32[3])"
            " -> float32[N, 3, 4, 5, 6]",
            transposed=True,
        ),
    )
    examples = (
        "ConvTranspose3d(4, 2, stride = 2)(float32[N, 3, 2, H, 5]) -> float32[N, 4, 4, 2 * H, 10]",
        "ConvTranspose3d(4, 3, stride = 2, padding = 1, output_padding = 1, groups = 2)"
        "(float32[2, 4, 3, 3, 2])"
        " -> float32[2, 4, 6, 6, 4]",
    )


CONVOLUTIONS = (Conv1d, Conv2d, Conv3d)
TRANSPOSED_CONVOLUTIONS = (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)
