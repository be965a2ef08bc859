"""Piecewise linear activations: ``relu`` and what is made of straight pieces like it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trtdsl.ops.activation import Activation, without_bool
from trtdsl.ops.arithmetic_layers import (
    clamp_by_torch,
    clamped,
    computed,
    less_equal,
    numeric,
    require_reachable,
    without_overflow,
)
from trtdsl.ops.base import Function, Module, Spelling
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_fit, require_floating, same_dim, weight_sizes
from trtdsl.types import TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Relu(Function):
    """``max(input, 0)``."""

    torch = "torch.nn.functional.relu"
    examples = (
        "relu()(float32[N, 8]) -> float32[N, 8]",
        "relu()(float16[N, 3, H, W]) -> float16[N, 3, H, W]",
        "relu()(int32[N]) -> int32[N]",
        "relu()(uint8[N, 2]) -> uint8[N, 2]",
        "relu()(float32[]) -> float32[]",
    )
    spellings = (Spelling("torch.nn.ReLU"),)
    ignored = ("inplace",)

    def infer(self, input: TensorType) -> TensorType:
        if input.dtype.is_bool:
            raise Refused("relu does not take bool tensors", "input")
        return computed(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        x = net.cast(input, numeric(input.dtype))
        return net.cast(net.activation("RELU", x), input.dtype)

    def fold(self, input: Array) -> Array:
        return np.maximum(input, np.zeros((), input.dtype))


class Hardtanh(Function):
    """``min(max(input, min_val), max_val)``; a bound beyond the range of its dtype bounds nothing."""

    torch = "torch.nn.functional.hardtanh"
    examples = (
        "hardtanh()(float32[N, 8]) -> float32[N, 8]",
        "hardtanh(min_val = -0.5, max_val = 2.0)(float32[N, 8]) -> float32[N, 8]",
        "hardtanh(min_val = 0, max_val = 6)(int32[N, 8]) -> int32[N, 8]",
    )
    spellings = (
        Spelling("torch.nn.Hardtanh", ("min_val", "max_val")),
        Spelling("torch.nn.functional.relu6", fixed={"min_val": 0.0, "max_val": 6.0}),
        Spelling("torch.nn.ReLU6", fixed={"min_val": 0.0, "max_val": 6.0}),
    )
    ignored = ("inplace",)

    min_val: float = -1.0
    max_val: float = 1.0

    def infer(self, input: TensorType) -> TensorType:
        if input.dtype.is_bool:
            raise Refused("hardtanh does not take bool tensors", "input")
        if self.min_val > self.max_val:
            raise Refused(f"min_val {self.min_val} is greater than max_val {self.max_val}", "min_val")
        if not input.dtype.is_floating:
            self._check_integers(input)
        return computed(input)

    def _check_integers(self, input: TensorType) -> None:
        for name in ("min_val", "max_val"):
            bound: float = getattr(self, name)
            if not (bound.is_integer() or math.isinf(bound)):
                raise Refused(f"an {input.dtype} tensor needs an integer {name}", name)
        require_reachable(input.dtype, self.min_val, self.max_val, ("min_val", "max_val"))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return clamped(net, input, self.min_val, self.max_val)

    def reference(self, torch: Any, input: Any) -> Any:
        return clamp_by_torch(torch, input, self.min_val, self.max_val)


class LeakyRelu(Activation):
    """``input`` where it is positive, else ``negative_slope * input``."""

    torch = "torch.nn.functional.leaky_relu"
    examples = (
        "leaky_relu()(float32[N, 8]) -> float32[N, 8]",
        "leaky_relu(negative_slope = 0.1)(float16[N, 8]) -> float16[N, 8]",
    )
    spellings = (Spelling("torch.nn.LeakyReLU", ("negative_slope",)),)

    negative_slope: float = 0.01

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.activation("LEAKY_RELU", input, self.negative_slope)


class Hardsigmoid(Activation):
    """``min(max(input / 6 + 1 / 2, 0), 1)``."""

    torch = "torch.nn.functional.hardsigmoid"
    examples = ("hardsigmoid()(float32[N, 8]) -> float32[N, 8]",)
    spellings = (Spelling("torch.nn.Hardsigmoid"),)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.activation("HARD_SIGMOID", input, 1 / 6, 0.5)


class Hardswish(Activation):
    """``input * hardsigmoid(input)``."""

    torch = "torch.nn.functional.hardswish"
    examples = ("hardswish()(float32[N, 8]) -> float32[N, 8]",)
    spellings = (Spelling("torch.nn.Hardswish"),)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.elementwise("PROD", input, net.activation("HARD_SIGMOID", input, 1 / 6, 0.5))


class Threshold(Function):
    """``input`` where it is greater than ``threshold``, else ``value``."""

    torch = "torch.nn.functional.threshold"
    examples = (
        "threshold(threshold = 0.1, value = 20.0)(float32[N, 8]) -> float32[N, 8]",
        "threshold(threshold = 0, value = -1)(int32[N, 8]) -> int32[N, 8]",
    )
    spellings = (Spelling("torch.nn.Threshold", ("threshold", "value")),)
    ignored = ("inplace",)

    threshold: float
    value: float

    def infer(self, input: TensorType) -> TensorType:
        without_overflow(without_bool(input, "threshold").dtype, "threshold")
        for name in ("threshold", "value"):
            require_fit(getattr(self, name), input.dtype, name)
        return computed(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        # `not greater` would also replace NaN, which PyTorch keeps.
        replaced = less_equal(net, input, net.scalar(self.threshold, input))
        return net.select(replaced, net.scalar(self.value, input), input)


class Softshrink(Activation):
    """``input`` moved by ``lambd`` towards zero, and 0 within ``lambd`` of it."""

    torch = "torch.nn.functional.softshrink"
    examples = (
        "softshrink()(float32[N, 8]) -> float32[N, 8]",
        "softshrink(lambd = 0.1)(float32[N, 8]) -> float32[N, 8]",
    )
    spellings = (Spelling("torch.nn.Softshrink", ("lambd",)),)
    ignored = ()

    lambd: float = 0.5

    def infer(self, input: TensorType) -> TensorType:
        if self.lambd < 0:
            raise Refused(f"lambd must not be negative, but is {self.lambd}", "lambd")
        result = super().infer(input)
        require_fit(self.lambd, input.dtype, "lambd")
        return result

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.elementwise("SUB", input, net.activation("CLIP", input, -self.lambd, self.lambd))

    def reference(self, torch: Any, input: Any) -> Any:
        # PyTorch 2.5 makes 0 of what is not a number.
        return torch.where(input.isnan(), input, torch.nn.functional.softshrink(input, self.lambd))


class Hardshrink(Activation):
    """``input``, and 0 within ``lambd`` of zero."""

    torch = "torch.nn.functional.hardshrink"
    examples = (
        "hardshrink()(float32[N, 8]) -> float32[N, 8]",
        "hardshrink(lambd = 0.1)(float32[N, 8]) -> float32[N, 8]",
    )
    spellings = (Spelling("torch.nn.Hardshrink", ("lambd",)),)
    ignored = ()

    lambd: float = 0.5

    def infer(self, input: TensorType) -> TensorType:
        result = super().infer(input)
        require_fit(self.lambd, input.dtype, "lambd")
        return result

    def lower(self, net: Network, input: Tensor) -> Tensor:
        near = less_equal(net, net.unary("ABS", input), net.scalar(self.lambd, input))
        return net.select(near, net.scalar(0, input), input)


def _slopes(types: Mapping[str, TensorType]) -> int:
    (slopes,) = weight_sizes(types, "prelu", 1)
    channels = types["input"].shape[1] if types["input"].rank > 1 else 1
    if slopes != 1 and not same_dim(channels, slopes, "prelu's channels", "weight"):
        raise Refused(f"the input has {channels} channels, but the weight {slopes} slopes", "weight")
    return slopes


class PReLU(Module):
    """``input`` where it is positive, else times ``weight``, of one number or one for each channel."""

    torch = "torch.nn.PReLU"
    examples = (
        "PReLU()(float32[N, 8]) -> float32[N, 8]",
        "PReLU(3)(float32[N, 3, H, W]) -> float32[N, 3, H, W]",
        "PReLU(num_parameters = 4)(float16[2, 4, 5]) -> float16[2, 4, 5]",
        "PReLU()(float32[S]) -> float32[S]",
        "PReLU()(float32[]) -> float32[]",
    )
    ignored = ("init",)
    weight_shapes = {"weight": "[num_parameters]"}
    spellings = (
        Spelling(
            "torch.nn.functional.prelu",
            ("input", "weight"),
            configure=lambda types, _: PReLU(_slopes(types)),
            examples=(
                "prelu(float32[N, 3, H, W], float32[3]) -> float32[N, 3, H, W]",
                "prelu(float16[N, 8], float16[1]) -> float16[N, 8]",
            ),
        ),
    )

    num_parameters: int = 1

    def weights(self, input: TensorType) -> Mapping[str, TensorType]:
        return {"weight": TensorType(input.dtype, (self.num_parameters,))}

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, "PReLU", "input")
        if self.num_parameters == 1:
            return computed(input)
        channels = input.shape[1] if input.rank > 1 else 1
        if not same_dim(channels, self.num_parameters, "PReLU's channels", "num_parameters"):
            raise Refused(
                f"the input has {channels} channels, not num_parameters = {self.num_parameters}",
                "num_parameters",
            )
        return computed(input)

    def lower(self, net: Network, input: Tensor, weight: Tensor) -> Tensor:
        x = input if input.rank else net.reshape(input, (1,))
        channels = (1, self.num_parameters, *(1,) * (x.rank - 2)) if x.rank > 1 else (1,)
        slopes = net.reshape(weight, channels)
        return net.reshape(net.add("parametric_relu", x, slopes, result=x.type), input.shape)
