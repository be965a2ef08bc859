"""A network that is only written down: which layers a graph becomes in a release that is not installed.

In: a release's facts, and a graph through :func:`~trtdsl.trt.lower.lower_into`.  Out: ``layers``, the kinds
in order, or a diagnostic for what the release lacks. No TensorRT is asked, so what it would refuse for
another reason than a layer, an enum member or a type that it lacks is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trtdsl.ops.lowering import Along, Array, Branch, Step, Tensor
from trtdsl.ops.plugin import Plugin
from trtdsl.trt.compose import ComposingNetwork
from trtdsl.trt.dialect import DATA_TYPES, QUANTISING
from trtdsl.trt.facts import Facts
from trtdsl.trt.lacks import lacks
from trtdsl.trt.target import NetworkTarget
from trtdsl.types import Dim, DType, TensorType


class Member(str):
    """An enum member by its name, ``UnaryOperation.NEG``."""


class SketchNetwork(ComposingNetwork, NetworkTarget):
    """The layers of a network, in the order in which they are added."""

    def __init__(self, facts: Facts, release: str) -> None:
        super().__init__()
        self._facts = facts
        self._release = release
        self.layers: list[str] = []

    @property
    def facts(self) -> Facts:
        return self._facts

    # Inputs, weights and outputs

    def reserve(self, names: Iterable[str]) -> None:
        """Names mean nothing here."""

    def add_input(self, name: str, type: TensorType) -> Tensor:
        self._check(type)
        return _tensor(type)

    def weight(self, key: str, array: Array) -> Tensor:
        return self.constant(array)

    def name_result(self, tensor: Tensor, name: str) -> None:
        """Names mean nothing here."""

    def mark_output(self, tensor: Tensor, name: str) -> None:
        """Nothing is added for an output."""

    # What operators call

    def enum(self, member: str) -> Any:
        if not self._facts.has(member):
            raise self.refused(f"{self._release} has no {member}, which this operator needs")
        return Member(member)

    def has(self, layer: str) -> bool:
        return layer in self._facts.layers

    def takes(self, operation: str, dtype: DType) -> bool:
        return self._facts.takes(operation, dtype)

    def add(
        self,
        layer: str,
        *arguments: Any,
        result: TensorType | None = None,
        inputs: Mapping[int, Tensor] | None = None,
        **properties: Any,
    ) -> Tensor:
        results = (self.result if result is None else result,)
        return self.add_multiple(layer, *arguments, results=results, inputs=inputs, **properties)[0]

    def add_multiple(
        self,
        layer: str,
        *arguments: Any,
        results: Sequence[TensorType],
        inputs: Mapping[int, Tensor] | None = None,
        **properties: Any,
    ) -> tuple[Tensor, ...]:
        if not self.has(layer):
            raise self.refused(f"{self._release} has no `{layer}` layer, which this operator needs")
        members = (value for value in arguments if isinstance(value, Member))
        if lack := lacks(self._facts, layer, members, arguments):
            raise self.refused(f"{self._release} {lack.message}", lack.help)
        for type in results:
            self._check(type, layer)
        self.layers.append(layer)
        return tuple(map(_tensor, results))

    def _check(self, type: TensorType, layer: str = "") -> None:
        # uint8 is of inputs and outputs only; within the network it is int32.
        dtype = DType.INT32 if type.dtype is DType.UINT8 else type.dtype
        # Before TensorRT 10 int64 is computed as int32.
        name = "INT32" if dtype is DType.INT64 and self._facts.narrow else DATA_TYPES[dtype]
        if not self._facts.has(f"DataType.{name}"):
            raise self.refused(f"{self._release} does not support {type.dtype}")
        if not self._facts.computes(dtype) and layer not in QUANTISING:
            raise self.refused(f"{self._release} supports {type.dtype} for quantised values only")

    def constant(self, array: Array) -> Tensor:
        type = TensorType(DType.of_numpy(array.dtype), array.shape)
        return Tensor(type, lambda: None, array)

    def cast(self, x: Tensor, dtype: DType) -> Tensor:
        if x.dtype is dtype:
            return x
        self._check(x.type.with_dtype(dtype))
        self.layers.append("cast" if self.has("cast") else "identity")
        return _tensor(x.type.with_dtype(dtype))

    def shape_tensor(self, dims: Sequence[Dim]) -> Tensor:
        return _tensor(TensorType(DType.INT64, (len(dims),)))

    def plugin(self, plugin: Plugin, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        # Whether TensorRT's registry has it, and of which kind it is, no facts tell.
        layer = "plugin_v3" if self.has("plugin_v3") else "plugin_v2"
        return self.add_multiple(layer, results=self.results)

    # Control flow

    def scan(
        self, step: Step, sequences: Sequence[Along], initial: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        self.layers.append("loop")
        length = sequences[0].length
        elements = [_tensor(_without(along.tensor.type, along.dim)) for along in sequences]
        stacked, carried = step(elements, [_tensor(tensor.type) for tensor in initial])
        wholes = [_tensor(_with(along.tensor.type, along.dim, length)) for along in stacked]
        return tuple(wholes), tuple(_tensor(tensor.type) for tensor in carried)

    def choose(
        self, flag: Tensor, operands: Sequence[Tensor], then: Branch, otherwise: Branch
    ) -> tuple[Tensor, ...]:
        self.layers.append("if_conditional")
        results = then(operands)
        otherwise(operands)
        return tuple(_tensor(tensor.type) for tensor in results)


def _tensor(type: TensorType) -> Tensor:
    return Tensor(type, lambda: None)


def _without(type: TensorType, dim: int) -> TensorType:
    return type.with_shape((*type.shape[:dim], *type.shape[dim + 1 :]))


def _with(type: TensorType, dim: int, size: Dim) -> TensorType:
    return type.with_shape((*type.shape[:dim], size, *type.shape[dim:]))
