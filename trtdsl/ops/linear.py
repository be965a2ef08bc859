"""Affine maps of the last dimension: of one tensor, and of the products of two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trtdsl.ops.base import Module, Spelling, static
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_floating, same_dim, weight_sizes
from trtdsl.types import TensorType, product
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


def _rows(types: Mapping[str, TensorType]) -> int:
    return weight_sizes(types, "linear", 2)[0]


class Linear(Module):
    """``x @ weight.T + bias`` along the last dimension; every other dimension is a batch."""

    torch = "torch.nn.Linear"
    inferred = ("in_features",)
    weight_shapes = {"weight": "[out_features, in_features]", "bias": "[out_features]"}
    examples = (
        "Linear(128)(float32[N, 64]) -> float32[N, 128]",
        "Linear(16, bias = false)(float32[N, S, 8]) -> float32[N, S, 16]",
        "Linear(3)(float32[7]) -> float32[3]",
        "Linear(3)(float16[N, 2, H, W, 8]) -> float16[N, 2, H, W, 3]",
    )

    spellings = (
        Spelling(
            "torch.nn.functional.linear",
            ("input", "weight", "bias"),
            defaults={"bias": None},
            configure=lambda types, _: Linear(_rows(types), "bias" in types),
            examples=(
                "linear(float32[N, 8], float32[4, 8], float32[4]) -> float32[N, 4]",
                "linear(float16[N, S, 8], float16[3, 8]) -> float16[N, S, 3]",
            ),
        ),
    )

    out_features: int
    bias: bool = True

    @property
    def channel_dim(self) -> int:
        """The dimension that it maps, counted from the end."""
        return -1

    def torch_arguments(self, input: TensorType) -> Mapping[str, object]:
        return {"in_features": self._in_features(input)}

    def _in_features(self, input: TensorType) -> int:
        return static(input.shape[-1], "the last dimension, which Linear maps,", "input")

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        found = {"weight": input.with_shape((self.out_features, self._in_features(input)))}
        if self.bias:
            found["bias"] = input.with_shape((self.out_features,))
        return found

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, "Linear", "input")
        if input.rank == 0:
            raise Refused("Linear needs a tensor with a last dimension, not a single number", "input")
        if self.out_features < 1:
            raise Refused(f"`out_features` must be at least 1, not {self.out_features}", "out_features")
        self._in_features(input)
        return input.with_shape((*input.shape[:-1], self.out_features))

    def lower(self, net: Network, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        # The transpose stays in the product, so that the constant is the checkpoint's array as it is.
        product = net.matmul(net.to_rank(input, max(2, input.rank)), weight, transpose_b=True)
        if bias is not None:
            product = net.elementwise("SUM", product, bias)
        return net.reshape(product, net.result.shape)

    def fold(self, input: Array, weight: Array, bias: Array | None = None) -> Array:
        product = np.matmul(input.astype(np.float32), weight.astype(np.float32).T)
        return (product if bias is None else product + bias).astype(input.dtype)


class Bilinear(Module):
    """``input1 @ weight[k] @ input2 + bias[k]`` for each output ``k``, of vectors in the last dimension."""

    torch = "torch.nn.Bilinear"
    inferred = ("in1_features", "in2_features")
    weight_shapes = {"weight": "[out_features, in1_features, in2_features]", "bias": "[out_features]"}
    examples = (
        "Bilinear(3)(float32[N, 4], float32[N, 5]) -> float32[N, 3]",
        "Bilinear(1, bias = false)(float32[N, S, 4], float32[N, S, 2]) -> float32[N, S, 1]",
        "Bilinear(3)(float32[4], float32[5]) -> float32[3]",
        "Bilinear(3)(float16[N, 4], float16[N, 5]) -> float16[N, 3]",
    )
    spellings = (
        Spelling(
            "torch.nn.functional.bilinear",
            ("input1", "input2", "weight", "bias"),
            defaults={"bias": None},
            configure=lambda types, _: Bilinear(_outputs(types), "bias" in types),
            examples=(
                "bilinear(float32[N, 4], float32[N, 5], float32[3, 4, 5], float32[3]) -> float32[N, 3]",
                "bilinear(float32[S, 4], float32[S, 5], float32[3, 4, 5]) -> float32[S, 3]",
            ),
        ),
    )

    out_features: int
    bias: bool = True

    def torch_arguments(self, input1: TensorType, input2: TensorType) -> Mapping[str, object]:
        first, second = _widths(input1, input2)
        return {"in1_features": first, "in2_features": second}

    def weights(self, input1: TensorType, input2: TensorType) -> dict[str, TensorType]:
        found = {"weight": input1.with_shape((self.out_features, *_widths(input1, input2)))}
        if self.bias:
            found["bias"] = input1.with_shape((self.out_features,))
        return found

    def infer(self, input1: TensorType, input2: TensorType) -> TensorType:
        for name, input in (("input1", input1), ("input2", input2)):
            require_floating(input, "Bilinear", name)
            if input.rank == 0:
                raise Refused("Bilinear needs tensors with a last dimension, not single numbers", name)
        if input1.dtype is not input2.dtype:
            raise Refused(f"Bilinear needs one dtype, but has {input1.dtype} and {input2.dtype}", "input2")
        if self.out_features < 1:
            raise Refused(f"`out_features` must be at least 1, not {self.out_features}", "out_features")
        _widths(input1, input2)
        leading = (input1.shape[:-1], input2.shape[:-1])
        what = f"whether {input1} and {input2} are alike but for their last dimensions"
        pairs = zip(*leading, strict=False)
        if input1.rank != input2.rank or not all(same_dim(a, b, what, "input2") for a, b in pairs):
            raise Refused(f"{input1} and {input2} differ before their last dimensions", "input2")
        return input1.with_shape((*leading[0], self.out_features))

    def lower(
        self, net: Network, input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        rows = product(input1.shape[:-1])
        first, second = (net.reshape(x, (1, rows, x.shape[-1])) for x in (input1, input2))
        products = net.elementwise("PROD", net.matmul(first, weight), second)
        y = net.transpose(net.reduce("SUM", products, (2,), keepdim=False), (1, 0))
        if bias is not None:
            y = net.elementwise("SUM", y, bias)
        return net.reshape(y, net.result.shape)


def _outputs(types: Mapping[str, TensorType]) -> int:
    return weight_sizes(types, "bilinear", 3)[0]


def _widths(input1: TensorType, input2: TensorType) -> tuple[int, int]:
    what = "the last dimension, which Bilinear maps,"
    return static(input1.shape[-1], what, "input1"), static(input2.shape[-1], what, "input2")
