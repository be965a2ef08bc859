"""Padding: one TensorRT slice that starts before the tensor and ends after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from trtdsl.ops.base import Function
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_at_most, require_fit
from trtdsl.types import Dim, TensorType, less_equal, maximum, minimum, surely
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor

Mode = Literal["constant", "reflect", "replicate", "circular"]
Amounts = tuple[tuple[Dim, Dim], ...]

_SAMPLING = {"constant": "FILL", "reflect": "REFLECT", "replicate": "CLAMP", "circular": "WRAP"}


def padded_type(x: TensorType, amounts: Amounts, mode: str, about: str) -> TensorType:
    """The type with ``amounts`` (before, after) added to the last dimensions; negative ones crop."""
    kept = x.rank - len(amounts)
    for size, (before, after) in zip(x.shape[kept:], amounts, strict=True):
        for amount, opposite in ((before, after), (after, before)):
            _check_amount(size, amount, opposite, mode, about)
        # PyTorch cuts first where it fills or wraps afterwards, and leaves an element where it does not.
        first = mode in ("constant", "circular")
        left = size + minimum(before, 0) + minimum(after, 0) if first else size + before + after
        require_at_most(0 if first else 1, left, f"cropping dimension {size} leaves {left} elements", about)
    return x.with_shape((*x.shape[:kept], *_padded(x.shape[kept:], amounts)))


def _check_amount(size: Dim, amount: Dim, opposite: Dim, mode: str, about: str) -> None:
    """PyTorch's limits: a reflection does not repeat the edge, a wrap goes round at most once."""
    if mode == "reflect":
        message = f"reflection by {amount} needs a dimension larger than {size}"
        require_at_most(amount + 1, size, message, about)
    elif mode == "circular":
        left = size + minimum(opposite, 0)
        require_at_most(
            amount, left, f"circular padding by {amount} needs a dimension larger than {left}", about
        )
    elif mode == "replicate":
        require_at_most(1, size, "replication needs a dimension that is not empty", about)


def lower_padding(net: Network, x: Tensor, amounts: Amounts, mode: str, value: float = 0.0) -> Tensor:
    """``x`` padded as :func:`padded_type` says, in one layer; where it wraps, cropped first by another."""
    if all(amount == 0 for sides in amounts for amount in sides):
        return x
    sizes = _padded(x.shape[x.rank - len(amounts) :], amounts)
    if mode == "circular" and (crops := _crops(amounts)):
        # PyTorch wraps what is left after cropping; a slice wraps the whole.
        x = lower_padding(net, x, crops, "constant")
        amounts = tuple((maximum(before, 0), maximum(after, 0)) for before, after in amounts)
    kept = x.rank - len(amounts)
    start = (*(0,) * kept, *(-before for before, _ in amounts))
    shape = (*x.shape[:kept], *sizes)
    if all(surely(less_equal, amount, 0) for sides in amounts for amount in sides):
        return net.slice(x, start, shape)
    fill = net.filled((), value, x.dtype) if mode == "constant" and value != 0 else None
    return net.slice(x, start, shape, mode=_SAMPLING[mode], fill=fill)


def _padded(sizes: Sequence[Dim], amounts: Amounts) -> list[Dim]:
    return [size + before + after for size, (before, after) in zip(sizes, amounts, strict=True)]


def _crops(amounts: Amounts) -> Amounts | None:
    """The negative amounts alone, None if there are none."""
    found = tuple((minimum(before, 0), minimum(after, 0)) for before, after in amounts)
    return found if any(amount != 0 for sides in found for amount in sides) else None


def pairs(pad: Sequence[Dim]) -> Amounts:
    """PyTorch's flat list, last dimension first, as (before, after) of each dimension in order."""
    return tuple(zip(pad[::2], pad[1::2], strict=True))[::-1]


def padded_by_torch(torch: Any, x: Any, pad: Sequence[Dim], mode: str) -> Any:
    """PyTorch's padding in a mode that only moves values, of every dtype.

    No release of PyTorch reflects or replicates bools on the CPU, and 2.5 does not do it in float16: float32
    holds both exactly.
    """
    wide = x.float() if x.dtype in (torch.bool, torch.float16) else x
    return torch.nn.functional.pad(wide, tuple(pad), mode=mode).to(x.dtype)


_REFLECTABLE = {2: (2, 3), 4: (3, 4), 6: (4, 5)}
"""Ranks that PyTorch takes for 2, 4 and 6 amounts in every mode but constant."""


class Pad(Function):
    """The last dimensions made longer (or, by negative amounts, shorter) at both ends.

    ``pad`` counts from the last dimension: ``(left, right, top, bottom)``. ``mode`` says what stands there:
    ``constant`` the ``value``, ``reflect`` the mirror image without the edge, ``replicate`` the edge,
    ``circular`` the other end.
    """

    torch = "torch.nn.functional.pad"
    examples = (
        "pad((1, 2))(float32[N, 3, 8]) -> float32[N, 3, 11]",
        "pad((1, 1, 2, 2), value = 1.5)(float32[N, 3, H, W]) -> float32[N, 3, H + 4, W + 2]",
        "pad((-1, 2, 0, -3))(float32[N, 3, H, W]) -> float32[N, 3, H - 3, W + 1]",
        "pad((-1, -2))(float32[N, 8]) -> float32[N, 5]",
        'pad((1, 2, 3, 0), mode = "reflect")(float32[N, 3, H, W]) -> float32[N, 3, H + 3, W + 3]',
        'pad((3, 1), mode = "replicate")(float32[N, 3, 2]) -> float32[N, 3, 6]',
        'pad((2, 1, 0, 3), mode = "circular")(float16[N, 3, H, W]) -> float16[N, 3, H + 3, W + 3]',
        "pad((0, 1), value = -3)(int64[N, 4]) -> int64[N, 5]",
        "pad((2, 0))(bool[N, 4]) -> bool[N, 6]",
        "pad(())(float32[]) -> float32[]",
    )

    pad: tuple[Dim, ...]
    mode: Mode = "constant"
    value: float | None = None

    def infer(self, input: TensorType) -> TensorType:
        if len(self.pad) % 2:
            raise Refused(
                f"`pad` needs an even count of numbers, two per dimension, not {len(self.pad)}", "pad"
            )
        if len(self.pad) > 2 * input.rank:
            raise Refused(
                f"`pad` names {len(self.pad) // 2} dimensions of a tensor of rank {input.rank}", "pad"
            )
        if self.mode != "constant":
            self._check_reflectable(input)
        elif self.value is not None:
            require_fit(self.value, input.dtype, "value")
        return padded_type(input, pairs(self.pad), self.mode, "pad")

    def _check_reflectable(self, input: TensorType) -> None:
        if self.value not in (None, 0):
            raise Refused(f'`value` has no meaning with mode "{self.mode}"', "value")
        ranks = _REFLECTABLE.get(len(self.pad), ())
        if input.rank not in ranks:
            raise Refused(
                f'mode "{self.mode}" pads the last dimension of rank 2 or 3, the last two of rank 3 or 4, '
                f"the last three of rank 4 or 5; here are {len(self.pad)} numbers for rank {input.rank}",
                "pad",
            )

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return lower_padding(
            net, input, pairs(self.pad), self.mode, 0.0 if self.value is None else self.value
        )

    def fold(self, input: Array) -> Array | None:
        known = [size for size in self.pad if isinstance(size, int)]
        if self.mode != "constant" or len(known) != len(self.pad):
            return None
        sides = [*zip(known[::2], known[1::2], strict=True)][::-1]
        sides = [(0, 0)] * (input.ndim - len(sides)) + sides
        kept = tuple(
            slice(max(-before, 0), size - max(-after, 0))
            for size, (before, after) in zip(input.shape, sides, strict=True)
        )
        longer = [(max(before, 0), max(after, 0)) for before, after in sides]
        value = np.asarray(0 if self.value is None else self.value).astype(input.dtype)
        return np.pad(input[kept], longer, constant_values=value) if longer else input

    def reference(self, torch: Any, input: Any) -> Any:
        if self.mode != "constant":
            return padded_by_torch(torch, input, self.pad, self.mode)
        kept = input.dim() - len(self.pad) // 2
        sizes = (*input.shape[:kept], *_padded(input.shape[kept:], pairs(self.pad)))
        # Not every release of PyTorch crops to nothing.
        return input.new_empty(sizes) if 0 in sizes else None
