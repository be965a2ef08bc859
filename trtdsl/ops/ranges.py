"""Numbers at equal distances, as many as may be known at run time only: ``arange`` and ``linspace``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trtdsl.ops.arithmetic_layers import cast, scaled
from trtdsl.ops.base import Function
from trtdsl.ops.creation import LARGEST_CONSTANT
from trtdsl.ops.positions import count_up, size_tensor
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_fit, type_of
from trtdsl.types import Dim, DType, SymbolicDim, TensorType, Undecided, bounds, less_equal
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Arange(Function):
    """Numbers from ``start`` (0 where only one is given) to below ``end``, ``step`` apart."""

    torch = "torch.arange"
    examples = (
        "arange(5)() -> int64[5]",
        "arange(1, 6, 2)() -> int64[3]",
        "arange(0, 1, 0.25)() -> float32[4]",
        "arange(3, dtype = float32)() -> float32[3]",
        "arange(S)() -> int64[S]",
        "arange(0, H, 2, dtype = float32)() -> float32[(H + 1) // 2]",
        "arange(S - 2, S + H)() -> int64[H + 2]",
        "arange(H, 0, -3, dtype = int32)() -> int32[(H + 2) // 3]",
    )

    start: Dim | float
    end: Dim | float | None = None
    step: int | float = 1
    dtype: DType | None = None

    @property
    def _bounds(self) -> tuple[Dim | float, Dim | float]:
        return (0, self.start) if self.end is None else (self.start, self.end)

    @property
    def _is_dynamic(self) -> bool:
        return any(isinstance(bound, SymbolicDim) for bound in self._bounds)

    def array(self) -> Array:
        """The numbers; refused where such steps never reach the end from the start."""
        first, last = self._bounds
        assert not isinstance(first, SymbolicDim)
        assert not isinstance(last, SymbolicDim)
        whole = all(isinstance(number, int) for number in (first, last, self.step))
        dtype = self.dtype or (DType.INT64 if whole else DType.FLOAT32)
        for number, about in ((first, "start"), (last, "end"), (self.step, "step")):
            require_fit(number, DType.INT64 if isinstance(number, int) else DType.FLOAT32, about)
        if self.step == 0 or (last - first) * self.step < 0:
            raise Refused(f"a step of {self.step} never reaches {last} from {first}", "step")
        steps = (last - first) / self.step
        if not steps <= LARGEST_CONSTANT:
            count = math.ceil(steps) if math.isfinite(steps) else "so many"
            raise Refused(f"{count} numbers are more than a constant may hold", "end")
        numbers = first + self.step * np.arange(math.ceil(steps))
        for number in (*numbers[:1].tolist(), *numbers[-1:].tolist()):
            require_fit(number, dtype, "end")
        return numbers.astype(dtype.numpy)

    def infer(self) -> TensorType:
        return TensorType(*self._dynamic()) if self._is_dynamic else type_of(self.array())

    def greatest(self) -> Dim | None:
        _, last = self._bounds
        return None if isinstance(last, float) or self.step != 1 else last - 1

    def _dynamic(self) -> tuple[DType, tuple[Dim, ...]]:
        """Dtype and size between bounds of which one is dynamic."""
        first, last = self._bounds
        for number, about in ((first, "start"), (last, "end"), (self.step, "step")):
            if isinstance(number, float):
                raise Refused(f"beside a dynamic dimension arange takes whole numbers, not {number}", about)
        assert not isinstance(first, float)
        assert not isinstance(last, float)
        assert not isinstance(self.step, float)
        way = last - first if self.step > 0 else first - last
        try:
            reaches = self.step != 0 and less_equal(0, way)
        except Undecided as undecided:
            text = f"whether a step of {self.step} reaches {last} from {first} depends on the input's size"
            raise Refused(text, "end") from undecided
        if not reaches:
            raise Refused(f"a step of {self.step} never reaches {last} from {first}", "step")
        dtype = self.dtype or DType.INT64
        for bound in (first, last):
            for number in bounds(bound):
                require_fit(number, dtype, "end")
        return dtype, ((way + abs(self.step) - 1) // abs(self.step),)

    def lower(self, net: Network) -> Tensor:
        if not self._is_dynamic:
            return net.constant(self.array())
        first, _ = self._bounds
        assert not isinstance(first, float)
        numbers = scaled(net, count_up(net, net.result.shape[0]), self.step)
        if first != 0:
            numbers = net.elementwise("SUM", numbers, size_tensor(net, first, numbers))
        return cast(net, numbers, net.result.dtype)

    def fold(self) -> Array | None:
        return None if self._is_dynamic else self.array()

    def reference(self, torch: Any) -> Any:
        dtype = self.dtype and getattr(torch, str(self.dtype))
        bounds = (self.start,) if self.end is None else (self.start, self.end, self.step)
        return torch.arange(*bounds, dtype=dtype)


class Linspace(Function):
    """``steps`` numbers at equal distances from ``start`` to ``end``, both included."""

    torch = "torch.linspace"
    examples = (
        "linspace(0, 1, 5)() -> float32[5]",
        "linspace(-1.0, 1.0, S)() -> float32[S]",
        "linspace(0, 9, 4, dtype = int64)() -> int64[4]",
        "linspace(2.5, -3, H, dtype = float16)() -> float16[H]",
        "linspace(3, 4, 1)() -> float32[1]",
    )

    start: int | float
    end: int | float
    steps: Dim
    dtype: DType | None = None

    def infer(self) -> TensorType:
        dtype = self.dtype or DType.FLOAT32
        require_fit(self.start, dtype, "start")
        require_fit(self.end, dtype, "end")
        if isinstance(self.steps, SymbolicDim):
            if not dtype.is_floating:
                raise Refused(f"linspace with a dynamic number of steps gives no {dtype}", "dtype")
        elif not 0 <= self.steps <= LARGEST_CONSTANT:
            raise Refused(f"linspace takes from 0 to {LARGEST_CONSTANT} steps, not {self.steps}", "steps")
        return TensorType(dtype, (self.steps,))

    def lower(self, net: Network) -> Tensor:
        array = self.fold()
        if array is not None:
            return net.constant(array)
        # From either end to the middle, as PyTorch does, so that both ends are exact.
        place = net.cast(count_up(net, self.steps), DType.FLOAT32)
        last = net.elementwise("SUB", size_tensor(net, self.steps, place), net.scalar(1, place))
        distance = net.elementwise("MAX", last, net.scalar(1, last))
        step = net.elementwise("DIV", net.scalar(self.end - self.start, place), distance)
        left = net.elementwise("SUB", last, place)
        up = net.elementwise("SUM", net.elementwise("PROD", step, place), net.scalar(self.start, place))
        down = net.elementwise("SUB", net.scalar(self.end, place), net.elementwise("PROD", step, left))
        in_first_half = net.elementwise("LESS", place, net.elementwise("SUM", left, net.scalar(0.5, left)))
        return net.cast(net.select(in_first_half, up, down), net.result.dtype)

    def fold(self) -> Array | None:
        if isinstance(self.steps, SymbolicDim):
            return None
        place = np.arange(self.steps)
        step = (self.end - self.start) / max(self.steps - 1, 1)
        up, down = self.start + step * place, self.end - step * (self.steps - 1 - place)
        numbers = np.where(place < max(self.steps // 2, 1), up, down)
        return numbers.astype((self.dtype or DType.FLOAT32).numpy)
