"""Everything between the inputs and the outputs in one floating-point type."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Origin
from trtdsl.ir import Graph, Node, Output, Value, Weight
from trtdsl.ops.base import Op
from trtdsl.ops.logic import To
from trtdsl.ops.refused import Refused
from trtdsl.types import DType

CONVERTED = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
"""The types that stand for real numbers; float8 carries its scale elsewhere and stays."""


@dataclass(frozen=True)
class ConvertPrecision:
    """Compute in ``dtype``: weights and constants are rounded, inputs and outputs keep their types.

    Integers stay as they are. A weight whose numbers ``dtype`` cannot hold raises DiagnosticError.

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

    __name__: ClassVar[str] = "convert_precision"

    dtype: DType

    def __call__(self, graph: Graph) -> Graph:
        if _is_converted(graph, self.dtype):
            return graph
        conversion = _Conversion(graph, self.dtype)
        for node in graph.nodes:
            conversion.convert(node)
        outputs = tuple(conversion.output(output) for output in graph.outputs)
        return graph.replace(nodes=tuple(conversion.nodes), outputs=outputs)


def _is_converted(graph: Graph, dtype: DType) -> bool:
    """Whether floating-point values of another type are inputs or outputs, with a cast behind or before."""
    at_edge = {*graph.inputs, *(output.value for output in graph.outputs)}
    inside = [value for node in graph.nodes for value in (*node.operands, *node.results)]
    if any(_is_other(value, dtype) and value not in at_edge for value in inside):
        return False
    edges = (
        node
        for node in graph.nodes
        if any(_is_other(value, dtype) for value in (*node.operands, *node.results))
    )
    return all(isinstance(node.op, To) for node in edges)


def _is_other(value: Value, dtype: DType) -> bool:
    return value.type.dtype in CONVERTED and value.type.dtype is not dtype


class _Conversion:
    """The new nodes so far, and what each old value has become."""

    def __init__(self, graph: Graph, dtype: DType) -> None:
        self.nodes: list[Node] = []
        self._dtype = dtype
        self._new: dict[Value, Value] = {}
        self._names = {value.name for value in graph.inputs}
        self._names |= {result.name for node in graph.nodes for result in node.results}
        self._inputs = frozenset(graph.inputs)

    def convert(self, node: Node) -> None:
        """Append the node on converted operands, and a cast where it still makes another float type."""
        operands = tuple(self._operand(value, node.origins) for value in node.operands)
        converted = dataclasses.replace(node, op=_retyped(node, self._dtype), operands=operands)
        try:
            types = converted.infer()
        except Refused as refused:
            raise DiagnosticError(_cannot(node, self._dtype, refused)) from refused
        results = tuple(Value(old.name, type) for old, type in zip(node.results, types, strict=True))
        self.nodes.append(dataclasses.replace(converted, results=results))
        for old, new in zip(node.results, results, strict=True):
            self._new[old] = self._cast(new, self._dtype, node.origins) if self._is_other(new) else new

    def output(self, output: Output) -> Output:
        """The output in the type it had."""
        old = output.value
        if old in self._inputs or isinstance(old, Weight):
            return output
        new = self._new[old]
        if new.type.dtype is not old.type.dtype:
            producer = next(node for node in reversed(self.nodes) if new in node.results)
            new = self._cast(new, old.type.dtype, output.origins or producer.origins)
        return dataclasses.replace(output, value=new)

    def _operand(self, value: Value, origins: tuple[Origin, ...]) -> Value:
        if value not in self._new:
            # Not made by a node: an input or a weight, met for the first time.
            self._new[value] = self._source(value, origins) if self._is_other(value) else value
        return self._new[value]

    def _source(self, value: Value, origins: tuple[Origin, ...]) -> Value:
        if isinstance(value, Weight):
            return _rounded(value, self._dtype)
        return self._cast(value, self._dtype, origins)

    def _is_other(self, value: Value) -> bool:
        return _is_other(value, self._dtype)

    def _cast(self, value: Value, dtype: DType, origins: tuple[Origin, ...]) -> Value:
        result = Value(_free(f"{value.name}_{dtype}", self._names), value.type.with_dtype(dtype))
        self._names.add(result.name)
        self.nodes.append(Node(To(dtype), (value,), ("input",), (result,), origins=origins))
        return result


def _retyped(node: Node, dtype: DType) -> Op:
    """The operator, its parameter ``dtype`` changed where that is what makes its result a float."""
    op = node.op
    stated = getattr(op, "dtype", None)
    from_nothing = not any(operand for operand in node.operands if not isinstance(operand, Weight))
    makes_floats = any(result.type.dtype in CONVERTED for result in node.results)
    if "dtype" not in op.parameters or not makes_floats or not (stated in CONVERTED or from_nothing):
        return op
    return dataclasses.replace(op, dtype=dtype)  # pyright: ignore[reportCallIssue]


def _rounded(weight: Weight, dtype: DType) -> Weight:
    type = weight.type.with_dtype(dtype)
    if weight.data is None:
        return Weight(weight.name, type, weight.key)
    with np.errstate(over="ignore"):
        data = weight.data.astype(dtype.numpy)
    lost = np.isinf(data) & np.isfinite(weight.data)
    if lost.any():
        largest = np.abs(weight.data[lost].astype(np.float64)).max()
        message = f"{dtype} cannot hold the weight `{weight.key}`: its numbers go up to {largest:g}"
        raise DiagnosticError(Diagnostic(message, help=("bfloat16 has the range of float32",)))
    return Weight(weight.name, type, weight.key, data)


def _cannot(node: Node, dtype: DType, refused: Refused) -> Diagnostic:
    message = f"`{node.op.name}` cannot be computed in {dtype}: {refused.message}"
    return Diagnostic.at(message, node.origins, (refused.help,) if refused.help else ())


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, or the first of ``name_1``, ``name_2`` … that is not taken."""
    wanted, number = name, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name
