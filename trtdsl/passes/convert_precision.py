"""Everything between the inputs and the outputs in one floating-point type, but for what is to stay as it is.

In: a graph and a type, and perhaps nodes that stay.  Out: the graph with casts where a value is read in
another type than it is made in, one for all readers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Origin
from trtdsl.ir import Builder, Graph, Node, Output, Value, ValueNames, Weight, bodies_by_name, walk
from trtdsl.ops.base import Module, Op
from trtdsl.ops.creation import Parameter
from trtdsl.ops.logic import To
from trtdsl.ops.pointwise import Clamp
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
    return convert(within_range(graph, dtype).graph, dtype)


def convert(
    graph: Graph,
    dtype: DType,
    stay: Collection[Node] = (),
    *,
    beyond: Collection[Value] = (),
    edges: bool = False,
) -> Graph:
    """The graph computed in ``dtype``, but for the nodes that ``stay``, those of bodies included.

    A value ``beyond`` the type's range is cut off to that where it is cast to it. With ``edges`` the model's
    inputs and outputs become of the type too. Raises DiagnosticError for what the type cannot hold.
    """
    shared = _Shared(dtype, frozenset(stay), frozenset(beyond), _weights_that_stay(graph, frozenset(stay)))
    conversion = _Conversion(shared, Builder(ValueNames.of(graph)))
    inputs = tuple(_at_edge(value, dtype) if edges else value for value in graph.inputs)
    conversion.run(graph, dict(zip(graph.inputs, inputs, strict=True)))
    outputs = tuple(conversion.output(output, dtype if edges else None) for output in graph.outputs)
    return graph.replace(inputs=inputs, nodes=tuple(conversion.nodes), outputs=outputs)


def is_converted_type(type: TensorType) -> bool:
    """Whether values of this type stand for real numbers, and are what a precision is about."""
    return type.dtype in CONVERTED


def is_cast(node: Node) -> bool:
    """Whether a node does nothing but turn one floating-point type into another."""
    return isinstance(node.op, To) and all(is_converted_type(v.type) for v in (*node.operands, *node.results))


def _at_edge(value: Value, dtype: DType) -> Value:
    return value.replace(type=value.type.with_dtype(dtype)) if _is_other(value, dtype) else value


def _weights_that_stay(graph: Graph, stay: Collection[Node]) -> frozenset[Weight]:
    """The weights that a node reads which stays: a key has one weight, in one type."""
    return frozenset(
        w for node in walk(graph) if _is_kept(node) or node in stay for w in node.weights.values()
    )


def _is_converted(graph: Graph, dtype: DType) -> bool:
    """Whether floating-point values of another type are inputs or outputs, with a cast after or before."""
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
    return is_converted_type(value.type) and value.type.dtype is not dtype


@dataclass(frozen=True, eq=False)
class _Shared:
    """What the conversions of a model's graphs, its own and its bodies', have in common."""

    dtype: DType
    stay: frozenset[Node]
    beyond: frozenset[Value]
    wide_weights: frozenset[Weight]
    rounded: dict[Weight, Weight] = field(default_factory=dict[Weight, Weight])


class _Conversion:
    """One graph's new nodes, and what each old value has become, in each type that it is read in."""

    def __init__(self, shared: _Shared, builder: Builder) -> None:
        self._shared = shared
        self._dtype = shared.dtype
        self._builder = builder
        self._made: dict[Value, Value] = {}
        self._cast_to: dict[tuple[Value, DType], Value] = {}

    @property
    def nodes(self) -> list[Node]:
        return self._builder.nodes

    def run(self, graph: Graph, inputs: Mapping[Value, Value]) -> None:
        """Convert a graph's nodes; ``inputs`` have become these already."""
        self._made.update(inputs)
        for node in graph.nodes:
            if is_cast(node):
                # Its reader says in which type it reads.
                self._made[node.result] = self._made.get(node.operands[0], node.operands[0])
            elif _is_kept(node) or node in self._shared.stay:
                self._keep(node)
            else:
                self._convert(node)

    def _keep(self, node: Node) -> None:
        """Append a node as it is."""
        operands = tuple(self._as(value, value.type.dtype, node.origins) for value in node.operands)
        self.nodes.append(node.replace(operands=operands))
        self._made.update((result, result) for result in node.results)

    def _convert(self, node: Node) -> None:
        """Append the node on converted operands."""
        operands = tuple(self._operand(value, node.origins) for value in node.operands)
        converted = node.replace(op=_retyped(node, self._dtype), operands=operands)
        try:
            converted = converted.replace(bodies=self._bodies(converted))
            types = converted.infer()
        except Refused as refused:
            raise DiagnosticError(_cannot(node, self._dtype, refused)) from refused
        results = tuple(Value(old.name, type) for old, type in zip(node.results, types, strict=True))
        self.nodes.append(converted.replace(results=results))
        self._made.update(zip(node.results, results, strict=True))

    def _bodies(self, node: Node) -> tuple[Graph, ...]:
        """The bodies on inputs of the types that the converted operands ask for."""
        if not node.bodies:
            return ()
        wanted = node.op.body_inputs(**node.operand_types)
        pairs = bodies_by_name(node.op, node.bodies).items()
        return tuple(self._body(body, wanted[name]) for name, body in pairs)

    def _body(self, body: Graph, types: Sequence[TensorType]) -> Graph:
        inner = _Conversion(self._shared, self._builder.body())
        inputs = tuple(Value(old.name, type) for old, type in zip(body.inputs, types, strict=True))
        inner.run(body, dict(zip(body.inputs, inputs, strict=True)))
        outputs = tuple(
            output.replace(value=inner._operand(output.value, inner._origins(output)))
            for output in body.outputs
        )
        return body.replace(inputs=inputs, nodes=tuple(inner.nodes), outputs=outputs)

    def output(self, output: Output, dtype: DType | None) -> Output:
        """The model's output in the type it had, or in ``dtype``."""
        old = output.value
        wanted = dtype if dtype and is_converted_type(old.type) else old.type.dtype
        return output.replace(value=self._as(old, wanted, self._origins(output)))

    def _origins(self, output: Output) -> tuple[Origin, ...]:
        """The output's own place, or else that of what makes its value."""
        new = self._made.get(output.value, output.value)
        producer = next((node for node in reversed(self.nodes) if new in node.results), None)
        return output.origins or (producer.origins if producer else ())

    def _operand(self, value: Value, origins: tuple[Origin, ...]) -> Value:
        """What a converted node reads in a value's place."""
        dtype = self._dtype if is_converted_type(value.type) else value.type.dtype
        return self._as(value, dtype, origins)

    def _as(self, value: Value, dtype: DType, origins: tuple[Origin, ...]) -> Value:
        """What a value has become, in a type."""
        new = self._made.get(value, value)
        if new.type.dtype is dtype or not is_converted_type(new.type):
            return new
        if isinstance(new, Weight) and new not in self._shared.wide_weights:
            return self._rounded(new)
        if (new, dtype) not in self._cast_to:
            self._cast_to[new, dtype] = self._cast(value, new, dtype, origins)
        return self._cast_to[new, dtype]

    def _rounded(self, weight: Weight) -> Weight:
        rounded = self._shared.rounded
        if weight not in rounded:
            rounded[weight] = _rounded(weight, self._dtype)
        return rounded[weight]

    def _cast(self, value: Value, new: Value, dtype: DType, origins: tuple[Origin, ...]) -> Value:
        name = f"{new.name}_{dtype}"
        if isinstance(new, Weight):
            op = Parameter(new.type.shape, new.type.dtype)  # pyright: ignore[reportArgumentType]  # a weight's are known
            new = self._builder.value(op, value=new, name=new.name, scope=new.key, origins=origins)
        if value in self._shared.beyond and dtype is self._dtype:
            limit = dtype.largest
            new = self._builder.value(Clamp(-limit, limit), new, name=f"{new.name}_within", origins=origins)
        return self._builder.value(To(dtype), new, name=name, origins=origins)


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
