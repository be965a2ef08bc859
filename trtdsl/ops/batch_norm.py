"""Batch normalisation and local response normalisation, as they compute in inference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.ops.base import OPERATORS, Function, Module, Op, Spelling, static
from trtdsl.ops.pooling import pool
from trtdsl.ops.reduction import in_float32
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import given_type, require_at_most, require_elements, require_floating, require_rank
from trtdsl.ops.windows import Window
from trtdsl.types import TensorType, product
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


def _configure(types: Mapping[str, TensorType], given: Mapping[str, Any]) -> Op:
    """``batch_norm``: the module of the input's rank, with the statistics given or the batch's own."""
    by_batch = bool(given.get("training"))
    statistics = {"running_mean", "running_var"} & types.keys()
    if by_batch and statistics:
        help = "leave out `running_mean` and `running_var`"
        raise Refused("with `training = true` the statistics are the batch's own", min(statistics), help)
    if not by_batch:
        for name in ("running_mean", "running_var"):
            given_type(types, name, "batch_norm")
    affine = bool({"weight", "bias"} & types.keys())
    require_rank(types["input"], (2, 3, 4, 5), "batch_norm", "input")
    module: Any = OPERATORS[f"BatchNorm{max(1, types['input'].rank - 2)}d"]
    options = {name: value for name, value in given.items() if name != "training"}
    return module(affine=affine, track_running_stats=not by_batch, **options)


_FUNCTIONAL = Spelling(
    "torch.nn.functional.batch_norm",
    ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    defaults={"weight": None, "bias": None, "training": False},
    configure=_configure,
    extra={"training": bool},
    neutral={"weight": 1.0, "bias": 0.0},
    examples=(
        "batch_norm(float32[N, 4, H, W], float32[4], float32[4], float32[4], float32[4], eps = 0.001)"
        " -> float32[N, 4, H, W]",
        "batch_norm(float32[N, 4, S], float32[4], float32[4]) -> float32[N, 4, S]",
        "batch_norm(float32[N, 4], float32[4], float32[4], float32[4]) -> float32[N, 4]",
        "batch_norm(float32[N, 4, S], float32[4], float32[4], bias = float32[4]) -> float32[N, 4, S]",
        "batch_norm(float32[4, 3, 5], none, none, training = true) -> float32[4, 3, 5]",
    ),
)


class _BatchNorm(Module, abstract=True):
    ranks: ClassVar[tuple[int, ...]]
    inferred = ("num_features",)
    weight_shapes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), "[num_features]")

    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True

    def torch_arguments(self, input: TensorType) -> Mapping[str, object]:
        return {"num_features": self._channels(input)}

    def _channels(self, input: TensorType) -> int:
        return static(input.shape[1], "the number of channels", "input")

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        affine = ("weight", "bias") if self.affine else ()
        statistics = ("running_mean", "running_var") if self.track_running_stats else ()
        per_channel = input.with_shape((self._channels(input),))
        return dict.fromkeys((*affine, *statistics), per_channel)

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, self.name, "input")
        require_rank(input, self.ranks, self.name, "input")
        self._channels(input)
        require_elements(input, (1,), self.name)
        if not self.track_running_stats:
            count = product((input.shape[0], *input.shape[2:]))
            require_at_most(2, count, f"the statistics of {count} value in each channel say nothing")
        return input

    def lower(
        self,
        net: Network,
        input: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
    ) -> Tensor:
        if running_mean is None or running_var is None:
            return self._by_batch(net, input, weight, bias)
        mean, variance = running_mean.array, running_var.array
        if mean is None or variance is None or _is_computed(weight) or _is_computed(bias):
            return self._composed(net, input, running_mean, running_var, weight, bias)
        scale, shift = scale_and_shift(self.eps, mean, variance, _array(weight), _array(bias))
        return _scaled(net, input, scale.astype(input.dtype.numpy), shift.astype(input.dtype.numpy))

    def _by_batch(self, net: Network, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Without running statistics PyTorch takes the batch's own, in inference too."""
        axes = [axis for axis in range(x.rank) if axis != 1]
        wide = in_float32(net, x)
        mean = net.reduce("AVG", wide, axes, keepdim=True)
        centred = net.elementwise("SUB", wide, mean)
        variance = net.reduce("AVG", net.elementwise("PROD", centred, centred), axes, keepdim=True)
        return net.cast(self._standardised(net, centred, variance, weight, bias), x.dtype)

    def _composed(
        self,
        net: Network,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        """Statistics that are computed in the graph."""
        wide = in_float32(net, x)
        centred = net.elementwise("SUB", wide, _per_channel(net, mean, wide))
        y = self._standardised(net, centred, _per_channel(net, variance, wide), weight, bias)
        return net.cast(y, x.dtype)

    def _standardised(
        self, net: Network, centred: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        deviation = net.unary("SQRT", net.elementwise("SUM", variance, net.scalar(self.eps, variance)))
        y = net.elementwise("DIV", centred, deviation)
        if weight is not None:
            y = net.elementwise("PROD", y, _per_channel(net, weight, y))
        return y if bias is None else net.elementwise("SUM", y, _per_channel(net, bias, y))


def _is_computed(weight: Tensor | None) -> bool:
    return weight is not None and weight.array is None


def _array(weight: Tensor | None) -> Array | None:
    return None if weight is None else weight.array


def _scaled(net: Network, x: Tensor, scale: Array, shift: Array) -> Tensor:
    """``scale * x + shift`` per channel."""
    if x.rank >= 4:
        mode, power = net.enum("ScaleMode.CHANNEL"), np.ones_like(scale)
        return net.add("scale_nd", x, mode, shift, scale, power, 1, result=x.type)
    # The scale layer is specified for four dimensions and more.
    product = net.elementwise("PROD", x, _per_channel(net, net.constant(scale), x))
    return net.elementwise("SUM", product, _per_channel(net, net.constant(shift), x))


def scale_and_shift(
    eps: float, mean: Array, variance: Array, weight: Array | None, bias: Array | None
) -> tuple[Array, Array]:
    """``y = scale * x + shift`` per channel, in float64."""
    scale = 1 / np.sqrt(variance.astype(np.float64) + eps)
    if weight is not None:
        scale = scale * weight.astype(np.float64)
    shift = -mean.astype(np.float64) * scale
    return scale, shift if bias is None else shift + bias.astype(np.float64)


def _per_channel(net: Network, values: Tensor, x: Tensor) -> Tensor:
    """One value for each channel, in the rank and the type of ``x``."""
    return net.cast(net.reshape(values, (1, values.shape[0], *(1,) * (x.rank - 2))), x.dtype)


class BatchNorm1d(_BatchNorm):
    """``(x - running_mean) / sqrt(running_var + eps) * weight + bias`` per channel of ``[N, C(, L)]``."""

    torch = "torch.nn.BatchNorm1d"
    ranks = (2, 3)
    examples = (
        "BatchNorm1d(float32[N, 8]) -> float32[N, 8]",
        "BatchNorm1d(eps = 0.001)(float32[N, 8, S]) -> float32[N, 8, S]",
        "BatchNorm1d(affine = false)(float16[2, 4, 5]) -> float16[2, 4, 5]",
    )


class BatchNorm2d(_BatchNorm):
    """``(x - running_mean) / sqrt(running_var + eps) * weight + bias`` per channel of ``[N, C, H, W]``."""

    torch = "torch.nn.BatchNorm2d"
    ranks = (4,)
    spellings = (_FUNCTIONAL,)
    examples = (
        "BatchNorm2d(float32[N, 8, H, W]) -> float32[N, 8, H, W]",
        "BatchNorm2d(eps = 0.001, momentum = 0.01)(float32[N, 8, H, W]) -> float32[N, 8, H, W]",
        "BatchNorm2d(affine = false)(float32[1, 8, 4, 5]) -> float32[1, 8, 4, 5]",
        "BatchNorm2d(track_running_stats = false)(float32[N, 8, H, W]) -> float32[N, 8, H, W]",
    )


class BatchNorm3d(_BatchNorm):
    """``(x - running_mean) / sqrt(running_var + eps) * weight + bias`` per channel of ``[N, C, D, H, W]``."""

    torch = "torch.nn.BatchNorm3d"
    ranks = (5,)
    examples = ("BatchNorm3d(float32[N, 4, 3, H, W]) -> float32[N, 4, 3, H, W]",)


BATCH_NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)


class LocalResponseNorm(Function):
    """``x / (k + alpha * mean of x * x over size neighbouring channels) ** beta``, zeros beyond the ends."""

    torch = "torch.nn.functional.local_response_norm"
    spellings = (Spelling("torch.nn.LocalResponseNorm", ("size", "alpha", "beta", "k")),)
    examples = (
        "local_response_norm(5)(float32[N, 8, H, W]) -> float32[N, 8, H, W]",
        "local_response_norm(2, alpha = 0.5, beta = 1.0, k = 2.0)(float32[N, 8, H, W])"
        " -> float32[N, 8, H, W]",
        "local_response_norm(3, alpha = 0.5)(float32[N, 8, S]) -> float32[N, 8, S]",
        "local_response_norm(17, alpha = 0.1)(float32[1, 20, 2, 3, 4]) -> float32[1, 20, 2, 3, 4]",
    )

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, "local_response_norm", "input")
        if input.rank < 3:
            raise Refused(
                f"local_response_norm needs a tensor [N, C, ...] of rank 3 or more, not {input}", "input"
            )
        if self.size < 1:
            raise Refused(f"`size` must be at least 1, not {self.size}", "size")
        return input

    def lower(self, net: Network, input: Tensor) -> Tensor:
        # TensorRT's layer takes its channels from the third dimension counted from the end.
        if input.rank == 4 and _fits_layer(self.size, self.beta, self.k):
            return net.add("lrn", input, self.size, self.alpha, self.beta, self.k, result=input.type)
        squares = net.elementwise("PROD", input, input)
        scaled = net.elementwise("PROD", self._means(net, squares), net.scalar(self.alpha, input))
        base = net.elementwise("SUM", scaled, net.scalar(self.k, input))
        return net.elementwise("DIV", input, net.elementwise("POW", base, net.scalar(self.beta, input)))

    def _means(self, net: Network, x: Tensor) -> Tensor:
        """The mean over the channel's neighbours, as a pool over ``[N, 1, C, everything else]``."""
        flat = net.reshape(x, (x.shape[0], 1, x.shape[1], product(x.shape[2:])))
        window = Window((self.size, 1), (1, 1), (self.size // 2, 0), ((self.size - 1) // 2, 0), (1, 1))
        return net.reshape(pool(net, flat, "AVERAGE", window, flat.type), x.shape)


def _fits_layer(size: int, beta: float, k: float) -> bool:
    """The limits of TensorRT's layer: odd windows of 1 to 15, beta from 0.01, k from 1e-5 (NvInfer.h)."""
    return size in range(1, 16, 2) and 0.01 <= beta <= 1e5 and 1e-5 <= k <= 1e10 and math.isfinite(beta)
