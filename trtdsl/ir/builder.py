"""Placing operators: unique names, inferred types, origins.

In: operators and the values they read.  Out: a :class:`~trtdsl.ir.graph.Graph`::

    build = Builder(origin="two layers")
    x = build.input("x", TensorType(DType.FLOAT32, (1, 8)))
    w = build.weight("fc.weight", TensorType(DType.FLOAT32, (4, 8)))
    y = build.value(Linear(4, bias=False), x, weight=w, scope="fc")
    graph = build.graph("m", {"y": build.value(Relu(), y, name="y")})

Elaboration, passes and tests all build with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.diagnostics import Origin
from trtdsl.ir.graph import Graph, Node, Output, Value, Weight, infer, operand_types
from trtdsl.ir.names import ValueNames
from trtdsl.ops.base import Op
from trtdsl.types import DType, TensorType

if TYPE_CHECKING:
    import numpy.typing as npt

Given = Value | Sequence[Value] | None
"""What stands in an operand's place: a value, several where it is variadic, or none where it is optional."""


class Builder:
    """A graph under construction: ``nodes`` so far, ``names`` that its values have.

    A body is built by a builder of its own that shares the model's names: :meth:`body`.
    ``origin`` says of what the nodes are made that are given no other origin.
    """

    def __init__(self, names: ValueNames | None = None, origin: Origin | str | None = None) -> None:
        self.names = names or ValueNames()
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self._origins = (Origin.made_from(origin) if isinstance(origin, str) else origin,) if origin else ()

    def body(self) -> Builder:
        """A builder of a body of one of this graph's nodes."""
        builder = Builder(self.names)
        builder._origins = self._origins
        return builder

    def input(self, name: str, type: TensorType) -> Value:
        """An input of the graph, named exactly so if no other value is."""
        value = Value(self.names.unique(name), type)
        self.inputs.append(value)
        return value

    def weight(self, key: str, data: npt.NDArray[Any] | TensorType) -> Weight:
        """A tensor of the state dict: its values, or its type alone where a checkpoint gives them later."""
        if isinstance(data, TensorType):
            return Weight(key, data, key)
        return Weight(key, TensorType(DType.of_numpy(data.dtype), data.shape), key, data)

    def value(self, op: Op, *operands: Given, **options: Any) -> Value:
        """Place an operator with one result; the options are those of :meth:`place` and weights by slot."""
        (result,) = self.place(op, *operands, **options)
        return result

    def place(
        self,
        op: Op,
        *operands: Given,
        name: str | Sequence[str] = (),
        scope: str = "",
        origins: Sequence[Origin] = (),
        bodies: Sequence[Graph] = (),
        results: Sequence[Value] = (),
        **weights: Value,
    ) -> tuple[Value, ...]:
        """Place an operator on its operands, in the order that it declares them, and its weights by slot.

        ``name`` is what the result, or each result, is called if that is free; by default its scope or its
        operator. With ``results`` it makes those, values of a node that it stands for.
        Raises :class:`~trtdsl.ops.refused.Refused` where the operator refuses.
        """
        pairs: list[tuple[str, Value]] = []
        for operand, given in zip(op.operands, operands, strict=False):
            values = [given] if isinstance(given, Value) else given or ()
            pairs += [(operand.name, value) for value in values]
        return self.place_at(op, [*pairs, *weights.items()], name, scope, origins, bodies, results)

    def place_at(
        self,
        op: Op,
        pairs: Sequence[tuple[str, Value]],
        name: str | Sequence[str] = (),
        scope: str = "",
        origins: Sequence[Origin] = (),
        bodies: Sequence[Graph] = (),
        results: Sequence[Value] = (),
    ) -> tuple[Value, ...]:
        """Like :meth:`place`, with the operands as pairs of a slot and a value."""
        types = infer(op, operand_types(op, pairs), bodies)
        if not results:
            wishes = [name] if isinstance(name, str) else list(name) or _wishes(op, scope, len(types))
            return self.add(op, pairs, types, wishes, scope, origins, bodies)
        if tuple(result.type for result in results) != types:
            raise TypeError(f"`{op.name}` makes {', '.join(map(str, types))}, not what it is placed for")
        self._append(op, pairs, results, scope, origins, bodies)
        return tuple(results)

    def add(
        self,
        op: Op,
        pairs: Sequence[tuple[str, Value]],
        types: Sequence[TensorType],
        wishes: Sequence[str],
        scope: str = "",
        origins: Sequence[Origin] = (),
        bodies: Sequence[Graph] = (),
    ) -> tuple[Value, ...]:
        """Place an operator whose results' types are known already, each named as near its wish as can be."""
        named = zip(wishes, types, strict=True)
        results = tuple(Value(self.names.unique(wish), type) for wish, type in named)
        self._append(op, pairs, results, scope, origins, bodies)
        return results

    def _append(
        self,
        op: Op,
        pairs: Sequence[tuple[str, Value]],
        results: Sequence[Value],
        scope: str,
        origins: Sequence[Origin],
        bodies: Sequence[Graph],
    ) -> None:
        operands, slots = tuple(value for _, value in pairs), tuple(slot for slot, _ in pairs)
        origins = tuple(origins) or self._origins
        self.nodes.append(Node(op, operands, slots, tuple(results), scope, origins, tuple(bodies)))

    def graph(self, name: str, outputs: Mapping[str, Value], **fields: Any) -> Graph:
        """What was built, with these outputs; ``fields`` are further ones of the graph."""
        made = tuple(Output(each, value, self._origins) for each, value in outputs.items())
        return Graph(name, tuple(self.inputs), tuple(self.nodes), made, **fields)


def _wishes(op: Op, scope: str, count: int) -> list[str]:
    own = scope or op.name
    return [own] if count == 1 else [f"{own}_{index}" for index in range(count)]
