"""Casts in a network, and numbers of uint8, which TensorRT has in the inputs and outputs of a network only.

In: a tensor and a dtype.  Out: the layers that cast it, two where the release has none for these types.
Within the network numbers of uint8 are int32: what the graph calls uint8 is a tensor that becomes a layer, a
cast, where it is an output.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from trtdsl.ops.lowering import Network, Tensor
from trtdsl.trt.facts import Facts
from trtdsl.types import DType, TensorType

_NO_CONSTANTS = (DType.UINT8, DType.INT8)
"""Types of which TensorRT has no constants, or only quantised ones."""


class CastingNetwork(Network):
    """A network that casts, and computes in int32 what is uint8."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[Tensor, Tensor] = {}

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """What the release has."""

    @abstractmethod
    def data_type(self, dtype: DType, kind: str = "") -> Any:
        """TensorRT's DataType, of what a kind of layer makes."""

    @abstractmethod
    def placed_here(self, make: Callable[[], Any]) -> Callable[[], Any]:
        """``make`` such that what it adds, whenever that is, belongs to the node being lowered now."""

    def cast(self, x: Tensor, dtype: DType) -> Tensor:
        if x.dtype is dtype:
            return x
        if x.array is not None and (x.array.size == 1 or x.dtype in _NO_CONSTANTS):
            return self.constant(x.array.astype(dtype.numpy))
        if dtype is DType.UINT8:
            return self.as_bytes(self.cast(x, DType.INT32))
        if x in self._numbers:
            return self.cast(self._numbers[x], dtype)
        return self.convert(x, dtype)

    def convert(self, x: Tensor, dtype: DType) -> Tensor:
        """A layer that casts, or two where the release has none for these types."""
        if not self.facts.converts(x.dtype, dtype):
            return self.convert(self.convert(x, DType.FLOAT32), dtype)
        result = x.type.with_dtype(dtype)
        if self.has("cast"):
            return self.add("cast", x, self.data_type(dtype), result=result)
        # Before 8.6 an identity layer whose output type is set converts; `pin` sets it.
        return self.add("identity", x, result=result)

    def stored(self, tensor: Tensor) -> Tensor:
        """The tensor that layers read for this one: the numbers of one of uint8."""
        return self._numbers.get(tensor, tensor)

    def as_bytes(self, numbers: Tensor) -> Tensor:
        """Numbers of int32, all from 0 to 255, as a tensor of uint8."""
        convert = self.placed_here(lambda: self.convert(numbers, DType.UINT8).handle)
        tensor = Tensor(numbers.type.with_dtype(DType.UINT8), convert)
        self._numbers[tensor] = numbers
        return tensor

    def as_numbers(self, x: Tensor) -> Tensor:
        """A tensor of uint8 as int32; any other is itself."""
        if x.dtype is not DType.UINT8:
            return x
        if x not in self._numbers:
            self._numbers[x] = self.cast(x, DType.INT32)
        return self._numbers[x]

    def in_numbers(self, value: Any) -> Any:
        """A layer's argument, with the tensors of uint8 in it as int32."""
        if isinstance(value, list):
            return [self.in_numbers(item) for item in value]
        return self.as_numbers(value) if isinstance(value, Tensor) else value


def in_int32(type: TensorType) -> TensorType:
    """The type that a tensor has within the network."""
    return type.with_dtype(DType.INT32) if type.dtype is DType.UINT8 else type
