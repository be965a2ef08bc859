"""The table of layer evaluators, and the errors and types they share.

In: a function per TensorRT ``LayerType``, declared with :func:`evaluates`.
Out: :func:`evaluator_of`, used by the machine that walks a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import torch

Precision = Literal["native", "float32", "float64"]

NARROW_FLOATS = frozenset({"HALF", "BF16"})
"""Types that a precision other than ``native`` computes in a wider one."""

QUANTIZED_FLOATS = frozenset({"FP8", "FP4", "E8M0"})
"""Types whose values are kept as exact members of a wider float: torch cannot compute with them."""

TORCH_DTYPES: Mapping[str, torch.dtype] = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT8": torch.int8,
    "INT4": torch.int8,
    "UINT8": torch.uint8,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "BOOL": torch.bool,
}


class EvaluationError(Exception):
    """A network, layer or mode that cannot be computed exactly, with the layer it is about."""


@dataclass(frozen=True)
class LayerNode:
    """One layer of a network: its typed TensorRT object and the names of its tensors.

    ``layer`` is the wrapper cast to its own class; ``kind`` is the name of its ``LayerType``.
    An optional input that is not set is None. ``dtypes`` are the names of the outputs' types.
    """

    index: int
    name: str
    kind: str
    layer: Any
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    dtypes: tuple[str, ...]

    def refuse(self, why: str) -> NoReturn:
        made_of = getattr(self.layer, "metadata", "")  # which TensorRT 8.5 does not have
        where = f" of {made_of}" if made_of else ""
        raise EvaluationError(f"layer `{self.name}` ({self.kind}){where}: {why}")

    def input(self, index: int) -> str | None:
        return self.inputs[index] if index < len(self.inputs) else None


@dataclass(frozen=True)
class Operands:
    """The values of a layer's inputs, floats widened to the compute type, by position."""

    node: LayerNode
    values: tuple[torch.Tensor | None, ...]

    def get(self, index: int) -> torch.Tensor | None:
        return self.values[index] if index < len(self.values) else None

    def __getitem__(self, index: int) -> torch.Tensor:
        value = self.get(index)
        if value is None:
            self.node.refuse(f"input {index} is missing")
        return value

    def all(self) -> list[torch.Tensor]:
        return [self[i] for i in range(len(self.values))]

    def integers(self, index: int) -> list[int] | None:
        """The values of a shape-like input as Python integers, or None where it is not set."""
        value = self.get(index)
        return None if value is None else [int(v) for v in value.reshape(-1).tolist()]


@dataclass(frozen=True)
class Context:
    """What an evaluator may know besides its layer.

    ``weights`` reads a layer's weights by slot: flat, floats in the compute type; None where empty.
    """

    compute: torch.dtype
    precision: Precision
    weights: Callable[[LayerNode, str], torch.Tensor | None]

    def storage(self, dtype: str, rounded: bool = False) -> torch.dtype:
        """The torch type a tensor of a TensorRT type is kept in under this precision.

        ``rounded``: its values are those of its own type, whatever the precision.
        """
        if dtype in QUANTIZED_FLOATS:
            return self.compute
        if self.precision != "native" and (dtype == "FLOAT" or (dtype in NARROW_FLOATS and not rounded)):
            return self.compute
        if dtype not in TORCH_DTYPES:
            raise EvaluationError(f"tensors of type {dtype} cannot be evaluated")
        return TORCH_DTYPES[dtype]


Evaluator = Callable[[LayerNode, Operands, Context], "torch.Tensor | Sequence[torch.Tensor]"]

_EVALUATORS: dict[str, Evaluator] = {}


def evaluates(*kinds: str) -> Callable[[Evaluator], Evaluator]:
    """Declare a function as the meaning of the layers whose ``LayerType`` has one of these names."""

    def declare(function: Evaluator) -> Evaluator:
        for kind in kinds:
            _EVALUATORS[kind] = function
        return function

    return declare


def evaluator_of(node: LayerNode) -> Evaluator:
    """The evaluator of a layer; raises :class:`EvaluationError` for a type that has none."""
    function = _EVALUATORS.get(node.kind)
    if function is None:
        node.refuse("this layer type cannot be evaluated")
    return function


def evaluated_kinds() -> frozenset[str]:
    """The layer types that have an evaluator."""
    return frozenset(_EVALUATORS)


def axes_of(mask: int, rank: int) -> list[int]:
    """The axes of a TensorRT bit mask: bit i is dimension i."""
    return [axis for axis in range(rank) if mask >> axis & 1]


def single_axis(node: LayerNode, mask: int, rank: int) -> int:
    """The one axis of a bit mask; refused when it names none or several."""
    axes = axes_of(mask, rank)
    if len(axes) != 1 or mask >> rank:
        node.refuse(f"axes mask {mask:#b} must name exactly one of {rank} dimensions")
    return axes[0]


def floating(node: LayerNode, value: torch.Tensor) -> torch.Tensor:
    """The value itself when it is floating-point; integers are refused rather than promoted."""
    if not value.is_floating_point():
        node.refuse(f"inputs of type {value.dtype} cannot be evaluated")
    return value
