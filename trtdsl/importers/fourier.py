"""Fourier transforms over fixed sizes as products with matrices of cosines and sines.

In: the real and imaginary part of a tensor, None for a part that is 0, and one of ``torch.fft``'s transforms.
Out: the parts of what it gives. The sum is that of the definition, n terms for each of n numbers::

    y = fft(x)     ─▶   re, im = x @ cos, x @ sin        cosines and sines of -2 pi j k / n

That of each window of a signal, ``stft``, is a convolution with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import torch

Part: TypeAlias = Any
"""A ``torch.fx.Node``, or None for zeros."""

TRANSFORMS = frozenset(
    f"fft_{inverse}{real}fft{axes}" for inverse in ("", "i") for real in ("", "r") for axes in ("", "2", "n")
)
"""By ATen's names; those of ``rfft`` give half of what a real tensor has."""
_ZERO = 1e-15
"""What a cosine of half of pi in float64 is below."""
TO_REAL = frozenset(name for name in TRANSFORMS if name.startswith("fft_ir"))


@dataclass(frozen=True)
class Transform:
    """One transform of a tensor of this shape."""

    name: str
    shape: Sequence[Any]
    given: Mapping[str, Any]
    """its arguments but for the tensor"""

    @property
    def axes(self) -> list[int]:
        """The dimensions, the one that is halved last."""
        dims = self.given.get("dim")
        if self.name.endswith("2") and dims is None:
            dims = (-2, -1)
        elif self.name.endswith("n") and dims is None:
            dims = range(len(self.shape))
        elif dims is None:
            dims = -1
        return [each % len(self.shape) for each in ([dims] if isinstance(dims, int) else dims)]

    @property
    def _wanted(self) -> list[int] | None:
        """The sizes that are asked for, of each axis; None where they are the tensor's own."""
        sizes = self.given.get("s", self.given.get("n"))
        return [sizes] if isinstance(sizes, int) else sizes

    @property
    def _gives_half(self) -> bool:
        """Whether the last axis becomes half."""
        return "rfft" in self.name and not self._takes_half

    @property
    def _takes_half(self) -> bool:
        """Whether the last axis is half of what it becomes."""
        return self.name in TO_REAL

    @property
    def is_fixed(self) -> bool:
        """Whether all sizes are known, and none is cut or filled up."""
        wanted = self._wanted
        if not all(isinstance(self.shape[axis], int) for axis in self.axes):
            return False
        if wanted is None:
            return True
        *others, last = wanted
        return [*others, last // 2 + 1 if self._takes_half else last] == [
            self.shape[axis] for axis in self.axes
        ]

    def length(self, axis: int) -> int:
        """How many numbers there are along an axis where nothing is halved."""
        size: int = self.shape[axis]
        if not self._takes_half or axis != self.axes[-1]:
            return size
        return 2 * (size - 1) if self._wanted is None else self._wanted[-1]

    def steps(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, bool]]:
        """Each axis in order with its cosines, its sines, and whether what it gives is real."""
        *others, last = self.axes
        # What is real is transformed first where it becomes half, and last where it is made of a half.
        order = [last, *others] if self._gives_half else [*others, last]
        for axis in order:
            cosines, sines = self._matrices(self.length(axis), is_last=axis == last)
            yield axis, cosines, sines, self._takes_half and axis == last

    def _matrices(self, size: int, *, is_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The matrices that a row of numbers is multiplied by, of one axis."""
        import torch

        numbers = torch.arange(size)
        angles = (torch.outer(numbers, numbers) % size).double() * (2 * math.pi / size)
        is_inverse = self.name.startswith("fft_i")
        cosines, sines = angles.cos(), angles.sin() * (1 if is_inverse else -1)
        norm = self.given.get("norm") or "backward"
        if norm == "ortho":
            factor = 1 / math.sqrt(size)
        else:
            factor = 1 / size if is_inverse == (norm == "backward") else 1.0
        cosines, sines = cosines * factor, sines * factor
        if is_last and self._takes_half:
            count = size // 2 + 1
            # Each number but the first, and the middle one, stands for its conjugate too.
            twice = torch.full((count, 1), 2.0, dtype=torch.float64)
            twice[0] = 1
            if size % 2 == 0:
                twice[-1] = 1
            cosines, sines = cosines[:count] * twice, sines[:count] * twice
        elif is_last and self._gives_half:
            cosines, sines = cosines[:, : size // 2 + 1], sines[:, : size // 2 + 1]
        return _exact(cosines), _exact(sines)


def _exact(matrix: torch.Tensor) -> torch.Tensor:
    """In float32, its zeros exact."""
    return matrix.masked_fill(matrix.abs() < _ZERO, 0).float().contiguous()


def transformed(
    transform: Transform,
    parts: tuple[Part, Part],
    call: Callable[..., Any],
    constant: Callable[[str, torch.Tensor], Any],
) -> tuple[Part, Part]:
    """The parts of what a transform gives; ``call`` makes a node of an operation of ATen, ``constant`` one of
    a tensor.
    """
    re, im = parts
    last = len(transform.shape) - 1
    for axis, cosines, sines, is_real in transform.steps():
        cos, sin = constant("cosines", cosines), constant("sines", sines)

        def along(part: Part, matrix: Any, axis: int = axis) -> Part:
            if axis == last:
                return call("matmul", part, matrix)
            turned = call("matmul", call("transpose.int", part, axis, last), matrix)
            return call("transpose.int", turned, axis, last)

        real, imaginary = along(re, cos), None if is_real else along(re, sin)
        if im is not None:
            real = call("sub.Tensor", real, along(im, sin))
            imaginary = None if is_real else call("add.Tensor", imaginary, along(im, cos))
        re, im = real, imaginary
    return re, im


def short_time(
    given: Mapping[str, Any],
    rank: int,
    call: Callable[..., Any],
    constant: Callable[[str, torch.Tensor], Any],
) -> tuple[Part, Part]:
    """The parts of the transforms of a signal's windows, [K, frames] or [N, K, frames], by the arguments of
    ``stft``: nodes for the signal and its window, numbers for all others.
    """
    import torch

    size: int = given["n_fft"]
    width: int = given["win_length"] or size
    bases = _bases(size, halved=given["onesided"] is not False, normalized=given["normalized"])
    count = len(bases) // 2
    weight, window = constant("bases", bases.unsqueeze(1)), given["window"]
    before = (size - width) // 2
    around = [before, size - width - before]
    if window is not None and width < size:
        window = call("constant_pad_nd", window, around)
    elif width < size:
        window = constant("windows", torch.nn.functional.pad(torch.ones(width), around))
    if window is not None:
        weight = call("mul.Tensor", weight, window)
    dim = rank - 1
    signal = call("unsqueeze", given["self"], dim)
    found = call("conv1d", signal, weight, None, [given["hop_length"] or size // 4])
    return call("slice.Tensor", found, dim, 0, count), call("slice.Tensor", found, dim, count, 2 * count)


def _bases(size: int, *, halved: bool, normalized: bool) -> torch.Tensor:
    """Cosines and then negative sines of each frequency, [2 * K, size]."""
    import torch

    numbers = torch.arange(size)
    frequencies = numbers[: size // 2 + 1] if halved else numbers
    angles = (torch.outer(frequencies, numbers) % size).double() * (2 * math.pi / size)
    factor = 1 / math.sqrt(size) if normalized else 1.0
    return _exact(torch.cat([angles.cos(), -angles.sin()]) * factor)
