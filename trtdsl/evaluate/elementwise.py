"""Layers that act on each element: activations, unary, binary, select, scale, casts.

Formulas are those of ``ActivationType``, ``ElementWiseOperation``, ``UnaryOperation``, ``IScaleLayer`` and
``ICastLayer`` in NvInfer.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from .registry import Context, LayerNode, Operands, evaluates, floating

Tensor = torch.Tensor


def _gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (0.044715 * x**3 + x)))


def _selu(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.where(x > 0, beta * x, beta * (alpha * torch.exp(x.clamp(max=0)) - alpha))


ACTIVATIONS: Mapping[str, Callable[[Tensor, float, float], Tensor]] = {
    "RELU": lambda x, a, b: torch.relu(x),
    "SIGMOID": lambda x, a, b: torch.sigmoid(x),
    "TANH": lambda x, a, b: torch.tanh(x),
    "LEAKY_RELU": lambda x, a, b: torch.where(x >= 0, x, a * x),
    "ELU": lambda x, a, b: torch.where(x >= 0, x, a * torch.expm1(x.clamp(max=0))),
    "SELU": _selu,
    "SOFTSIGN": lambda x, a, b: x / (1 + x.abs()),
    "SOFTPLUS": lambda x, a, b: a * torch.logaddexp(b * x, torch.zeros_like(x)),
    # A bound beyond the range of a half is infinite as one, which PyTorch does not convert by itself.
    "CLIP": lambda x, a, b: x.minimum(torch.tensor(b, dtype=x.dtype)).maximum(torch.tensor(a, dtype=x.dtype)),
    "HARD_SIGMOID": lambda x, a, b: (a * x + b).clamp(0, 1),
    "SCALED_TANH": lambda x, a, b: a * torch.tanh(b * x),
    "THRESHOLDED_RELU": lambda x, a, b: torch.where(x > a, x, torch.zeros_like(x)),
    "GELU_ERF": lambda x, a, b: 0.5 * x * (1 + torch.erf(math.sqrt(0.5) * x)),
    "GELU_TANH": lambda x, a, b: _gelu_tanh(x),
}


@evaluates("ACTIVATION")
def activation(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """``f(x)`` of ``ActivationType``, with the layer's alpha and beta."""
    kind = node.layer.type.name
    x = operands[0]
    if kind not in ACTIVATIONS:
        node.refuse(f"activation {kind} cannot be evaluated")
    if kind != "RELU":
        floating(node, x)
    return ACTIVATIONS[kind](x, float(node.layer.alpha), float(node.layer.beta))


@evaluates("PARAMETRIC_RELU")
def parametric_relu(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """``x`` where ``x >= 0``, else ``slope * x``; slopes broadcast to the input."""
    x = floating(node, operands[0])
    return torch.where(x >= 0, x, operands[1] * x)


UNARIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "EXP": torch.exp,
    "LOG": torch.log,
    "SQRT": torch.sqrt,
    "RECIP": torch.reciprocal,
    "ABS": torch.abs,
    "NEG": torch.neg,
    "SIN": torch.sin,
    "COS": torch.cos,
    "TAN": torch.tan,
    "SINH": torch.sinh,
    "COSH": torch.cosh,
    "ASIN": torch.asin,
    "ACOS": torch.acos,
    "ATAN": torch.atan,
    "ASINH": torch.asinh,
    "ACOSH": torch.acosh,
    "ATANH": torch.atanh,
    "CEIL": torch.ceil,
    "FLOOR": torch.floor,
    "ERF": torch.erf,
    "NOT": torch.logical_not,
    "SIGN": torch.sign,
    "ROUND": torch.round,
    "ISINF": torch.isinf,
    "ISNAN": torch.isnan,
}

INTEGER_UNARIES = frozenset({"ABS", "NEG", "SIGN"})


@evaluates("UNARY")
def unary(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """``f(x)`` of ``UnaryOperation``; ROUND takes halves to the even neighbour."""
    operation = node.layer.op.name
    x = operands[0]
    if operation not in UNARIES:
        node.refuse(f"operation {operation} cannot be evaluated")
    if (operation == "NOT") != (x.dtype == torch.bool):
        node.refuse(f"{operation} of a {x.dtype} tensor")
    if not x.is_floating_point() and operation not in INTEGER_UNARIES | {"NOT"}:
        node.refuse(f"{operation} of a {x.dtype} tensor")
    return UNARIES[operation](x)


def _divide(x: Tensor, y: Tensor) -> Tensor:
    """Quotient; of integers, truncated towards zero as in C++."""
    if x.is_floating_point():
        return x / y
    # The processor traps where the smallest integer is divided by -1; its negation wraps round to itself.
    negates = y == -1
    return torch.where(negates, -x, torch.div(x, torch.where(negates, 1, y), rounding_mode="trunc"))


def _floor_divide(x: Tensor, y: Tensor) -> Tensor:
    return torch.floor(x / y) if x.is_floating_point() else torch.div(x, y, rounding_mode="floor")


BINARIES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "SUM": torch.add,
    "PROD": torch.mul,
    "MAX": torch.maximum,
    "MIN": torch.minimum,
    "SUB": torch.sub,
    "DIV": _divide,
    "POW": torch.pow,
    "FLOOR_DIV": _floor_divide,
    "AND": torch.logical_and,
    "OR": torch.logical_or,
    "XOR": torch.logical_xor,
    "EQUAL": torch.eq,
    "GREATER": torch.gt,
    "LESS": torch.lt,
}

LOGICAL = frozenset({"AND", "OR", "XOR"})


@evaluates("ELEMENTWISE")
def elementwise(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """``f(x, y)`` of ``ElementWiseOperation``; lengths of 1 are broadcast, ranks are equal."""
    operation = node.layer.op.name
    x, y = operands[0], operands[1]
    if operation not in BINARIES:
        node.refuse(f"operation {operation} cannot be evaluated")
    if x.dtype != y.dtype or x.dim() != y.dim():
        node.refuse(f"{operation} of {x.dtype}{tuple(x.shape)} and {y.dtype}{tuple(y.shape)}")
    if operation in LOGICAL and x.dtype != torch.bool:
        node.refuse(f"{operation} of {x.dtype} tensors")
    if x.dtype == torch.bool and operation not in LOGICAL | {"EQUAL"}:
        node.refuse(f"{operation} of boolean tensors")
    if not x.is_floating_point():
        _check_integers(node, operation, y)
    return BINARIES[operation](x, y)


def _check_integers(node: LayerNode, operation: str, y: Tensor) -> None:
    """Integer division by zero and negative integer powers are undefined."""
    if operation in ("DIV", "FLOOR_DIV") and bool((y == 0).any()):
        node.refuse("integer division by zero")
    if operation == "POW" and bool((y < 0).any()):
        node.refuse("an integer to a negative power")


@evaluates("SELECT")
def select(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """The second input where the condition is true, else the third."""
    return torch.where(operands[0], operands[1], operands[2])


@evaluates("SCALE")
def scale(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """``(x * scale + shift) ** power``.

    UNIFORM has one coefficient, CHANNEL one for each index of ``channel_axis``, ELEMENTWISE one for each
    element of the dimensions from ``channel_axis`` on.  Absent weights are 1, 0 and 1.
    """
    x = floating(node, operands[0])
    axis, mode = node.layer.channel_axis, node.layer.mode.name
    shapes = {
        "UNIFORM": (1,),
        "CHANNEL": (x.shape[axis], *(1 for _ in range(axis + 1, x.dim()))),
        "ELEMENTWISE": tuple(x.shape[axis:]),
    }
    factor, shift, power = (context.weights(node, slot) for slot in ("scale", "shift", "power"))
    result = x
    if factor is not None:
        result = result * factor.reshape(shapes[mode])
    if shift is not None:
        result = result + shift.reshape(shapes[mode])
    return result if power is None else torch.pow(result, power.reshape(shapes[mode]))


_SATURATED_BITS = 32
"""The integers that infinities become the ends of; of narrower ones TensorRT says that they are undefined."""


@evaluates("CAST", "IDENTITY")
def cast(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """The values in another type: floats to integers are truncated, anything but 0 is true.

    An infinity becomes the largest or the smallest int32 or int64 and NaN 0, as GPUs convert: often a `where`
    after it leaves out what came of log(0). What else the integer type cannot hold is refused: TensorRT says
    of uint8 that the result is undefined, and of the others nothing.
    """
    x = operands[0]
    target = context.storage(node.dtypes[0])
    if target == torch.bool:
        return x != 0
    if target.is_floating_point or x.dtype == torch.bool or x.dtype == target:
        return x.to(context.compute) if target.is_floating_point else x.to(target)
    info = torch.iinfo(target)
    whole = x.trunc() if x.is_floating_point() else x.to(torch.int64)  # whose bounds int32 cannot hold
    inside = (whole >= info.min) & (whole <= info.max)
    if target == torch.int64 and x.is_floating_point():
        inside &= whole < 2.0**63
    if x.is_floating_point() and info.bits >= _SATURATED_BITS:
        is_finite = torch.isfinite(x)
        bound = torch.where(x > 0, info.max, info.min).to(target)
        limits = torch.where(torch.isnan(x), torch.zeros((), dtype=target), bound)
        inside |= ~is_finite
        saturated = torch.where(is_finite, torch.where(is_finite, whole, 0).to(target), limits)
    else:
        saturated = whole
    if not bool(inside.all()):
        place = (~inside).nonzero()[0].tolist()
        what = f"element {place} is {x[tuple(place)].item():.9g}" if place else f"its input is {x.item():.9g}"
        count = int((~inside).sum()) - 1
        more = f"; {count} more {'is' if count == 1 else 'are'} out of range" if count else ""
        undefined = f"which {node.dtypes[0]} cannot hold: what TensorRT makes of it is undefined"
        node.refuse(f"{what}, {undefined}{more}")
    return saturated.to(target)
