"""ONNX's operators element by element."""

from __future__ import annotations

from functools import reduce
from typing import Any

from trtdsl.importers.onnx_node import RULES, Known, Node, Value, dtype_of, rule
from trtdsl.importers.program import Argument, Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import DType, shortest

_SAME = {
    "Abs": "abs", "Acos": "acos", "Acosh": "acosh", "Asin": "asin", "Asinh": "asinh", "Atan": "atan",
    "Atanh": "atanh", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp",
    "Floor": "floor", "IsNaN": "isnan", "Log": "log", "Mish": "mish", "Neg": "neg",
    "Reciprocal": "reciprocal", "Relu": "relu", "Round": "round", "Sigmoid": "sigmoid", "Sign": "sign",
    "Sin": "sin", "Sinh": "sinh", "Softplus": "softplus", "Softsign": "softsign", "Sqrt": "sqrt",
    "Tan": "tan", "Tanh": "tanh", "Not": "logical_not", "BitwiseNot": "bitwise_not", "HardSwish": "hardswish",
}  # fmt: skip
_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Equal": "eq", "Less": "lt", "LessOrEqual": "le",
    "Greater": "gt", "GreaterOrEqual": "ge", "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
    "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
}  # fmt: skip


def _register_same(operator: str, name: str) -> None:
    RULES[operator] = lambda node: node.one(name, self=node.tensor(0))


def _register_binary(operator: str, name: str) -> None:
    RULES[operator] = lambda node: between(node, name, 0, 1)


for _operator, _name in _SAME.items():
    _register_same(_operator, _name)
for _operator, _name in _BINARY.items():
    _register_binary(_operator, _name)


def between(node: Node, name: str, first: int | Value, second: int | Value, **more: Argument) -> Ref:
    """An operation of two operands, either of which may be a number."""
    if name.startswith("logical_"):
        return _logical(node, name, first, second)
    left, right = _pair(node, first, second)
    if isinstance(left, Ref) and name == "mul" and _is_one(right):
        return left
    return node.one(name, self=left, other=right, **more)


def _logical(node: Node, name: str, first: int | Value, second: int | Value) -> Ref:
    """An operation of truth values; one that changes nothing is none."""
    values = [node[each] if isinstance(each, int) else each for each in (first, second)]
    neutral = {"logical_and": True, "logical_or": False}.get(name)
    for value, other in (values, values[::-1]):
        if isinstance(value, Ref) and isinstance(other, Known) and other.array.size == 1:
            is_neutral = bool(other.array.reshape(-1)[0]) is neutral
            if is_neutral and other.array.ndim <= node.rank(value):
                return value
    left, right = map(node.tensor, values)
    return node.one(name, self=left, other=right)


def _is_one(factor: Argument) -> bool:
    return isinstance(factor, int) and not isinstance(factor, bool) and factor == 1


def _pair(node: Node, first: int | Value, second: int | Value) -> tuple[Argument, Argument]:
    first, second = (node[each] if isinstance(each, int) else each for each in (first, second))
    first, second = _lined_up(node, first, second)
    ranks = node.rank(first), node.rank(second)
    if isinstance(first, Known) and isinstance(second, Ref):
        return node.operand(first, ranks[1]), second
    left = node.tensor(first)
    return left, node.operand(second, ranks[0])


def _lined_up(node: Node, first: Value, second: Value) -> tuple[Value, Value]:
    """Operands of versions before 7, the second placed at an axis of the first."""
    axis = node.attribute("axis")
    if not node.attribute("broadcast") or axis is None:
        return first, second
    shape = node.type(second).shape
    behind = node.rank(first) - node.axis(axis, first) - len(shape)
    return first, node.reshape(second, (*shape, *(1,) * behind))


@rule("Div")
def _div(node: Node) -> Ref:
    if node.type(0).dtype.is_integer:
        return between(node, "div", 0, 1, rounding_mode="trunc")
    return between(node, "div", 0, 1)


@rule("Mod")
def _mod(node: Node) -> Ref:
    return between(node, "fmod" if node.attribute("fmod", 0) else "remainder", 0, 1)


@rule("Pow")
def _pow(node: Node) -> Ref:
    base, exponent = node.type(0), node.type(1)
    power: Value = node[1]
    if isinstance(power, Known) and power.array.size == 1 and power.array.ndim <= base.rank:
        value = power.array.reshape(-1)[0].item()
        if base.dtype.is_floating or (float(value).is_integer() and value >= 0):
            found = int(value) if float(value).is_integer() else value
            return node.one("pow", self=node.tensor(0), exponent=found)
    if exponent.dtype is not base.dtype:
        power = node.cast(node.tensor(1), base.dtype)
    return node.one("pow", self=node.tensor(0), exponent=node.tensor(power))


@rule("BitShift")
def _shift(node: Node) -> Ref:
    direction = "left" if node.attribute("direction") == "LEFT" else "right"
    return between(node, f"bitwise_{direction}_shift", 0, 1)


@rule("Max", "Min", "Sum", "Mean")
def _many(node: Node) -> Ref:
    name = {"Max": "maximum", "Min": "minimum"}.get(node.op, "add")
    values = [each for each in node.inputs if each is not None]
    total = reduce(lambda left, right: between(node, name, left, right), values[1:], values[0])
    if node.op == "Mean" and len(values) > 1:
        return node.one("div", input=node.tensor(total), other=len(values))
    return node.tensor(total)


@rule("IsInf")
def _is_inf(node: Node) -> Ref:
    positive, negative = node.attribute("detect_positive", 1), node.attribute("detect_negative", 1)
    if not positive and not negative:
        raise Refused("it looks for neither positive nor negative infinity")
    name = "isinf" if positive and negative else "isposinf" if positive else "isneginf"
    return node.one(name, self=node.tensor(0))


@rule("Where")
def _where(node: Node) -> Ref:
    condition = node.tensor(0)
    rank = max(node.rank(index) for index in range(3))
    first, second = node.operand(1, rank), node.operand(2, rank)
    if not isinstance(first, Ref) and not isinstance(second, Ref):
        first = node.tensor(1)
    whole = node.rank(condition) == rank or any(isinstance(each, Ref) for each in (first, second))
    if not whole:
        first = node.tensor(1)
    return node.one("where", condition=condition, self=first, other=second)


@rule("Cast")
def _cast(node: Node) -> Ref:
    import onnx

    return cast(node, dtype_of(onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to"))))


@rule("CastLike")
def _cast_like(node: Node) -> Value:
    value, dtype = node[0], node.type(1).dtype
    if isinstance(value, Known) and not value.is_symbolic and dtype is not DType.FLOAT8:
        return Known(value.array.astype(dtype.numpy), dtype.numpy)
    return cast(node, node.type(1).dtype)


def cast(node: Node, dtype: DType) -> Ref:
    """A cast; refused between types where ONNX and the language may disagree."""
    if DType.FLOAT8 in (dtype, node.type(0).dtype) and dtype is not node.type(0).dtype:
        raise Refused("the language converts from and to float8 by quantize and dequantize")
    return node.cast(node.tensor(0), dtype)


@rule("Clip")
def _clip(node: Node) -> Ref:
    bounds: list[Argument] = []
    for index, name in ((1, "min"), (2, "max")):
        value = node[index] if node.has(index) else None
        if value is None:
            bounds.append(node.attribute(name))
        else:
            bounds.append(node.operand(value, 0) if isinstance(value, Known) else value)
    low, high = bounds
    source = node.tensor(0)
    if not isinstance(low, Ref) and not isinstance(high, Ref):
        return clamped(node, source, low, high)
    # The upper bound is what counts where the bounds cross.
    if low is not None:
        source = node.one("maximum", input=source, other=node.tensor(1))
    return source if high is None else node.one("minimum", input=source, other=node.tensor(2))


def clamped(node: Node, source: Ref, low: Any, high: Any) -> Ref:
    """A tensor between two numbers, either of which may be None."""
    if low is None and high is None:
        return source
    given = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
    if (low, high) == (0, 6) and node.type(source).dtype.is_floating:
        return node.one("hardtanh", self=source, min_val=0.0, max_val=6.0)
    return node.one("clamp", self=source, **given)


# --- Activations ------------------------------------------------------------------------------------------


@rule("LeakyRelu")
def _leaky(node: Node) -> Ref:
    return node.one("leaky_relu", self=node.tensor(0), negative_slope=shortest(node.attribute("alpha", 0.01)))


@rule("Elu")
def _elu(node: Node) -> Ref:
    return node.one("elu", self=node.tensor(0), alpha=shortest(node.attribute("alpha", 1.0)))


@rule("Celu")
def _celu(node: Node) -> Ref:
    return node.one("celu", self=node.tensor(0), alpha=shortest(node.attribute("alpha", 1.0)))


_SELU = 1.67326319217681884765625, 1.05070102214813232421875


@rule("Selu")
def _selu(node: Node) -> Ref:
    alpha, gamma = node.attribute("alpha", _SELU[0]), node.attribute("gamma", _SELU[1])
    if abs(alpha - _SELU[0]) < 1e-6 and abs(gamma - _SELU[1]) < 1e-6:
        return node.one("selu", self=node.tensor(0))
    grown = node.one("elu", self=node.tensor(0), alpha=shortest(alpha))
    return node.one("mul", input=grown, other=shortest(gamma))


@rule("ThresholdedRelu")
def _thresholded(node: Node) -> Ref:
    return node.one(
        "threshold", self=node.tensor(0), threshold=shortest(node.attribute("alpha", 1.0)), value=0
    )


@rule("Gelu")
def _gelu(node: Node) -> Ref:
    return node.one("gelu", self=node.tensor(0), approximate=node.attribute("approximate", "none"))


@rule("Swish")
def _swish(node: Node) -> Ref:
    return swish(node, shortest(node.attribute("alpha", 1.0)))


def swish(node: Node, alpha: float) -> Ref:
    """``x * sigmoid(alpha * x)``."""
    source = node.tensor(0)
    if alpha == 1:
        return node.one("silu", self=source)
    gate = node.one("sigmoid", self=node.one("mul", input=source, other=alpha))
    return node.one("mul", input=source, other=gate)


@rule("HardSigmoid")
def _hard_sigmoid(node: Node) -> Ref:
    alpha, beta = shortest(node.attribute("alpha", 0.2)), shortest(node.attribute("beta", 0.5))
    return hard_sigmoid(node, node.tensor(0), alpha, beta)


def hard_sigmoid(node: Node, source: Ref, alpha: float, beta: float) -> Ref:
    """``clip(alpha * x + beta, 0, 1)``."""
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return node.one("hardsigmoid", self=source)
    scaled = node.one("mul", input=source, other=alpha)
    return node.one("clamp", self=node.one("add", input=scaled, other=beta), min=0, max=1)


@rule("Shrink")
def _shrink(node: Node) -> Ref:
    bias, lambd = shortest(node.attribute("bias", 0.0)), shortest(node.attribute("lambd", 0.5))
    source = node.tensor(0)
    if not node.type(source).dtype.is_floating:
        raise Refused("it shrinks integers")
    if bias == lambd:
        return node.one("softshrink", self=source, lambd=lambd)
    if bias == 0:
        return node.one("hardshrink", self=source, lambd=lambd)
    below = node.one("add", input=source, other=bias)
    above = node.one("sub", input=source, other=bias)
    is_below = node.one("lt", input=source, other=-lambd)
    is_above = node.one("gt", input=source, other=lambd)
    rest = node.one("where", condition=is_above, self=above, other=0)
    return node.one("where", condition=is_below, self=below, other=rest)


@rule("PRelu")
def _prelu(node: Node) -> Ref:
    slope, source = node[1], node.type(0)
    shape = node.type(slope).shape
    channels = source.shape[1] if source.rank > 1 else 1
    is_per_channel = shape == (1,) * len(shape) or (
        len(shape) == source.rank - 1 and shape[0] == channels and shape[1:] == (1,) * (len(shape) - 1)
    )
    if isinstance(slope, Known) and is_per_channel and source.dtype.is_floating and source.rank > 1:
        label = node.label((1, "weight"))
        return node.one(
            "prelu",
            self=node.tensor(0),
            weight=node.weight(1, "weight", label, "flat", lambda array: array.reshape(-1)),
        )
    given = node.tensor(0)
    below = node.one("mul", input=given, other=node.tensor(1))
    return node.one("where", condition=node.one("lt", input=given, other=0), self=below, other=given)


def softmax_like(node: Node, name: str) -> Ref:
    """Before version 13 the axes from one on were one axis."""
    source = node.tensor(0)
    type = node.type(source)
    if node.opset >= 13:
        return node.one(name, self=source, dim=node.axis(node.attribute("axis", -1)))
    axis = node.axis(node.attribute("axis", 1))
    if axis == type.rank - 1:
        return node.one(name, self=source, dim=axis)
    if all(size == 1 for size in type.shape[axis + 1 :]):
        return node.one(name, self=source, dim=axis)
    flat = node.one("flatten", self=source, start_dim=axis)
    return node.reshape(node.one(name, self=flat, dim=axis), type.shape)


@rule("Softmax")
def _softmax(node: Node) -> Ref:
    return softmax_like(node, "softmax")


@rule("LogSoftmax")
def _log_softmax(node: Node) -> Ref:
    return softmax_like(node, "log_softmax")


@rule("Identity", "Dropout")
def _identity(node: Node) -> Value | tuple[Value | None, ...]:
    if node.op == "Dropout" and _trains(node):
        raise Refused("it drops values at random, as in training")
    if len([name for name in node.outputs if name]) < 2:
        return node[0]
    type = node.type(0)
    mask = node.one("full", size=type.shape, fill_value=True, dtype=DType.BOOL)
    return node[0], mask


@rule("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
def _random(node: Node) -> Ref:
    raise Refused("it draws random numbers")


def _trains(node: Node) -> bool:
    training = node.inputs[2] if node.has(2) else None
    ratio = node.inputs[1] if node.has(1) else None
    if isinstance(ratio, Known) and not ratio.array.any():
        return False
    return isinstance(training, Ref) or (isinstance(training, Known) and bool(training.array.any()))
