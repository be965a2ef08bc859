"""Compute a TensorRT network on the CPU from TensorRT's documented semantics, without a GPU.

In: any ``INetworkDefinition`` (of ``tensorrt_rtx`` or ``tensorrt``; made by trtdsl, by hand or by
NVIDIA's ONNX parser) and arrays.  Out: torch tensors::

    outputs = evaluate(network, {"data": image})
    outputs["logits"]

or, to compute it many times, ``Evaluator(network)({"data": image})``.

The network is read back through the TensorRT API; nothing of how it was made is used, so the result is
an independent witness of what TensorRT was told.  A layer or mode that cannot be computed exactly raises
:class:`EvaluationError`, which names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
import torch

from .machine import Machine, fits
from .readback import Program, WeightTable, read_network
from .registry import Context, EvaluationError, Precision, evaluated_kinds
from .rounding import rounded_types

ArrayLike: TypeAlias = "np.ndarray[Any, Any] | torch.Tensor"

_FAMILIES = (
    "attention",
    "control",
    "convolution",
    "elementwise",
    "indexing",
    "linear",
    "normalization",
    "pooling",
    "quantize",
    "reduction",
    "resample",
    "shaping",
    "slicing",
)
"""The modules whose import registers the layer evaluators."""

for _family in _FAMILIES:
    import_module(f".{_family}", __name__)

__all__ = [
    "EvaluationError",
    "Evaluator",
    "Precision",
    "evaluate",
    "evaluate_all",
    "evaluated_kinds",
    "rounded_types",
]


def evaluate(
    network: Any,
    inputs: Mapping[str, ArrayLike],
    *,
    precision: Precision = "native",
    weights: WeightTable | None = None,
    outputs: Iterable[str] | None = None,
) -> dict[str, torch.Tensor]:
    """The network's outputs for the given inputs, by tensor name.

    ``precision``: ``native`` computes each layer in float32 and rounds its result to the tensor's own
    type, as TensorRT does.  ``float32`` and ``float64`` compute in that type, and keep what is made of HALF
    and BF16 inputs in it, as a PyTorch module does that was moved to it; what the network itself casts to
    a narrower type is rounded to that, and so is what is computed from it (quantised types stay
    quantised).  ``weights`` holds what TensorRT's API cannot read back (BF16, FP8,
    INT4, FP4): ``{layer name: {slot: array}}``, the slot being ``weights``, ``kernel``, ``bias``,
    ``shift``, ``scale`` or ``power``.  ``outputs`` names other tensors than the marked outputs.
    FP8, FP4 and E8M0 tensors are returned as floats that hold their exact values, INT4 as int8.
    Raises :class:`EvaluationError`.
    """
    return Evaluator(network, precision=precision, weights=weights)(inputs, outputs)


def evaluate_all(
    network: Any,
    inputs: Mapping[str, ArrayLike],
    *,
    precision: Precision = "native",
    weights: WeightTable | None = None,
    outputs: Iterable[str] | None = None,
) -> dict[str, torch.Tensor]:
    """Like :func:`evaluate`, with every tensor the outputs needed, inputs included.

    Tensors inside a loop have one value for each iteration and are left out; so are those of a
    conditional's branch that was not taken.
    """
    return Evaluator(network, precision=precision, weights=weights).all(inputs, outputs)


class Evaluator:
    """A network that was read back once and can be computed any number of times, by one thread at a time.

    The arguments are those of :func:`evaluate`. Raises :class:`EvaluationError`.
    """

    def __init__(
        self, network: Any, *, precision: Precision = "native", weights: WeightTable | None = None
    ) -> None:
        if precision not in ("native", "float32", "float64"):
            raise EvaluationError(f"precision `{precision}` is none of native, float32, float64")
        program = read_network(network, weights)
        compute = torch.float64 if precision == "float64" else torch.float32
        context = Context(compute, precision, lambda node, slot: program.read_weights(node, slot, compute))
        self._machine = Machine(program, context)

    def __call__(
        self, inputs: Mapping[str, ArrayLike], outputs: Iterable[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """The outputs, or the tensors that are named, as :func:`evaluate` has them."""
        wanted = self._machine.program.outputs if outputs is None else list(outputs)
        values = self.all(inputs, wanted)
        return {name: values[name] for name in wanted}

    def all(
        self, inputs: Mapping[str, ArrayLike], outputs: Iterable[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Every tensor that the outputs need, as :func:`evaluate_all` has them."""
        program, context = self._machine.program, self._machine.context
        values = {name: _input(program, name, inputs, context) for name in program.inputs}
        unknown = sorted(set(inputs) - set(program.inputs))
        if unknown:
            raise EvaluationError(f"the network has no input `{unknown[0]}`; it has {sorted(program.inputs)}")
        wanted = program.outputs if outputs is None else list(outputs)
        if not wanted:
            raise EvaluationError("the network has no outputs; name the wanted tensors with outputs=")
        with torch.no_grad():
            return self._machine.run(values, wanted)


def _input(program: Program, name: str, inputs: Mapping[str, ArrayLike], context: Context) -> torch.Tensor:
    """An input's value in the type it is kept in, its shape and kind checked."""
    info = program.inputs[name]
    if name not in inputs:
        raise EvaluationError(f"no value is given for input `{name}`")
    value = _as_tensor(inputs[name])
    expected = info.shape
    if expected is None or not fits(expected, value):
        raise EvaluationError(f"input `{name}` is {expected}, the given value {tuple(value.shape)}")
    target = context.storage(info.dtype)
    if _kind(value.dtype) != _kind(target):
        raise EvaluationError(f"input `{name}` is {info.dtype}, the given value {value.dtype}")
    kept = value.to(target)
    if _kind(target) == "integer" and not torch.equal(kept.to(value.dtype), value):
        raise EvaluationError(f"input `{name}` is {info.dtype}, which cannot hold the given values")
    return kept


def _as_tensor(given: ArrayLike) -> torch.Tensor:
    """A tensor of an array; a copy, for what is returned must not be a view of the caller's memory."""
    if isinstance(given, torch.Tensor):
        return given.detach().cpu().clone()
    array = np.array(given)
    # Types of ml_dtypes (bfloat16, float8, int4) are unknown to torch; wider ones hold all their values.
    if array.dtype.kind == "V":
        array = array.astype(np.int8 if array.dtype.name == "int4" else np.float32)
    return torch.from_numpy(array)


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_floating_point:
        return "float"
    return "bool" if dtype == torch.bool else "integer"
