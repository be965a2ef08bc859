"""Element-by-element steps that several families share, with PyTorch's meaning where TensorRT's differs.

In: tensors of one dtype.  Out: tensors.  TensorRT has neither ``<=`` nor ``!=`` nor ``trunc``, and its
arithmetic knows no bool and only a quantised int8.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trtdsl.ops.refused import Refused
from trtdsl.types import DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

_SMALL = (DType.BOOL, DType.INT8, DType.UINT8)


def computed(x: TensorType, about: str = "input") -> TensorType:
    """The type itself; refused where nothing can be computed in its dtype."""
    if x.dtype is DType.FLOAT8:
        raise Refused(f"no operator computes in {x.dtype}", about, help="dequantize or cast it first")
    return x


def without_overflow(dtype: DType, what: str) -> DType:
    """The dtype itself; refused where PyTorch wraps round and TensorRT does not promise to."""
    if dtype in (DType.INT8, DType.UINT8):
        raise Refused(
            f"{what} in {dtype} wraps round on overflow in PyTorch, which TensorRT cannot do",
            help="cast to int32 first",
        )
    return dtype


def numeric(dtype: DType) -> DType:
    """The dtype in which TensorRT compares and orders values of this one."""
    return DType.INT32 if dtype in _SMALL else dtype


def to_bool(net: Network, x: Tensor) -> Tensor:
    """``x != 0``."""
    if x.dtype is DType.BOOL:
        return x
    return not_equal(net, x, net.scalar(0, x))


def negate(net: Network, condition: Tensor) -> Tensor:
    """``not condition``."""
    return net.unary("NOT", condition)


def not_equal(net: Network, a: Tensor, b: Tensor) -> Tensor:
    """``a != b``, true where one is NaN."""
    return negate(net, net.elementwise("EQUAL", a, b))


def less_equal(net: Network, a: Tensor, b: Tensor) -> Tensor:
    """``a <= b``; the negation of ``a > b`` would be true for NaN."""
    if not a.dtype.is_floating:
        return negate(net, net.elementwise("GREATER", a, b))
    return net.elementwise("OR", net.elementwise("LESS", a, b), net.elementwise("EQUAL", a, b))


def scaled(net: Network, x: Tensor, factor: float) -> Tensor:
    """``x * factor``."""
    return x if factor == 1 else net.elementwise("PROD", x, net.scalar(factor, x))


def shifted(net: Network, x: Tensor, offset: float) -> Tensor:
    """``x + offset``."""
    return x if offset == 0 else net.elementwise("SUM", x, net.scalar(offset, x))


Bound = int | float | None


def require_reachable(dtype: DType, low: Bound, high: Bound, names: tuple[str, str]) -> None:
    """Refuse bounds between which an integer dtype has no number: a low one above its range, or a high
    one below it."""
    least, most = dtype.limits
    beyond = (low is not None and low > most, high is not None and high < least)
    for name, bound, is_beyond in zip(names, (low, high), beyond, strict=True):
        if is_beyond:
            raise Refused(f"{name} {bound} is out of the range of {dtype}", name)


def in_range(bound: int | float, dtype: DType) -> int | float:
    """The bound as a number of the dtype: one beyond the range of an integer dtype is the end of the
    range, one beyond that of a float infinity, so that neither bounds anything."""
    if not dtype.is_floating:
        least, most = dtype.limits
        return int(min(max(bound, least), most))
    return bound if dtype.holds(bound) else math.copysign(math.inf, bound)


def clamped(net: Network, x: Tensor, low: Bound, high: Bound) -> Tensor:
    """``min(max(x, low), high)`` in the dtype of ``x``; a bound beyond its range is none."""
    dtype = x.dtype
    if dtype.is_floating and low is not None and high is not None:
        low, high = in_range(low, dtype), in_range(high, dtype)
        if -math.inf < low <= high < math.inf:
            return net.activation("CLIP", x, low, high)
    wide = net.cast(x, numeric(dtype))
    for operation, bound in (("MAX", low), ("MIN", high)):
        if bound is not None and (dtype.is_floating or dtype.holds(bound)):
            wide = net.elementwise(operation, wide, net.scalar(bound, wide))
    return net.cast(wide, dtype)


def clamp_by_torch(torch: Any, x: Any, low: Bound, high: Bound) -> Any:
    """What :func:`clamped` computes, by PyTorch, some of whose releases refuse bounds beyond the range, and
    some of which leave out one that is not a number.
    """
    if any(bound is not None and math.isnan(bound) for bound in (low, high)):
        return torch.full_like(x, math.nan)
    if x.dtype == torch.float64:
        return torch.clamp(x, low, high)
    dtype = DType(str(x.dtype).removeprefix("torch."))
    bounds = (None if bound is None else in_range(bound, dtype) for bound in (low, high))
    return torch.clamp(x, *bounds)


def widened_by_torch(torch: Any, x: Any) -> Any:
    """A tensor of half precision in float32, for what not every release of PyTorch computes as that."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def truncated(net: Network, x: Tensor) -> Tensor:
    """``x`` rounded towards zero, for floating-point dtypes."""
    negative = net.elementwise("LESS", x, net.scalar(0, x))
    return net.select(negative, net.unary("CEIL", x), net.unary("FLOOR", x))


def floored_remainder(net: Network, x: Tensor, y: Tensor) -> Tensor:
    """``x - floor(x / y) * y``."""
    whole = net.elementwise("FLOOR_DIV", x, y)
    return net.elementwise("SUB", x, net.elementwise("PROD", whole, y))


def cast(net: Network, x: Tensor, dtype: DType) -> Tensor:
    """``x.to(dtype)``: bool is ``x != 0`` and uint8 wraps round, which a cast of TensorRT's need not do."""
    if dtype is DType.BOOL:
        return to_bool(net, net.cast(x, numeric(x.dtype)) if x.dtype is not DType.BOOL else x)
    if dtype is DType.UINT8 and x.dtype not in (DType.BOOL, DType.UINT8) and x.array is None:
        numbers = net.cast(x, DType.INT64 if x.dtype is DType.INT64 else DType.INT32)
        x = floored_remainder(net, numbers, net.scalar(256, numbers))
    return net.cast(x, dtype)
