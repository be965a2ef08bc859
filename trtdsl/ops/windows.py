"""Sliding windows over the last dimensions: what convolutions and pools have in common.

In: ``kernel_size = 3``, ``padding = (0, 1)``, a tensor type.  Out: a :class:`Window` with one number per
spatial dimension, checked, and the sizes it leaves.  TensorRT knows windows over two and three spatial
dimensions and a batch dimension in front; :func:`planes` brings tensors into that form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_at_most, require_elements, require_floating
from trtdsl.types import Dim, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


LARGEST_STRIDE = 100_000
"""``kMAX_STRIDE``, in TensorRT 8.5.3 and TensorRT-RTX 1.7.1."""


def volume_limit(spatial: int) -> int:
    """TensorRT's windows have fewer elements than this: 100,000 over two dimensions, 31,622,776 over three.

    ``MAX_KERNEL_DIMS_PRODUCT``, in TensorRT 8.5.3 and TensorRT-RTX 1.7.1; one dimension becomes two.
    """
    return math.isqrt(100_000 ** max(spatial, 2))


class Window(msgspec.Struct, frozen=True):
    """A window per spatial dimension; ``before`` and ``after`` are paddings, ``about`` names the kernel."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """The elements from a window's first to its last, holes of the dilation included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def sizes(self, sizes: Sequence[Dim]) -> tuple[Dim, ...]:
        """The number of windows along each dimension (torch.nn.Conv2d's formula)."""
        padding = zip(self.before, self.after, strict=True)
        padded = [size + (before + after) for size, (before, after) in zip(sizes, padding, strict=True)]
        for size, whole, reach in zip(sizes, padded, self.reach, strict=True):
            require_at_most(
                reach, whole, f"a window of {reach} does not fit into {size}{_padded(size, whole)}"
            )
        return tuple((p - r) // s + 1 for p, r, s in zip(padded, self.reach, self.stride, strict=True))

    @property
    def refusal(self) -> Refused | None:
        """Why no layer of TensorRT takes such a window, or None."""
        volume, limit = math.prod(self.kernel), volume_limit(len(self.kernel))
        if volume >= limit:
            message = f"TensorRT's windows have fewer than {limit} elements, not {volume}"
            return Refused(message, "kernel_size")
        if max(self.stride) > LARGEST_STRIDE:
            message = f"TensorRT's strides are at most {LARGEST_STRIDE}, not {max(self.stride)}"
            return Refused(message, "stride")
        return None

    def along(self, axis: int) -> Window:
        """The window's extent along one axis; along the others it is one element wide."""

        def only(values: tuple[int, ...], other: int) -> tuple[int, ...]:
            return tuple(value if index == axis else other for index, value in enumerate(values))

        kernel, stride, dilation = (only(v, 1) for v in (self.kernel, self.stride, self.dilation))
        return Window(kernel, stride, only(self.before, 0), only(self.after, 0), dilation)

    def as_planes(self) -> Window:
        """The same over at least two dimensions; the added one has size 1."""
        if len(self.kernel) > 1:
            return self
        one, zero = (1,), (0,)
        return Window(
            self.kernel + one, self.stride + one, self.before + zero, self.after + zero, self.dilation + one
        )


def _padded(size: Dim, whole: Dim) -> str:
    return "" if size == whole else f" (padded to {whole})"


def per_axis(value: int | Sequence[int], count: int, about: str, least: int) -> tuple[int, ...]:
    """One number for each of ``count`` spatial dimensions, none below ``least``."""
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count:
        raise Refused(f"`{about}` needs one number or {count}, not {len(values)}", about)
    if min(values) < least:
        raise Refused(f"`{about}` must be at least {least}, not {min(values)}", about)
    return values


def require_spatial(x: TensorType, count: int, what: str) -> None:
    """Refuse anything but floating-point ``[N, C, ...]`` or ``[C, ...]`` with ``count`` more dimensions,
    none of which is empty, the channels neither."""
    require_floating(x, what, "input")
    if x.rank not in (count + 1, count + 2):
        names = ", ".join(("D", "H", "W")[3 - count :]) if count > 1 else "L"
        raise Refused(f"{what} needs a tensor [N, C, {names}] or [C, {names}], not {x}", "input")
    require_elements(x, range(x.rank - count - 1, x.rank), what)


def planes_type(x: TensorType, count: int) -> TensorType:
    """The form TensorRT wants: a batch dimension, channels, two or three spatial dimensions."""
    batch = (1,) if x.rank == count + 1 else ()
    return x.with_shape(batch + x.shape + (1,) * (count == 1))


def planes(net: Network, x: Tensor, count: int) -> Tensor:
    """``x`` in the form of :func:`planes_type`; a reshape back to the result's shape undoes it."""
    return net.reshape(x, planes_type(x.type, count).shape)
