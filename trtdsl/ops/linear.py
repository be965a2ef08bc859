"""The affine map of the last dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trtdsl.ops.base import Module, Spelling, given_type, static
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_floating, require_rank
from trtdsl.types import TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


def _rows(types: Mapping[str, TensorType]) -> int:
    weight = given_type(types, "weight", "linear")
    require_rank(weight, (2,), "the weight of linear", "weight")
    return static(weight.shape[0], "the number of rows of the weight", "weight")


class Linear(Module):
    """``x @ weight.T + bias`` along the last dimension; every other dimension is a batch."""

    torch = "torch.nn.Linear"
    inferred = ("in_features",)
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
