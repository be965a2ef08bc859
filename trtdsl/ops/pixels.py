"""The shuffles between channels and pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtdsl.ops.base import Function, Spelling
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import same_dim
from trtdsl.types import TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


class PixelShuffle(Function):
    """Squares of pixels out of channels: ``[*, C * r * r, H, W]`` to ``[*, C, r * H, r * W]``."""

    torch = "torch.nn.functional.pixel_shuffle"
    spellings = (Spelling("torch.nn.PixelShuffle", ("upscale_factor",)),)
    examples = (
        "pixel_shuffle(2)(float32[N, 12, H, W]) -> float32[N, 3, 2 * H, 2 * W]",
        "pixel_shuffle(3)(float16[9, H, 4]) -> float16[1, 3 * H, 12]",
        "pixel_shuffle(2)(int32[2, N, 4, 3, 5]) -> int32[2, N, 1, 6, 10]",
    )

    upscale_factor: int

    def infer(self, input: TensorType) -> TensorType:
        factor = self.upscale_factor
        _check_shuffle(input, factor, "pixel_shuffle", "upscale_factor")
        *batch, channels, height, width = input.shape
        what = f"the number of channels must be divisible by {factor} * {factor}"
        if not same_dim(channels % (factor * factor), 0, what, "input"):
            message = f"the {channels} channels are not divisible by {factor} * {factor}"
            raise Refused(message, "upscale_factor")
        return input.with_shape((*batch, channels // (factor * factor), height * factor, width * factor))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        factor = self.upscale_factor
        *batch, channels, height, width = input.shape
        split = net.reshape(input, (*batch, channels // (factor * factor), factor, factor, height, width))
        return net.reshape(net.transpose(split, _order(len(batch), (0, 3, 1, 4, 2))), net.result.shape)


class PixelUnshuffle(Function):
    """The reverse of :class:`PixelShuffle`: ``[*, C, r * H, r * W]`` to ``[*, C * r * r, H, W]``."""

    torch = "torch.nn.functional.pixel_unshuffle"
    spellings = (Spelling("torch.nn.PixelUnshuffle", ("downscale_factor",)),)
    examples = (
        "pixel_unshuffle(2)(float32[N, 3, 2 * H, 2 * W]) -> float32[N, 12, H, W]",
        "pixel_unshuffle(3)(float16[2, 9, 6]) -> float16[18, 3, 2]",
    )

    downscale_factor: int

    def infer(self, input: TensorType) -> TensorType:
        factor = self.downscale_factor
        _check_shuffle(input, factor, "pixel_unshuffle", "downscale_factor")
        *batch, channels, height, width = input.shape
        for size in (height, width):
            if not same_dim(size % factor, 0, f"`{size}` must be divisible by {factor}", "input"):
                raise Refused(f"the dimension {size} is not a multiple of {factor}", "downscale_factor")
        return input.with_shape((*batch, channels * (factor * factor), height // factor, width // factor))

    def lower(self, net: Network, input: Tensor) -> Tensor:
        factor = self.downscale_factor
        *batch, channels, height, width = input.shape
        split = net.reshape(input, (*batch, channels, height // factor, factor, width // factor, factor))
        return net.reshape(net.transpose(split, _order(len(batch), (0, 2, 4, 1, 3))), net.result.shape)


class ChannelShuffle(Function):
    """The channels of ``groups`` groups taken in turn: ``[*, g, C / g, ...]`` to ``[*, C / g, g, ...]``."""

    torch = "torch.nn.functional.channel_shuffle"
    spellings = (Spelling("torch.nn.ChannelShuffle", ("groups",)),)
    examples = (
        "channel_shuffle(2)(float32[N, 6, H, W]) -> float32[N, 6, H, W]",
        "channel_shuffle(3)(float16[N, 6, S]) -> float16[N, 6, S]",
        "channel_shuffle(4)(int32[2, 4, 3, 4, 5]) -> int32[2, 4, 3, 4, 5]",
    )

    groups: int

    def infer(self, input: TensorType) -> TensorType:
        if self.groups < 1:
            raise Refused(f"`groups` must be at least 1, not {self.groups}", "groups")
        if not 3 <= input.rank <= 7:
            raise Refused(f"channel_shuffle needs a tensor [N, C, ...] of rank 3 to 7, not {input}", "input")
        channels = input.shape[1]
        if not same_dim(channels % self.groups, 0, f"divisible by {self.groups}", "groups"):
            raise Refused(f"the {channels} channels are not divisible by {self.groups}", "groups")
        return input

    def lower(self, net: Network, input: Tensor) -> Tensor:
        batch, channels, *rest = input.shape
        split = net.reshape(input, (batch, self.groups, channels // self.groups, *rest))
        return net.reshape(net.transpose(split, (0, 2, 1, *range(3, split.rank))), input.shape)


def _check_shuffle(input: TensorType, factor: int, what: str, about: str) -> None:
    if factor < 1:
        raise Refused(f"`{about}` must be at least 1, not {factor}", about)
    # Two dimensions more stand between the two reshapes, and TensorRT has eight.
    if not 3 <= input.rank <= 6:
        raise Refused(f"{what} needs a tensor [*, C, H, W] of rank 3 to 6, not {input}", "input")


def _order(batch: int, rest: tuple[int, ...]) -> tuple[int, ...]:
    """A permutation of the dimensions after the batch dimensions."""
    return (*range(batch), *(batch + axis for axis in rest))
