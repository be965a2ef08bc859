"""Softmax and its relatives, along one dimension that must always be named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtdsl.ops.arithmetic_layers import cast, computed
from trtdsl.ops.base import Function, Spelling
from trtdsl.ops.rules import require_floating, wrap_dim
from trtdsl.types import DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


class Normalized(Function, abstract=True):
    """A function of one dimension, computed in ``dtype`` where one is given."""

    dim: int
    dtype: DType | None = None

    def infer(self, input: TensorType) -> TensorType:
        result = computed(input).with_dtype(self.dtype or input.dtype)
        require_floating(result, self.name, "input")
        wrap_dim(self.dim, input.rank)
        return result

    def lower(self, net: Network, input: Tensor) -> Tensor:
        x = cast(net, input, net.result.dtype)
        if x.rank < 2:
            # ISoftMaxLayer takes no vectors.
            return net.reshape(self.emit(net, net.reshape(x, (1, *(x.shape or (1,)))), 1), x.shape)
        return self.emit(net, x, wrap_dim(self.dim, x.rank))

    def emit(self, net: Network, x: Tensor, axis: int) -> Tensor:
        """The layers, for rank 2 or more and a non-negative axis."""
        raise TypeError(f"{type(self).__name__} states no layers")


class Softmax(Normalized):
    """``e ** input`` divided by its sum over ``dim``."""

    torch = "torch.softmax"
    examples = (
        "softmax(dim = 1)(float32[N, 10]) -> float32[N, 10]",
        "softmax(dim = -1)(float32[N, 2, S, S]) -> float32[N, 2, S, S]",
        "softmax(dim = 0)(float32[N, 4]) -> float32[N, 4]",
        "softmax(1, dtype = float32)(float16[N, 4, H, W]) -> float32[N, 4, H, W]",
        "softmax(0, dtype = float32)(int32[S]) -> float32[S]",
        "softmax(0)(float32[]) -> float32[]",
    )
    spellings = (
        Spelling("torch.nn.Softmax", ("dim",)),
        Spelling("torch.nn.Softmax2d", fixed={"dim": -3}),
    )

    def emit(self, net: Network, x: Tensor, axis: int) -> Tensor:
        return net.softmax(x, axis)


class Softmin(Normalized):
    """``softmax(-input)``."""

    torch = "torch.nn.functional.softmin"
    examples = (
        "softmin(dim = 1)(float32[N, 10]) -> float32[N, 10]",
        "softmin(dim = -1, dtype = float32)(float16[N, 10]) -> float32[N, 10]",
    )
    spellings = (Spelling("torch.nn.Softmin", ("dim",)),)

    def emit(self, net: Network, x: Tensor, axis: int) -> Tensor:
        return net.softmax(net.unary("NEG", x), axis)


class LogSoftmax(Normalized):
    """``log(softmax(input))``, without the underflow of the inner one."""

    torch = "torch.log_softmax"
    examples = (
        "log_softmax(dim = 1)(float32[N, 10]) -> float32[N, 10]",
        "log_softmax(-1, dtype = float32)(float16[N, S]) -> float32[N, S]",
        "log_softmax(-1)(float32[]) -> float32[]",
        "log_softmax(0)(float32[S]) -> float32[S]",
    )
    spellings = (Spelling("torch.nn.LogSoftmax", ("dim",)),)

    def emit(self, net: Network, x: Tensor, axis: int) -> Tensor:
        shifted = net.elementwise("SUB", x, net.reduce("MAX", x, (axis,), True))
        total = net.reduce("SUM", net.unary("EXP", shifted), (axis,), True)
        return net.elementwise("SUB", shifted, net.unary("LOG", total))
