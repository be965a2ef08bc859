"""The padding modules of ``torch.nn``: one class per way of padding and number of dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.ops.base import Module
from trtdsl.ops.pad import Amounts, lower_padding, padded_by_torch, padded_type, pairs
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_fit
from trtdsl.types import TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


class _PadModule(Module, abstract=True):
    """One number for all sides, or two for each dimension, last dimension first."""

    mode: ClassVar[str]
    spatial: ClassVar[int]

    padding: int | tuple[int, ...]

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        return {}

    @property
    def fill(self) -> float:
        """The value that stands outside where the mode is constant."""
        return 0.0

    @property
    def flat(self) -> tuple[int, ...]:
        """The padding as PyTorch's functions take it."""
        flat = (self.padding,) * (2 * self.spatial) if isinstance(self.padding, int) else self.padding
        if len(flat) != 2 * self.spatial:
            raise Refused(f"`padding` needs one number or {2 * self.spatial}, not {len(flat)}", "padding")
        return flat

    @property
    def amounts(self) -> Amounts:
        return pairs(self.flat)

    def infer(self, input: TensorType) -> TensorType:
        least = self.spatial if self.mode == "constant" else self.spatial + 1
        most = 8 if self.mode == "constant" else self.spatial + 2
        if not least <= input.rank <= most:
            raise Refused(f"{self.name} needs a tensor of rank {least} to {most}, not {input}", "input")
        return padded_type(input, self.amounts, self.mode, "padding")

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return lower_padding(net, input, self.amounts, self.mode, self.fill)

    def reference(self, torch: Any, input: Any) -> Any:
        return None if self.mode == "constant" else padded_by_torch(torch, input, self.flat, self.mode)


class _ConstantPad(_PadModule, abstract=True):
    """Padding with a value."""

    mode = "constant"

    value: float

    def infer(self, input: TensorType) -> TensorType:
        require_fit(self.value, input.dtype, "value")
        return super().infer(input)

    @property
    def fill(self) -> float:
        return self.value


class ZeroPad1d(_PadModule):
    """Zeros around the last dimension."""

    torch = "torch.nn.ZeroPad1d"
    mode = "constant"
    spatial = 1
    examples = (
        "ZeroPad1d(1)(float32[N, 3, S]) -> float32[N, 3, S + 2]",
        "ZeroPad1d((1, 0))(float16[3, S]) -> float16[3, S + 1]",
    )


class ZeroPad2d(_PadModule):
    """Zeros around the last two dimensions."""

    torch = "torch.nn.ZeroPad2d"
    mode = "constant"
    spatial = 2
    examples = (
        "ZeroPad2d(1)(float32[N, 3, H, W]) -> float32[N, 3, H + 2, W + 2]",
        "ZeroPad2d((1, 0, 1, 2))(float16[3, H, W]) -> float16[3, H + 3, W + 1]",
    )


class ZeroPad3d(_PadModule):
    """Zeros around the last three dimensions."""

    torch = "torch.nn.ZeroPad3d"
    mode = "constant"
    spatial = 3
    examples = (
        "ZeroPad3d(1)(float32[N, 3, 4, H, W]) -> float32[N, 3, 6, H + 2, W + 2]",
        "ZeroPad3d((1, 0, 1, 2, 0, 1))(float16[3, 4, H, W]) -> float16[3, 5, H + 3, W + 1]",
    )


class ConstantPad1d(_ConstantPad):
    """``value`` around the last dimension."""

    torch = "torch.nn.ConstantPad1d"
    spatial = 1
    examples = (
        "ConstantPad1d(1, 1.5)(float32[N, 3, S]) -> float32[N, 3, S + 2]",
        "ConstantPad1d((1, 0), 1.5)(float16[3, S]) -> float16[3, S + 1]",
    )


class ConstantPad2d(_ConstantPad):
    """``value`` around the last two dimensions."""

    torch = "torch.nn.ConstantPad2d"
    spatial = 2
    examples = (
        "ConstantPad2d(1, 1.5)(float32[N, 3, H, W]) -> float32[N, 3, H + 2, W + 2]",
        "ConstantPad2d((1, 0, 1, 2), 1.5)(float16[3, H, W]) -> float16[3, H + 3, W + 1]",
    )


class ConstantPad3d(_ConstantPad):
    """``value`` around the last three dimensions."""

    torch = "torch.nn.ConstantPad3d"
    spatial = 3
    examples = (
        "ConstantPad3d(1, 1.5)(float32[N, 3, 4, H, W]) -> float32[N, 3, 6, H + 2, W + 2]",
        "ConstantPad3d((1, 0, 1, 2, 0, 1), 1.5)(float16[3, 4, H, W]) -> float16[3, 5, H + 3, W + 1]",
    )


class ReflectionPad1d(_PadModule):
    """The mirror image of the last dimension on both sides, edges not repeated."""

    torch = "torch.nn.ReflectionPad1d"
    mode = "reflect"
    spatial = 1
    examples = (
        "ReflectionPad1d(1)(float32[N, 3, S]) -> float32[N, 3, S + 2]",
        "ReflectionPad1d((1, 0))(float16[3, S]) -> float16[3, S + 1]",
    )


class ReflectionPad2d(_PadModule):
    """The mirror image of the last two dimensions on both sides, edges not repeated."""

    torch = "torch.nn.ReflectionPad2d"
    mode = "reflect"
    spatial = 2
    examples = (
        "ReflectionPad2d(1)(float32[N, 3, H, W]) -> float32[N, 3, H + 2, W + 2]",
        "ReflectionPad2d((1, 0, 1, 2))(float16[3, H, W]) -> float16[3, H + 3, W + 1]",
    )


class ReflectionPad3d(_PadModule):
    """The mirror image of the last three dimensions on both sides, edges not repeated."""

    torch = "torch.nn.ReflectionPad3d"
    mode = "reflect"
    spatial = 3
    examples = (
        "ReflectionPad3d(1)(float32[N, 3, 4, H, W]) -> float32[N, 3, 6, H + 2, W + 2]",
        "ReflectionPad3d((1, 0, 1, 2, 0, 1))(float16[3, 4, H, W]) -> float16[3, 5, H + 3, W + 1]",
    )


class ReplicationPad1d(_PadModule):
    """The edges of the last dimension repeated outwards."""

    torch = "torch.nn.ReplicationPad1d"
    mode = "replicate"
    spatial = 1
    examples = (
        "ReplicationPad1d(1)(float32[N, 3, S]) -> float32[N, 3, S + 2]",
        "ReplicationPad1d((1, 0))(float16[3, S]) -> float16[3, S + 1]",
    )


class ReplicationPad2d(_PadModule):
    """The edges of the last two dimensions repeated outwards."""

    torch = "torch.nn.ReplicationPad2d"
    mode = "replicate"
    spatial = 2
    examples = (
        "ReplicationPad2d(1)(float32[N, 3, H, W]) -> float32[N, 3, H + 2, W + 2]",
        "ReplicationPad2d((1, 0, 1, 2))(float16[3, H, W]) -> float16[3, H + 3, W + 1]",
    )


class ReplicationPad3d(_PadModule):
    """The edges of the last three dimensions repeated outwards."""

    torch = "torch.nn.ReplicationPad3d"
    mode = "replicate"
    spatial = 3
    examples = (
        "ReplicationPad3d(1)(float32[N, 3, 4, H, W]) -> float32[N, 3, 6, H + 2, W + 2]",
        "ReplicationPad3d((1, 0, 1, 2, 0, 1))(float16[3, 4, H, W]) -> float16[3, 5, H + 3, W + 1]",
    )


class CircularPad1d(_PadModule):
    """The last dimension continued periodically on both sides."""

    torch = "torch.nn.CircularPad1d"
    mode = "circular"
    spatial = 1
    examples = (
        "CircularPad1d(1)(float32[N, 3, S]) -> float32[N, 3, S + 2]",
        "CircularPad1d((1, 0))(float16[3, S]) -> float16[3, S + 1]",
    )


class CircularPad2d(_PadModule):
    """The last two dimensions continued periodically on both sides."""

    torch = "torch.nn.CircularPad2d"
    mode = "circular"
    spatial = 2
    examples = (
        "CircularPad2d(1)(float32[N, 3, H, W]) -> float32[N, 3, H + 2, W + 2]",
        "CircularPad2d((1, 0, 1, 2))(float16[3, H, W]) -> float16[3, H + 3, W + 1]",
    )


class CircularPad3d(_PadModule):
    """The last three dimensions continued periodically on both sides."""

    torch = "torch.nn.CircularPad3d"
    mode = "circular"
    spatial = 3
    examples = (
        "CircularPad3d(1)(float32[N, 3, 4, H, W]) -> float32[N, 3, 6, H + 2, W + 2]",
        "CircularPad3d((1, 0, 1, 2, 0, 1))(float16[3, 4, H, W]) -> float16[3, 5, H + 3, W + 1]",
    )
