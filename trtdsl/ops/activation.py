"""Activation functions of ``torch.nn.functional`` and the modules of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from trtdsl.ops.arithmetic_layers import computed, scaled
from trtdsl.ops.base import Function, Spelling
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import floating, require_floating, same_dim, type_of, wrap_dim
from trtdsl.types import TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Activation(Function, abstract=True):
    """A function of each element, for floating-point tensors only."""

    kind: ClassVar[str] = ""
    ignored = ("inplace",)

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, f"{self.name}", "input")
        return computed(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.activation(self.kind, input)


class Elu(Activation):
    """``input`` where it is positive, else ``alpha * (e ** input - 1)``."""

    torch = "torch.nn.functional.elu"
    examples = (
        "elu()(float32[N, 8]) -> float32[N, 8]",
        "elu(alpha = 0.5)(float32[N, 8]) -> float32[N, 8]",
    )
    spellings = (Spelling("torch.nn.ELU", ("alpha",)),)

    alpha: float = 1.0

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.activation("ELU", input, self.alpha)


class Celu(Activation):
    """``input`` where it is positive, else ``alpha * (e ** (input / alpha) - 1)``."""

    torch = "torch.nn.functional.celu"
    examples = (
        "celu()(float32[N, 8]) -> float32[N, 8]",
        "celu(alpha = 2.0)(float32[N, 8]) -> float32[N, 8]",
    )
    spellings = (Spelling("torch.nn.CELU", ("alpha",)),)

    alpha: float = 1.0

    def infer(self, input: TensorType) -> TensorType:
        if self.alpha == 0:
            raise Refused("alpha must not be 0", "alpha")
        return super().infer(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        negative = net.elementwise("MIN", input, net.scalar(0, input))
        bent = net.activation("ELU", scaled(net, negative, 1 / self.alpha), 1.0)
        return net.elementwise("SUM", net.activation("RELU", input), scaled(net, bent, self.alpha))


# torch.nn.SELU's constants, which PyTorch calls alpha and scale.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


class Selu(Activation):
    """``scale * elu(input, alpha)`` with alpha = 1.6732632 and scale = 1.0507009."""

    torch = "torch.nn.functional.selu"
    examples = ("selu()(float32[N, 8]) -> float32[N, 8]", "selu()(float32[]) -> float32[]")
    spellings = (Spelling("torch.nn.SELU"),)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.activation("SELU", input, _SELU_ALPHA, _SELU_SCALE)


class Gelu(Activation):
    """``input * Phi(input)``, the normal distribution by ``erf`` or approximated by ``tanh``."""

    torch = "torch.nn.functional.gelu"
    examples = (
        "gelu()(float32[N, S, 8]) -> float32[N, S, 8]",
        'gelu(approximate = "tanh")(float32[N, 8]) -> float32[N, 8]',
        "gelu()(float16[N, 8]) -> float16[N, 8]",
    )
    spellings = (Spelling("torch.nn.GELU", ("approximate",)),)

    approximate: Literal["none", "tanh"] = "none"

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.activation("GELU_TANH" if self.approximate == "tanh" else "GELU_ERF", input)


class Silu(Activation):
    """``input * sigmoid(input)``, also called swish."""

    torch = "torch.nn.functional.silu"
    examples = (
        "silu()(float32[N, 8, H, W]) -> float32[N, 8, H, W]",
        "silu()(float16[N, 8]) -> float16[N, 8]",
    )
    spellings = (Spelling("torch.nn.SiLU"),)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.elementwise("PROD", input, net.activation("SIGMOID", input))


class Mish(Activation):
    """``input * tanh(softplus(input))``."""

    torch = "torch.nn.functional.mish"
    examples = ("mish()(float32[N, 8]) -> float32[N, 8]", "mish()(float16[]) -> float16[]")
    spellings = (Spelling("torch.nn.Mish"),)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.elementwise("PROD", input, net.activation("TANH", softplus(net, input)))


class Promoting(Activation, abstract=True):
    """An activation that computes in float32 for integers and bools."""

    ignored = ()

    def infer(self, input: TensorType) -> TensorType:
        return input.with_dtype(floating(computed(input).dtype))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.activation(self.kind, net.cast(input, net.result.dtype))


class Sigmoid(Promoting):
    """``1 / (1 + e ** -input)``."""

    torch = "torch.sigmoid"
    examples = (
        "sigmoid()(float32[N, 8]) -> float32[N, 8]",
        "sigmoid()(int32[N]) -> float32[N]",
        "sigmoid()(float32[]) -> float32[]",
    )
    spellings = (Spelling("torch.nn.Sigmoid"),)
    kind = "SIGMOID"

    def fold(self, input: Array) -> Array:
        return (1 / (1 + np.exp(-input.astype(np.float64)))).astype(self.infer(type_of(input)).dtype.numpy)


class Tanh(Promoting):
    """The hyperbolic tangent."""

    torch = "torch.tanh"
    examples = ("tanh()(float32[N, 8]) -> float32[N, 8]", "tanh()(bool[4]) -> float32[4]")
    spellings = (Spelling("torch.nn.Tanh"),)
    kind = "TANH"

    def fold(self, input: Array) -> Array:
        return np.tanh(input.astype(np.float64)).astype(self.infer(type_of(input)).dtype.numpy)


class Softsign(Promoting):
    """``input / (1 + |input|)``."""

    torch = "torch.nn.functional.softsign"
    examples = ("softsign()(float32[N, 8]) -> float32[N, 8]", "softsign()(int32[N]) -> float32[N]")
    spellings = (Spelling("torch.nn.Softsign"),)
    kind = "SOFTSIGN"

    def infer(self, input: TensorType) -> TensorType:
        return super().infer(without_bool(input, "softsign"))


class Tanhshrink(Promoting):
    """``input - tanh(input)``."""

    torch = "torch.nn.functional.tanhshrink"
    examples = ("tanhshrink()(float32[N, 8]) -> float32[N, 8]",)
    spellings = (Spelling("torch.nn.Tanhshrink"),)

    def infer(self, input: TensorType) -> TensorType:
        return super().infer(without_bool(input, "tanhshrink"))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        x = net.cast(input, net.result.dtype)
        return net.elementwise("SUB", x, net.activation("TANH", x))


def without_bool(input: TensorType, what: str) -> TensorType:
    """The type itself; refused where it is bool."""
    if input.dtype.is_bool:
        raise Refused(f"{what} does not take bool tensors", "input")
    return input


def softplus(net: Network, x: Tensor) -> Tensor:
    """``log(1 + e ** x)`` as ``max(x, 0) + log(1 + e ** -|x|)``, which cannot overflow."""
    rest = net.activation("SOFTPLUS", net.unary("NEG", net.unary("ABS", x)), 1.0, 1.0)
    return net.elementwise("SUM", net.activation("RELU", x), rest)


class Softplus(Activation):
    """``log(1 + e ** (beta * input)) / beta``, and the input itself where ``beta * input > threshold``."""

    torch = "torch.nn.functional.softplus"
    examples = (
        "softplus()(float32[N, 8]) -> float32[N, 8]",
        "softplus(beta = 2.0, threshold = 0.5)(float32[N, 8]) -> float32[N, 8]",
        "softplus()(float16[N, 8]) -> float16[N, 8]",
    )
    spellings = (Spelling("torch.nn.Softplus", ("beta", "threshold")),)
    ignored = ()

    beta: float = 1.0
    threshold: float = 20.0

    def infer(self, input: TensorType) -> TensorType:
        if self.beta == 0:
            raise Refused("beta must not be 0", "beta")
        return super().infer(input)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        z = scaled(net, input, self.beta)
        linear = net.elementwise("GREATER", z, net.scalar(self.threshold, z))
        return net.select(linear, input, scaled(net, softplus(net, z), 1 / self.beta))


class Logsigmoid(Activation):
    """``log(sigmoid(input))``."""

    torch = "torch.nn.functional.logsigmoid"
    examples = ("logsigmoid()(float32[N, 8]) -> float32[N, 8]",)
    spellings = (Spelling("torch.nn.LogSigmoid"),)
    ignored = ()

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.unary("NEG", softplus(net, net.unary("NEG", input)))


class Glu(Function):
    """``a * sigmoid(b)`` of the two halves a and b along ``dim``."""

    torch = "torch.nn.functional.glu"
    examples = (
        "glu()(float32[N, 8]) -> float32[N, 4]",
        "glu(dim = 1)(float32[N, 6, H, W]) -> float32[N, 3, H, W]",
        "glu(dim = 0)(float32[2 * N, 3]) -> float32[N, 3]",
    )
    spellings = (Spelling("torch.nn.GLU", ("dim",)),)

    dim: int = -1

    def infer(self, input: TensorType) -> TensorType:
        require_floating(input, "glu", "input")
        if input.rank == 0:
            raise Refused("glu needs at least one dimension to halve", "input")
        axis = wrap_dim(self.dim, input.rank)
        half = input.shape[axis] // 2
        if not same_dim(2 * half, input.shape[axis], "glu halves an even dimension", "dim"):
            raise Refused(f"glu halves dimension {axis}, but {input.shape[axis]} is odd", "dim")
        return input.with_shape((*input.shape[:axis], half, *input.shape[axis + 1 :]))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        shape = net.result.shape
        axis = wrap_dim(self.dim, input.rank)
        start = tuple(shape[axis] if i == axis else 0 for i in range(input.rank))
        gate = net.activation("SIGMOID", net.slice(input, start, shape))
        return net.elementwise("PROD", net.slice(input, (0,) * input.rank, shape), gate)
