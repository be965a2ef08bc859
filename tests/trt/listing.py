"""A network that is a text: what an exporter is made of, and all of it.

In: a graph, through :func:`trtdsl.trt.lower.lower_into`.  Out: a line for each layer::

    input data: float32[2, 3, 8, 8]
    conv1 = convolution_nd(data, 8, (3, 3), float32[8, 3, 3, 3], float32[8], padding_nd = (1, 1))
    output logits = relu
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trtdsl.ops.lowering import Along, Array, Branch, Step, Tensor
from trtdsl.ops.plugin import Plugin
from trtdsl.trt.naming import TensorRTNames, node_name
from trtdsl.trt.shapes import ShapeTensors
from trtdsl.trt.target import NetworkTarget
from trtdsl.types import Dim, DType, TensorType


class Listing(NetworkTarget):
    """``lines`` is the text. Handles are names, which later names replace."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._names = TensorRTNames()
        self._shapes = ShapeTensors(self)

    def reserve(self, names: Iterable[str]) -> None:
        self._names = TensorRTNames(names)

    def add_input(self, name: str, type: TensorType) -> Tensor:
        self.lines.append(f"input {name}: {type}")
        return Tensor(type, lambda: name)

    def weight(self, key: str, array: Array) -> Tensor:
        type = TensorType(DType.of_numpy(array.dtype), array.shape)
        return Tensor(type, lambda: f"weight {key}", array)

    def name_result(self, tensor: Tensor, name: str) -> None:
        pass

    def mark_output(self, tensor: Tensor, name: str) -> None:
        self.lines.append(f"output {name} = {tensor.handle}")

    def plugin(self, plugin: Plugin, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return self.add_multiple("plugin_v3", list(tensors), plugin.plugin_name, results=self.results)

    # What operators call

    def enum(self, member: str) -> str:
        return member

    def has(self, layer: str) -> bool:
        return True

    def takes(self, operation: str, dtype: DType) -> bool:
        return True

    def add(
        self,
        layer: str,
        *arguments: Any,
        result: TensorType | None = None,
        inputs: Mapping[int, Tensor] | None = None,
        **properties: Any,
    ) -> Tensor:
        results = (result or self.result,)
        return self.add_multiple(layer, *arguments, results=results, inputs=inputs, **properties)[0]

    def add_multiple(
        self,
        layer: str,
        *arguments: Any,
        results: Sequence[TensorType],
        inputs: Mapping[int, Tensor] | None = None,
        **properties: Any,
    ) -> tuple[Tensor, ...]:
        given = [_show(argument) for argument in arguments]
        given += [f"input {index} = {tensor.handle}" for index, tensor in (inputs or {}).items()]
        given += [f"{name} = {_show(value)}" for name, value in properties.items()]
        wanted = node_name(self.node) if self.node else layer
        names = [self._names.claim(wanted) for _ in results]
        self.lines.append(f"{', '.join(names)} = {layer}({', '.join(given)})")
        return tuple(_named(type, name) for type, name in zip(results, names, strict=True))

    def constant(self, array: Array) -> Tensor:
        type = TensorType(DType.of_numpy(array.dtype), array.shape)
        return Tensor(type, lambda: f"constant {type}", array)

    def cast(self, x: Tensor, dtype: DType) -> Tensor:
        return x if x.dtype is dtype else self.add("cast", x, dtype, result=x.type.with_dtype(dtype))

    def scan(
        self, step: Step, sequences: Sequence[Along], initial: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        length = sequences[0].length
        elements = self._named("element", [_without(each.tensor.type, each.dim) for each in sequences])
        carried = self._named("carried", [each.type for each in initial])
        given = ", ".join(str(each.tensor.handle) for each in sequences)
        self.lines.append(
            f"scan {_handles(elements)} in {given} with {_handles(carried)} = {_handles(initial)} {{"
        )
        emitted, following = step(elements, carried)
        self.lines.append(
            f"}} emits {_handles([each.tensor for each in emitted])} next {_handles(following)}"
        )
        stacks = [_with(each.tensor.type, each.dim, length) for each in emitted]
        return self._named("stack", stacks), self._named("last", [each.type for each in initial])

    def choose(
        self, flag: Tensor, operands: Sequence[Tensor], then: Branch, otherwise: Branch
    ) -> tuple[Tensor, ...]:
        self.lines.append(f"if {flag.handle} {{")
        first = then(operands)
        self.lines.append(f"}} gives {_handles(first)} else {{")
        self.lines.append(f"}} gives {_handles(otherwise(operands))}")
        return self._named("chosen", [each.type for each in first])

    def _named(self, wish: str, types: Sequence[TensorType]) -> tuple[Tensor, ...]:
        return tuple(_named(type, self._names.claim(wish)) for type in types)

    def shape_tensor(self, dims: Sequence[Dim]) -> Tensor:
        return self._shapes.of(dims)


def _handles(tensors: Sequence[Tensor]) -> str:
    return ", ".join(str(each.handle) for each in tensors)


def _without(type: TensorType, dim: int) -> TensorType:
    return type.with_shape((*type.shape[:dim], *type.shape[dim + 1 :]))


def _with(type: TensorType, dim: int, length: Dim) -> TensorType:
    return type.with_shape((*type.shape[:dim], length, *type.shape[dim:]))


def _named(type: TensorType, name: str) -> Tensor:
    return Tensor(type, lambda: name)


def _show(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(value.handle)
    if isinstance(value, list):
        return f"[{', '.join(map(_show, value))}]"
    return f"{value.dtype}[{', '.join(map(str, value.shape))}]" if hasattr(value, "dtype") else str(value)
