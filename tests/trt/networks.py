"""Small operators and graphs for the tests of lowering and building, independent of trtdsl.ops' families."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtdsl.diagnostics import Origin, Source, Span
from trtdsl.ir import Graph, Node, Output, Profile, Value, Weight
from trtdsl.ops.base import Function, Module, Operand
from trtdsl.ops.lowering import Network, Tensor
from trtdsl.types import Dim, DType, Symbol, SymbolicDim, TensorType, symbols

TEXT = "x = data -> conv1: Conv2d(8, 3) -> relu\n"
SOURCE = Source("cnn.trtnet", TEXT)
F32 = DType.FLOAT32


def at(word: str) -> tuple[Origin, ...]:
    """The place of a word of :data:`TEXT`."""
    start = TEXT.index(word)
    return (Origin(Span(SOURCE, start, start + len(word))),)


class Conv(Module, abstract=True):
    """A 3x3 convolution that keeps the size."""

    name = "Conv"
    operands = (Operand("input", False, False),)

    channels: int
    properties: tuple[tuple[str, Any], ...] = (("padding_nd", (1, 1)),)

    def infer(self, input: TensorType) -> TensorType:
        return input.with_shape((input.shape[0], self.channels, *input.shape[2:]))

    def lower(self, net: Network, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        array = bias.array if bias else None
        given = dict(self.properties)
        return net.add("convolution_nd", input, self.channels, (3, 3), weight.array, array, **given)


class Relu(Function, abstract=True):
    """``max(input, 0)``."""

    name = "relu"
    operands = (Operand("input", False, False),)

    def infer(self, input: TensorType) -> TensorType:
        return input

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.activation("RELU", input)


class Reshape(Function, abstract=True):
    """Another shape."""

    name = "reshape"
    operands = (Operand("input", False, False),)

    shape: tuple[Dim, ...]

    def infer(self, input: TensorType) -> TensorType:
        return input.with_shape(self.shape)

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return net.reshape(input, self.shape)


class Add(Function, abstract=True):
    """The sum, a weight's constant included."""

    name = "add"
    operands = (Operand("input", False, False), Operand("other", False, False))

    def infer(self, input: TensorType, other: TensorType) -> TensorType:
        return input

    def lower(self, net: Network, input: Tensor, other: Tensor) -> Tensor:
        return net.elementwise("SUM", input, other)


class Same(Function, abstract=True):
    """The input itself: no layer at all."""

    name = "same"
    operands = (Operand("input", False, False),)

    def infer(self, input: TensorType) -> TensorType:
        return input

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return input


class Lambda(Function, abstract=True):
    """Whatever ``body`` emits, promising ``type``."""

    name = "lambda"
    operands = (Operand("input", False, False),)

    body: Any
    type: TensorType

    def infer(self, input: TensorType) -> TensorType:
        return self.type

    def lower(self, net: Network, input: Tensor) -> Tensor:
        return self.body(net, input)


def symbol_of(dim: Dim) -> Symbol:
    assert isinstance(dim, SymbolicDim)
    (found,) = symbols(dim)
    return found


def apply(op: Any, *operands: Value, scope: str = "", word: str = "", name: str = "") -> Node:
    """A node whose only result has the type the operator infers."""
    slots = [operand.name for operand in op.operands]
    slots += [slot for slot in ("weight", "bias") if len(slots) < len(operands)][: len(operands) - len(slots)]
    named = {slot: value.type for slot, value in zip(slots, operands, strict=True)}
    inferred = op.infer(**{operand.name: named[operand.name] for operand in op.operands})
    result = Value(name or f"{op.name}_result", inferred)
    return Node(op, operands, tuple(slots), (result,), scope, at(word) if word else ())


def weight(key: str, data: np.ndarray[Any, Any]) -> Weight:
    return Weight(key, TensorType(DType.of_numpy(data.dtype), data.shape), key=key, data=data)


def conv_relu(
    shape: tuple[Dim, ...] = (2, 3, 8, 8), dtype: DType = F32, channels: int = 8, **changes: Any
) -> Graph:
    """A convolution with bias and a relu, of which the second names the output."""
    data = Value("data", TensorType(dtype, shape))
    random = np.random.default_rng(0)
    kernel = random.standard_normal((channels, 3, 3, 3)).astype(dtype.numpy)
    bias = random.standard_normal(channels).astype(dtype.numpy)
    conv = apply(
        Conv(channels), data, weight("conv1.weight", kernel), weight("conv1.bias", bias),
        scope="conv1", word="conv1: Conv2d", name="c",
    )  # fmt: skip
    relu = apply(Relu(), conv.result, word="relu", name="r")
    graph = dynamic(Graph("cnn", (data,), (conv, relu), (Output("logits", relu.result),)))
    return graph.replace(**changes)


def dynamic(graph: Graph, *others: Profile) -> Graph:
    """The graph with its inputs' symbols and their default profile, then further ones."""
    found = {symbol for value in graph.inputs for dim in value.type.shape for symbol in symbols(dim)}
    if not found:
        return graph
    ordered = tuple(sorted(found, key=lambda symbol: symbol.name))
    ranges = {symbol.name: (symbol.minimum, symbol.optimum, symbol.maximum) for symbol in ordered}
    further = tuple(Profile(other.name, {**ranges, **other.ranges}) for other in others)
    return graph.replace(symbols=ordered, profiles=(Profile("default", ranges), *further))


def one(op: Any, *inputs: Value, outputs: tuple[str, ...] = ("y",)) -> Graph:
    """A graph of one operator."""
    node = apply(op, *inputs, word="relu")
    return dynamic(Graph("one", inputs, (node,), tuple(Output(name, node.result) for name in outputs)))
