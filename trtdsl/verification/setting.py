"""What a comparison is made with, and a graph's network computed on the CPU.

In: a graph with weights and a setting.  Out: the values of its TensorRT network, each with the tolerance
that its arithmetic deserves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic
from trtdsl.ir import Graph, Value
from trtdsl.reference import symbol_values
from trtdsl.types import DType
from trtdsl.verification.result import CannotCompute
from trtdsl.verification.roundings import allowed
from trtdsl.verification.tolerances import ROUNDED_TOLERANCES, Floats

if TYPE_CHECKING:
    import torch

Array: TypeAlias = npt.NDArray[Any]
Values: TypeAlias = Mapping[Value, "torch.Tensor"]


SIDES = 2
"""The reference rounds as often as the network, at other places: PyTorch's `linear` rounds only its sum."""


@dataclass(frozen=True)
class Setting:
    """What both sides compute on, in which dtype, and how far apart they may be.

    ``chosen``: the tolerance is the user's and holds for everything. ``made_up`` are the inputs that
    nobody gave. ``randomized``: both sides have random weights already.
    """

    inputs: Mapping[str, Array]
    dtype: Floats
    tolerance: float
    chosen: bool = False
    made_up: frozenset[str] = frozenset()
    randomized: bool = False


@dataclass(frozen=True, eq=False)
class Computed:
    """A graph and what its TensorRT network computes: the values that became tensors, and the outputs.

    ``rounded`` are the values that the network has rounded to a narrower type, or computed from such, with
    the coarsest such type; whether the graph casts or an operator's own layers do makes no difference.
    ``allowed`` says of values how far off they may be where every layer was rounded.
    """

    graph: Graph
    setting: Setting
    values: Values
    outputs: Mapping[str, Array]
    rounded: Mapping[Value, DType]
    allowed: Mapping[Value, float] | None = None

    def tolerance(self, value: Value) -> float:
        """The relative error that a float may have."""
        base = self.setting.tolerance
        if self.allowed is not None:
            return base if self.setting.chosen else max(base, self.allowed.get(value, 0.0))
        dtype = self.rounded.get(value)
        if dtype is None or self.setting.chosen:
            return base
        return max(base, ROUNDED_TOLERANCES[dtype], SIDES * self._roundings[value])

    @cached_property
    def _roundings(self) -> Mapping[Value, float]:
        """What the values may have lost where the network rounds one layer after another."""
        narrow = {value for value in self.rounded if value.type.dtype in ROUNDED_TOLERANCES}
        return allowed(self.graph, narrow)

    @property
    def sizes(self) -> dict[str, int]:
        return symbol_values(self.graph, self.setting.inputs)


def compute(graph: Graph, setting: Setting, rounded: bool = False) -> Computed:
    """Lower a graph and evaluate the network on the CPU; every layer ``rounded`` to its own type, or only
    what the network casts."""
    from trtdsl.evaluate import EvaluationError, evaluate_all, rounded_types
    from trtdsl.trt.lower import lower
    from trtdsl.verification.returned import numbers

    lowered = lower(graph, by_reference=True)
    try:
        precision = "native" if rounded else setting.dtype
        found = evaluate_all(lowered.network, setting.inputs, precision=precision, weights=lowered.weights)
    except EvaluationError as error:
        raise CannotCompute(Diagnostic(f"the network cannot be computed on the CPU: {error}")) from error
    names = {value: tensor.handle.name for value, tensor in lowered.tensors.items() if tensor.array is None}
    values = {value: found[name] for value, name in names.items() if name in found}
    outputs = {output.name: numbers(found[output.name]) for output in graph.outputs}
    types = rounded_types(lowered.network, found)
    behind = {value: _coarsest(types[name]) for value, name in names.items() if name in types}
    return Computed(graph, setting, values, outputs, behind)


def _coarsest(dtypes: Iterable[torch.dtype]) -> DType:
    named = (DType(str(dtype).removeprefix("torch.")) for dtype in dtypes)
    return max(named, key=ROUNDED_TOLERANCES.__getitem__)


def cast_values(graph: Graph) -> set[Value]:
    """The values that the graph itself casts to a narrower type, or computes from such.

    A module that does the same has them in that type too, whatever type its floats were moved to.
    """
    found: set[Value] = set()
    for node in graph.nodes:
        operands = {value.type.dtype for value in node.operands}
        behind = any(value in found for value in node.operands)
        for value in node.results:
            dtype = value.type.dtype
            # Indices and conditions beside an operand of the result's own type are not cast.
            casts = dtype in ROUNDED_TOLERANCES and bool(operands) and dtype not in operands
            if behind or casts:
                found.add(value)
    return found
