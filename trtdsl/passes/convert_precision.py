"""Everything between the inputs and the outputs in one floating-point type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Origin
from trtdsl.ir import Builder, Graph, Node, Output, Value, ValueNames, Weight, bodies_by_name
from trtdsl.ops.base import Module, Op
from trtdsl.ops.logic import To
from trtdsl.ops.refused import Refused
from trtdsl.passes.declare import Pass
from trtdsl.passes.masks import within_range
from trtdsl.types import DType, TensorType

CONVERTED = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
"""The types that stand for real numbers; float8 carries its scale elsewhere and stays."""

TOLERANCES = {DType.FLOAT16: 5e-3, DType.BFLOAT16: 4e-2}
"""Relative L2 error of a network in that type. A rounding is at most 2**-11 (2**-8 in bfloat16) of a value;
those of some forty layers, one after the other, add up like a random walk: about 6 times that."""


def convert_precision(dtype: DType) -> Pass:
    """The pass that computes in ``dtype``. It runs where a precision is asked for, after all others, so that
    what they fold is folded in the checkpoint's precision and rounded once."""

    def function(graph: Graph) -> Graph:
        return _converted(graph, dtype)

    function.__doc__ = _converted.__doc__
    return Pass("convert_precision", function, TOLERANCES.get(dtype, 0.0))


def _converted(graph: Graph, dtype: DType) -> Graph:
    """Compute in one precision: weights and constants are rounded, inputs and outputs keep their types.

    Numbers that stand for infinity, as a mask's -3.4e38, become the type's own largest. Integers stay as they
    are, and so does what is written in place, for its memory is the caller's, and a
    plugin, whose types are those of the text. A weight whose numbers the type cannot hold raises
    DiagnosticError.

    before::

        model example() {
          input x: float32[2, 3]
          scale = full((), 0.5)
          a = fc: Linear(4)(x)
          y = mul(a, scale)
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 3]
          scale = full((), 0.5, dtype = float16)
          x_float16 = to(x, float16)
          a = fc: Linear(4)(x_float16)
          y = mul(a, scale)
          y_float32 = to(y, float32)
          output y = y_float32
        }
    """
    if _is_converted(graph, dtype):
        return graph
    graph = within_range(graph, dtype).graph
    conversion = _Conversion(dtype, Builder(ValueNames.of(graph)), {})
    conversion.run(graph, {value: value for value in graph.inputs if not _is_other(value, dtype)})
    outputs = tuple(conversion.output(output, graph) for output in graph.outputs)
    return graph.replace(nodes=tuple(conversion.nodes), outputs=outputs)


def _is_converted(graph: Graph, dtype: DType) -> bool:
    """Whether floating-point values of another type are inputs or outputs, with a cast behind or before."""
    at_edge = {*graph.inputs, *(output.value for output in graph.outputs)}
    converted = [*_converted_graphs(graph)]
    nodes = [node for each in converted for node in each.nodes]
    at_edge |= {value for node in nodes if _is_kept(node) for value in (*node.operands, *node.results)}
    inside = [value for node in nodes for value in (*node.operands, *node.results)]
    inside += [value for body in converted if body is not graph for value in body.inputs]
    if any(_is_other(value, dtype) and value not in at_edge for value in inside):
        return False
    edges = (
        node for node in nodes if any(_is_other(value, dtype) for value in (*node.operands, *node.results))
    )
    return all(isinstance(node.op, To) or _is_kept(node) for node in edges)


def _converted_graphs(graph: Graph) -> Iterator[Graph]:
    """The graph itself and the bodies in it, but for those of nodes that are kept."""
    yield graph
    for node in graph.nodes:
        for body in () if _is_kept(node) else node.bodies:
            yield from _converted_graphs(body)


def _is_kept(node: Node) -> bool:
    return bool(node.op.in_place) or node.op.keeps_types


def _is_other(value: Value, dtype: DType) -> bool:
    return value.type.dtype in CONVERTED and value.type.dtype is not dtype


class _Conversion:
    """One graph's new nodes, and what each old value has become. Bodies share the rounded weights."""

    def __init__(self, dtype: DType, builder: Builder, weights: dict[Weight, Weight]) -> None:
        self._dtype = dtype
        self._builder = builder
        self._weights = weights
        self._new: dict[Value, Value] = {}
        self._kept: set[Value] = set()

    @property
    def nodes(self) -> list[Node]:
        return self._builder.nodes

    def run(self, graph: Graph, inputs: Mapping[Value, Value]) -> None:
        """Convert a graph's nodes; ``inputs`` have become these already."""
        self._new.update(inputs)
        for node in graph.nodes:
            self._keep(node) if _is_kept(node) else self._convert(node)

    def _keep(self, node: Node) -> None:
        """Append a node as it is; like an input, its result is cast where it is read."""
        operands = tuple(self._as_it_was(value, node.origins) for value in node.operands)
        self.nodes.append(node.replace(operands=operands))
        self._kept.update(node.results)
        self._new.update((result, result) for result in node.results if not self._is_other(result))

    def _as_it_was(self, value: Value, origins: tuple[Origin, ...]) -> Value:
        """A value in its own type: an input itself, what was computed cast back."""
        new = self._new.get(value, value)
        return new if new.type.dtype is value.type.dtype else self._cast(new, value.type.dtype, origins)

    def _convert(self, node: Node) -> None:
        """Append the node on converted operands, and a cast where it still makes another float type."""
        operands = tuple(self._operand(value, node.origins) for value in node.operands)
        converted = node.replace(op=_retyped(node, self._dtype), operands=operands)
        try:
            converted = converted.replace(bodies=self._bodies(converted))
            types = converted.infer()
        except Refused as refused:
            raise DiagnosticError(_cannot(node, self._dtype, refused)) from refused
        results = tuple(Value(old.name, type) for old, type in zip(node.results, types, strict=True))
        self.nodes.append(converted.replace(results=results))
        for old, new in zip(node.results, results, strict=True):
            self._new[old] = self._cast(new, self._dtype, node.origins) if self._is_other(new) else new

    def _bodies(self, node: Node) -> tuple[Graph, ...]:
        """The bodies on inputs of the types that the converted operands ask for."""
        if not node.bodies:
            return ()
        wanted = node.op.body_inputs(**node.operand_types)
        pairs = bodies_by_name(node.op, node.bodies).items()
        return tuple(self._body(body, wanted[name]) for name, body in pairs)

    def _body(self, body: Graph, types: Sequence[TensorType]) -> Graph:
        inner = _Conversion(self._dtype, self._builder.body(), self._weights)
        inputs = tuple(Value(old.name, type) for old, type in zip(body.inputs, types, strict=True))
        inner.run(body, dict(zip(body.inputs, inputs, strict=True)))
        outputs = tuple(
            output.replace(value=inner._operand(output.value, output.origins)) for output in body.outputs
        )
        return body.replace(inputs=inputs, nodes=tuple(inner.nodes), outputs=outputs)

    def output(self, output: Output, graph: Graph) -> Output:
        """The model's output in the type it had."""
        old = output.value
        if old in graph.inputs or old in self._kept:
            return output
        new = self._new[old]
        if new.type.dtype is not old.type.dtype:
            producer = next(node for node in reversed(self.nodes) if new in node.results)
            new = self._cast(new, old.type.dtype, output.origins or producer.origins)
        return output.replace(value=new)

    def _operand(self, value: Value, origins: tuple[Origin, ...]) -> Value:
        if isinstance(value, Weight):
            return self._weight(value)
        if value not in self._new:
            # An input of another type, met for the first time.
            self._new[value] = self._cast(value, self._dtype, origins)
        return self._new[value]

    def _weight(self, weight: Weight) -> Weight:
        if weight not in self._weights:
            other = self._is_other(weight)
            self._weights[weight] = _rounded(weight, self._dtype) if other else weight
        return self._weights[weight]

    def _is_other(self, value: Value) -> bool:
        return _is_other(value, self._dtype)

    def _cast(self, value: Value, dtype: DType, origins: tuple[Origin, ...]) -> Value:
        return self._builder.value(To(dtype), value, name=f"{value.name}_{dtype}", origins=origins)


def _retyped(node: Node, dtype: DType) -> Op:
    """The operator, its parameter ``dtype`` changed where that is what makes its result a float."""
    op = node.op
    stated = getattr(op, "dtype", None)
    from_nothing = not any(operand for operand in node.operands if not isinstance(operand, Weight))
    makes_floats = any(result.type.dtype in CONVERTED for result in node.results)
    # A module that is told the dtype of its weights, such as `Embedding`, has float32 where it is not.
    decides = stated in CONVERTED or from_nothing or isinstance(op, Module)
    if "dtype" not in op.parameters or not makes_floats or not decides:
        return op
    return op.replace(dtype=dtype)


def _rounded(weight: Weight, dtype: DType) -> Weight:
    type = weight.type.with_dtype(dtype)
    if weight.data is None:
        return weight.replace(type=type)
    with np.errstate(over="ignore"):
        data = weight.data.astype(dtype.numpy)
    lost = np.isinf(data) & np.isfinite(weight.data)
    if lost.any():
        largest = np.abs(weight.data[lost].astype(np.float64)).max()
        message = f"{dtype} cannot hold the weight `{weight.key}`: its numbers go up to {largest:g}"
        raise DiagnosticError(Diagnostic(message, help=("bfloat16 has the range of float32",)))
    return weight.replace(type=type, data=data)


def _cannot(node: Node, dtype: DType, refused: Refused) -> Diagnostic:
    message = f"`{node.op.name}` cannot be computed in {dtype}: {refused.message}"
    return Diagnostic.at(message, node.origins, (refused.help,) if refused.help else ())
