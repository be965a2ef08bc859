"""What does nothing in inference: dropout, copies and the identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.ops.base import Function, Module, Spelling
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_rank
from trtdsl.types import TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class InTraining(Function, abstract=True):
    """Drops elements in training only, so that it is the identity here."""

    ignored = ("training", "inplace")
    ranks: ClassVar[tuple[int, ...]] = ()

    p: float = 0.5

    def infer(self, input: TensorType) -> TensorType:
        if not 0 <= self.p <= 1:
            raise Refused(f"the probability must be between 0 and 1, not {self.p}", "p")
        if self.ranks:
            require_rank(input, self.ranks, self.name, "input")
        return input

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return input

    def is_identity(self, input: TensorType) -> bool:
        return True

    def reference(self, torch: Any, input: Any) -> Any:
        return input


class Dropout(InTraining):
    """The identity; in training it would drop elements with probability ``p``."""

    torch = "torch.nn.functional.dropout"
    examples = (
        "dropout()(float32[N, 8]) -> float32[N, 8]",
        "dropout(0.1)(float16[N, S, 8]) -> float16[N, S, 8]",
    )
    spellings = (Spelling("torch.nn.Dropout", ("p",)),)


class Dropout1d(InTraining):
    """The identity; in training it would drop channels of ``[N, C, L]`` or ``[C, L]``."""

    torch = "torch.nn.functional.dropout1d"
    examples = ("dropout1d()(float32[N, 3, S]) -> float32[N, 3, S]",)
    spellings = (Spelling("torch.nn.Dropout1d", ("p",)),)
    ranks = (2, 3)


class Dropout2d(InTraining):
    """The identity; in training it would drop channels of ``[N, C, H, W]``."""

    torch = "torch.nn.functional.dropout2d"
    examples = ("dropout2d()(float32[N, 3, H, W]) -> float32[N, 3, H, W]",)
    spellings = (Spelling("torch.nn.Dropout2d", ("p",)),)


class Dropout3d(InTraining):
    """The identity; in training it would drop channels of ``[N, C, D, H, W]``."""

    torch = "torch.nn.functional.dropout3d"
    examples = ("dropout3d()(float32[N, 3, 2, H, W]) -> float32[N, 3, 2, H, W]",)
    spellings = (Spelling("torch.nn.Dropout3d", ("p",)),)


class AlphaDropout(InTraining):
    """The identity; in training it would keep mean and variance while dropping elements."""

    torch = "torch.nn.functional.alpha_dropout"
    examples = ("alpha_dropout()(float32[N, 8]) -> float32[N, 8]",)
    spellings = (Spelling("torch.nn.AlphaDropout", ("p",)),)


class FeatureAlphaDropout(InTraining):
    """The identity; in training it would keep mean and variance while dropping channels."""

    torch = "torch.nn.functional.feature_alpha_dropout"
    examples = ("feature_alpha_dropout()(float32[N, 3, H, W]) -> float32[N, 3, H, W]",)
    spellings = (Spelling("torch.nn.FeatureAlphaDropout", ("p",)),)


class Clone(Function):
    """The input itself: copies and memory layouts are TensorRT's."""

    torch = "torch.clone"
    examples = ("clone(float32[N, 8]) -> float32[N, 8]", "clone(bool[]) -> bool[]")
    spellings = (Spelling("torch.Tensor.contiguous"), Spelling("torch.Tensor.detach"))
    ignored = ("memory_format",)

    def infer(self, input: TensorType) -> TensorType:
        return input

    def is_identity(self, input: TensorType) -> bool:
        return True

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return input

    def fold(self, input: Array) -> Array:
        return input


class Identity(Module):
    """The input itself."""

    torch = "torch.nn.Identity"
    examples = ("Identity()(float32[N, 8]) -> float32[N, 8]",)

    def weights(self, input: TensorType) -> Mapping[str, TensorType]:
        return {}

    def infer(self, input: TensorType) -> TensorType:
        return input

    def is_identity(self, input: TensorType) -> bool:
        return True

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return input
