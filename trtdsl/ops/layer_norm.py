"""Normalisation by the input's own statistics: over the last dimensions, over groups, over instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.ops.arithmetic_layers import shifted, widened_by_torch
from trtdsl.ops.base import OPERATORS, Module, Op, Spelling, static
from trtdsl.ops.reduction import in_float32
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import (
    axes_mask,
    require_at_most,
    require_elements,
    require_floating,
    require_rank,
    same_dim,
)
from trtdsl.types import Dim, DType, TensorType, product
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor

_LAYER = "normalization_v2"
_FLOAT32_EPS = 2.0**-23
_NEUTRAL = {"weight": 1.0, "bias": 0.0}


def _is_affine(types: Mapping[str, TensorType]) -> bool:
    return bool({"weight", "bias"} & types.keys())


def _configure_instance_norm(types: Mapping[str, TensorType], given: Mapping[str, Any]) -> Op:
    require_rank(types["input"], (3, 4, 5), "instance_norm", "input")
    statistics = [name for name in ("running_mean", "running_var") if name in types]
    if statistics or given.get("use_input_stats") is False:
        help = "`batch_norm` computes with running statistics"
        about = "use_input_stats" if given.get("use_input_stats") is False else statistics[0]
        raise Refused("instance_norm takes the statistics of each instance only", about, help)
    module: Any = OPERATORS[f"InstanceNorm{types['input'].rank - 2}d"]
    options = {name: value for name, value in given.items() if name in module.parameters}
    return module(affine=_is_affine(types), **options)


def _filled(net: Network, weight: Tensor | None, value: float, shape: tuple[int, ...], x: Tensor) -> Tensor:
    """A weight in a shape that broadcasts to ``x``, and in its type, or a constant where there is none."""
    if weight is None:
        return net.constant(np.full(shape, value, x.dtype.numpy))
    return net.cast(net.reshape(weight, shape), x.dtype)


def _standardised(net: Network, x: Tensor, axes: list[int], eps: float, *, choose: bool = False) -> Tensor:
    """``(x - mean) / sqrt(variance + eps)`` over ``axes``, for a TensorRT without the layer.

    ``x`` is float32, as the layer computes: a square leaves float16's range at 256, and ``eps`` below it.
    With ``choose`` the variance is chosen over itself, for a builder that looks for a choice.
    """
    centred = net.elementwise("SUB", x, net.reduce("AVG", x, axes, keepdim=True))
    variance = net.reduce("AVG", net.elementwise("PROD", centred, centred), axes, keepdim=True)
    if choose:
        variance = net.select(net.elementwise("EQUAL", variance, variance), variance, variance)
    deviation = net.unary("SQRT", net.elementwise("SUM", variance, net.scalar(eps, variance)))
    return net.elementwise("DIV", centred, deviation)


def _affine(net: Network, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return net.elementwise("SUM", net.elementwise("PROD", x, scale), shift)


class LayerNorm(Module):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over the last dimensions."""

    torch = "torch.nn.LayerNorm"
    weight_shapes = dict.fromkeys(("weight", "bias"), "[*normalized_shape]")
    examples = (
        "LayerNorm(8)(float32[N, S, 8]) -> float32[N, S, 8]",
        "LayerNorm((5, 8), eps = 0.001, bias = false)(float32[N, 5, 8]) -> float32[N, 5, 8]",
        "LayerNorm(8, elementwise_affine = false)(float32[N, H, W, 8]) -> float32[N, H, W, 8]",
        "LayerNorm(8)(float32[8]) -> float32[8]",
        "LayerNorm(16)(float16[N, S, 16]) -> float16[N, S, 16]",
    )

    spellings = (
        Spelling(
            "torch.nn.functional.layer_norm",
            ("input", "normalized_shape", "weight", "bias", "eps"),
            defaults={"weight": None, "bias": None},
            configure=lambda types, given: LayerNorm(
                **given, elementwise_affine=_is_affine(types), bias="bias" in types
            ),
            neutral=_NEUTRAL,
            examples=(
                "layer_norm(float32[N, S, 8], (8,), float32[8], float32[8], eps = 0.001) -> float32[N, S, 8]",
                "layer_norm(float32[N, 5, 8], (5, 8), float32[5, 8]) -> float32[N, 5, 8]",
                "layer_norm(float32[N, 8], (8,)) -> float32[N, 8]",
                "layer_norm(float16[N, 5, 8], (5, 8), none, float16[5, 8]) -> float16[N, 5, 8]",
            ),
        ),
    )

    normalized_shape: int | tuple[int, ...]
    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    @property
    def _shape(self) -> tuple[int, ...]:
        given = self.normalized_shape
        return (given,) if isinstance(given, int) else given

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        names = ("weight", "bias") if self.bias else ("weight",)
        return dict.fromkeys(names, input.with_shape(self._shape)) if self.elementwise_affine else {}

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, "LayerNorm", "input")
        _require_last(input, self._shape)
        return input

    def lower(
        self, net: Network, input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        x = net.to_rank(input, max(2, input.rank))
        if not net.has(_LAYER):
            x = in_float32(net, x)
        axes = list(range(x.rank - len(self._shape), x.rank))
        shape = (*(1,) * (x.rank - len(self._shape)), *self._shape)
        scale, shift = _filled(net, weight, 1, shape, x), _filled(net, bias, 0, shape, x)
        if net.has(_LAYER):
            normal = net.add(_LAYER, x, scale, shift, axes_mask(axes), result=x.type, epsilon=self.eps)
        else:
            normal = _standardised(net, x, axes, self.eps, choose=not net.habits.fuses_norms)
            normal = _affine(net, normal, scale, shift)
        return net.reshape(net.cast(normal, input.dtype), input.shape)

    def fold(self, input: Array, weight: Array | None = None, bias: Array | None = None) -> Array | None:
        if not input.size:
            return None
        axes = tuple(range(input.ndim - len(self._shape), input.ndim))
        wide = input.astype(np.float64)
        centred = wide - wide.mean(axes, keepdims=True)
        normal = centred / np.sqrt((centred * centred).mean(axes, keepdims=True) + self.eps)
        scaled = normal if weight is None else normal * weight.astype(np.float64)
        return (scaled if bias is None else scaled + bias.astype(np.float64)).astype(input.dtype)


def _require_last(input: TensorType, shape: tuple[int, ...]) -> None:
    """Refuse a tensor whose last dimensions are not these."""
    count = len(shape)
    last = input.shape[input.rank - count :] if 0 < count <= input.rank else ()
    if len(last) != count or not all(map(_agrees, last, shape)):
        wanted = ", ".join(map(str, shape))
        raise Refused(f"the last dimensions of {input} are not [{wanted}]", "normalized_shape")


def _agrees(size: Dim, wanted: int) -> bool:
    return same_dim(size, wanted, "the normalised dimensions must be known", "normalized_shape")


class RMSNorm(Module):
    """``x / sqrt(mean(x * x) + eps) * weight`` over the last dimensions, computed in float32.

    Without ``eps`` it is float32's: 2 ** -23, for every dtype, as PyTorch 2.14 has it.
    """

    torch = "torch.nn.RMSNorm"
    weight_shapes = {"weight": "[*normalized_shape]"}
    examples = (
        "RMSNorm(8)(float32[N, S, 8]) -> float32[N, S, 8]",
        "RMSNorm((5, 8), eps = 0.001)(float32[N, 5, 8]) -> float32[N, 5, 8]",
        "RMSNorm(8, elementwise_affine = false)(float32[N, H, W, 8]) -> float32[N, H, W, 8]",
        "RMSNorm(8)(float32[8]) -> float32[8]",
        "RMSNorm(16, eps = 1e-06)(float16[N, S, 16]) -> float16[N, S, 16]",
        "RMSNorm(16)(bfloat16[2, 16]) -> bfloat16[2, 16]",
    )
    spellings = (
        Spelling(
            "torch.nn.functional.rms_norm",
            ("input", "normalized_shape", "weight", "eps"),
            defaults={"weight": None},
            configure=lambda types, given: RMSNorm(**given, elementwise_affine="weight" in types),
            examples=(
                "rms_norm(float32[N, S, 8], (8,), float32[8], eps = 0.001) -> float32[N, S, 8]",
                "rms_norm(float16[N, 5, 8], (5, 8)) -> float16[N, 5, 8]",
            ),
        ),
    )

    normalized_shape: int | tuple[int, ...]
    eps: float | None = None
    elementwise_affine: bool = True

    @property
    def _shape(self) -> tuple[int, ...]:
        given = self.normalized_shape
        return (given,) if isinstance(given, int) else given

    @property
    def _eps(self) -> float:
        return _FLOAT32_EPS if self.eps is None else self.eps

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        return {"weight": input.with_shape(self._shape)} if self.elementwise_affine else {}

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, "RMSNorm", "input")
        _require_last(input, self._shape)
        return input

    def lower(self, net: Network, input: Tensor, weight: Tensor | None = None) -> Tensor:
        x = in_float32(net, net.to_rank(input, max(2, input.rank)))
        axes = range(x.rank - len(self._shape), x.rank)
        mean = net.reduce("AVG", net.elementwise("PROD", x, x), axes, keepdim=True)
        y = net.elementwise("DIV", x, net.unary("SQRT", shifted(net, mean, self._eps)))
        if weight is not None:
            y = net.elementwise("PROD", y, net.cast(weight, DType.FLOAT32))
        return net.reshape(net.cast(y, input.dtype), input.shape)

    def reference(self, torch: Any, input: Any, weight: Any = None) -> Any:
        # Releases of PyTorch differ in what they take where `eps` is left out, and in whether they square
        # in half precision.
        scale = None if weight is None else widened_by_torch(torch, weight)
        wide = widened_by_torch(torch, input)
        return torch.nn.functional.rms_norm(wide, self._shape, scale, self._eps).to(input.dtype)


class _ByChannels(Module, abstract=True):
    """Statistics over groups of channels and everything after them."""

    def channels(self, input: TensorType) -> int:
        return static(input.shape[1], "the number of channels", "input")

    def grouped(
        self, net: Network, x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float
    ) -> Tensor:
        channels = self.channels(x.type)
        shape = (1, channels, *(1,) * (x.rank - 2))
        if net.has(_LAYER) and x.rank > 2 and groups > 1:
            # The layer's axes are those after the channels; a group's channels are implied, but where there
            # is one group the axes are all it knows.
            scale, shift = _filled(net, weight, 1, shape, x), _filled(net, bias, 0, shape, x)
            mask = axes_mask(range(2, x.rank))
            return net.add(_LAYER, x, scale, shift, mask, result=x.type, epsilon=eps, num_groups=groups)
        wide = in_float32(net, x)
        scale, shift = _filled(net, weight, 1, shape, wide), _filled(net, bias, 0, shape, wide)
        split = net.reshape(wide, (x.shape[0], groups, channels // groups, *x.shape[2:]))
        normal = _standardised(net, split, list(range(2, split.rank)), eps)
        return net.cast(_affine(net, net.reshape(normal, x.shape), scale, shift), x.dtype)


class GroupNorm(_ByChannels):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over each of the groups of channels."""

    torch = "torch.nn.GroupNorm"
    inferred = ("num_channels",)
    weight_shapes = dict.fromkeys(("weight", "bias"), "[num_channels]")
    examples = (
        "GroupNorm(3)(float32[N, 6, H, W]) -> float32[N, 6, H, W]",
        "GroupNorm(2, eps = 0.001, affine = false)(float32[N, 6, S]) -> float32[N, 6, S]",
        "GroupNorm(2)(float32[N, 6]) -> float32[N, 6]",
        "GroupNorm(1)(float16[N, 4, 3, H, 5]) -> float16[N, 4, 3, H, 5]",
    )

    spellings = (
        Spelling(
            "torch.nn.functional.group_norm",
            ("input", "num_groups", "weight", "bias", "eps"),
            defaults={"weight": None, "bias": None},
            configure=lambda types, given: GroupNorm(**given, affine=_is_affine(types)),
            neutral=_NEUTRAL,
            examples=(
                "group_norm(float32[N, 6, H, W], 3, float32[6], float32[6]) -> float32[N, 6, H, W]",
                "group_norm(float32[N, 6, S], 2, eps = 0.001) -> float32[N, 6, S]",
                "group_norm(float32[N, 6, S], 2, float32[6]) -> float32[N, 6, S]",
                "group_norm(float16[N, 6], 2, bias = float16[6]) -> float16[N, 6]",
            ),
        ),
    )

    num_groups: int
    eps: float = 1e-5
    affine: bool = True

    def torch_arguments(self, input: TensorType) -> Mapping[str, object]:
        return {"num_channels": self.channels(input)}

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        per_channel = input.with_shape((self.channels(input),))
        return dict.fromkeys(("weight", "bias"), per_channel) if self.affine else {}

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, "GroupNorm", "input")
        if input.rank < 2:
            raise Refused(f"GroupNorm needs a tensor [N, C, ...], not {input}", "input")
        channels = self.channels(input)
        if self.num_groups < 1 or channels % self.num_groups:
            message = f"the input has {channels} channels, which {self.num_groups} groups do not divide"
            raise Refused(message, "num_groups")
        count = product((input.shape[0], channels // self.num_groups, *input.shape[2:]))
        require_at_most(2, count, f"the statistics of {count} value in each group say nothing")
        return input

    def lower(
        self, net: Network, input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        return self.grouped(net, input, weight, bias, self.num_groups, self.eps)


class _InstanceNorm(_ByChannels, abstract=True):
    spatial: ClassVar[int]
    inferred = ("num_features",)
    weight_shapes = dict.fromkeys(("weight", "bias"), "[num_features]")

    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = False
    track_running_stats: bool = False

    def torch_arguments(self, input: TensorType) -> Mapping[str, object]:
        return {"num_features": self._features(input)}

    def _features(self, input: TensorType) -> int:
        return static(input.shape[-self.spatial - 1], "the number of channels", "input")

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        per_channel = input.with_shape((self._features(input),))
        return dict.fromkeys(("weight", "bias"), per_channel) if self.affine else {}

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, self.name, "input")
        if input.rank not in (self.spatial + 1, self.spatial + 2):
            ranks = f"{self.spatial + 1} or {self.spatial + 2}"
            raise Refused(f"{self.name} needs a tensor of rank {ranks}, not {input}", "input")
        if self.track_running_stats:
            help = "BatchNorm in inference computes the same"
            raise Refused(
                "instance norm with running statistics is not supported", "track_running_stats", help
            )
        self._features(input)
        require_elements(input, (input.rank - self.spatial - 1,), self.name)
        count = product(input.shape[-self.spatial :])
        require_at_most(2, count, f"the statistics of {count} value in each channel say nothing")
        return input

    def lower(
        self, net: Network, input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        batch = (1,) if input.rank == self.spatial + 1 else ()
        x = net.reshape(input, batch + input.shape)
        normal = self.grouped(net, x, weight, bias, self._features(input.type), self.eps)
        return net.reshape(normal, input.shape)


class InstanceNorm1d(_InstanceNorm):
    """``(x - mean) / sqrt(variance + eps)`` over the last dimension, each channel for itself."""

    torch = "torch.nn.InstanceNorm1d"
    spatial = 1
    examples = (
        "InstanceNorm1d(affine = true)(float32[N, 4, S]) -> float32[N, 4, S]",
        "InstanceNorm1d()(float32[4, S]) -> float32[4, S]",
    )


class InstanceNorm2d(_InstanceNorm):
    """``(x - mean) / sqrt(variance + eps)`` over the last two dimensions, each channel for itself."""

    torch = "torch.nn.InstanceNorm2d"
    spatial = 2
    spellings = (
        Spelling(
            "torch.nn.functional.instance_norm",
            (
                *("input", "running_mean", "running_var", "weight", "bias"),
                *("use_input_stats", "momentum", "eps"),
            ),
            defaults={
                **dict.fromkeys(("running_mean", "running_var", "weight", "bias")),
                "use_input_stats": True,
            },
            configure=_configure_instance_norm,
            extra={"use_input_stats": bool, "running_mean": TensorType, "running_var": TensorType},
            neutral=_NEUTRAL,
            examples=(
                "instance_norm(float32[N, 4, H, W], none, none, float32[4], float32[4])"
                " -> float32[N, 4, H, W]",
                "instance_norm(float32[N, 4, S], eps = 0.001) -> float32[N, 4, S]",
                "instance_norm(float32[N, 4, S], weight = float32[4]) -> float32[N, 4, S]",
                "instance_norm(float32[N, 4, S], none, none, none, float32[4]) -> float32[N, 4, S]",
            ),
        ),
    )
    examples = (
        "InstanceNorm2d(eps = 0.001, affine = true)(float32[N, 4, H, W]) -> float32[N, 4, H, W]",
        "InstanceNorm2d()(float16[4, H, W]) -> float16[4, H, W]",
    )


class InstanceNorm3d(_InstanceNorm):
    """``(x - mean) / sqrt(variance + eps)`` over the last three dimensions, each channel for itself."""

    torch = "torch.nn.InstanceNorm3d"
    spatial = 3
    examples = ("InstanceNorm3d(affine = true)(float32[N, 4, 3, H, W]) -> float32[N, 4, 3, H, W]",)
