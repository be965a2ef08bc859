"""What rules ask about the values before a node: known numbers, and products in whatever order they stand.

``x * 0.5 * (1 + erf(x / 1.4142))`` is the number 0.5 and the factors ``x`` and ``1 + erf(…)``, however the
text puts them together.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trtdsl.ir import Graph, Node, Surroundings, Value, Weight, walk
from trtdsl.ops.base import Op
from trtdsl.ops.creation import Full, Listed, Parameter
from trtdsl.ops.division import Div
from trtdsl.ops.pointwise import Add, Mul, Pow
from trtdsl.ops.unary import Neg, Square
from trtdsl.types import TensorType

Array = npt.NDArray[Any]


def array_of(value: Value, around: Surroundings) -> Array | None:
    """The values of a weight or a constant; None for what is computed, or as long as they are not known."""
    if isinstance(value, Weight):
        return value.data
    maker = around.producer(value)
    if maker is None or any(weight.data is None for weight in maker.weights.values()) or maker.bodies:
        return None
    if len(maker.weights) != len(maker.operands):
        return None
    return maker.op.fold(**{slot: weight.data for slot, weight in maker.weights.items()})


def is_constant(value: Value, around: Surroundings) -> bool:
    """Whether a value is a weight, a parameter or a constant of the text, with values or still without."""
    maker = around.producer(value)
    return isinstance(value, Weight) or (
        maker is not None and isinstance(maker.op, Full | Listed | Parameter)
    )


def number_of(value: Value, around: Surroundings) -> float | None:
    """The number that a constant has in every place."""
    maker = around.producer(value)
    if maker is not None and isinstance(maker.op, Full):
        return float(maker.op.fill_value) if isinstance(maker.op.fill_value, (int, float)) else None
    array = array_of(value, around)
    if array is None or array.size == 0:
        return None
    first = array.flat[0]
    return float(first) if array.size == 1 or bool((array == first).all()) else None


def at_key(value: Value, around: Surroundings, key: str) -> Value:
    """A parameter of the checkpoint at this key as the weight itself; any other value as it is."""
    maker = around.producer(value)
    if maker is None or not isinstance(maker.op, Parameter) or maker.op.constant:
        return value
    return next((weight for weight in maker.weights.values() if weight.key == key), value)


def reads_of_weights(graph: Graph) -> Counter[Weight]:
    """How many operands each weight is, those in bodies included."""
    return Counter(value for node in walk(graph) for value in node.operands if isinstance(value, Weight))


def readers_of(graph: Graph) -> dict[Value, list[Node]]:
    """The nodes that read each value, once for each operand; of what nothing reads none."""
    found: dict[Value, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        for value in node.operands:
            found[value].append(node)
    return found


def obstacle_in_weights(layer: Node, reads: Counter[Weight]) -> str | None:
    """Why a layer's weights cannot be computed anew in their place; None where they can."""
    if layer.computed_weights:
        return "its weights are computed in the graph"
    if any(weight.data is None for weight in layer.weights.values()):
        return "the weights have no values yet: give a checkpoint"
    if any(reads[weight] > 1 for weight in layer.weights.values()):
        return "its weights are read elsewhere too"
    return None


def new_weight(key: str, type: TensorType, data: Array) -> Weight:
    """A weight that a pass has computed, rounded to its type."""
    return Weight(key, type, key, np.ascontiguousarray(data, dtype=type.dtype.numpy))


def is_near(one: float, other: float) -> bool:
    """Whether two numbers are the same constant, written in float32 or wider."""
    return math.isclose(one, other, rel_tol=1e-6)


def made_by(value: Value, around: Surroundings, *ops: type[Op]) -> Node | None:
    """The node, of one of these operators if they are given, that makes a value which nothing else reads."""
    maker = around.producer(value)
    return maker if maker and isinstance(maker.op, ops or Op) and around.is_read_once(value) else None


class Product(NamedTuple):
    """A number times values, which may have an order but need none."""

    number: float
    factors: tuple[Value, ...]

    def times(self, number: float, *factors: Value) -> Product:
        return Product(self.number * number, (*self.factors, *factors))


def product(value: Value, around: Surroundings) -> Product:
    """What a value is a product of, as far as nothing else reads the parts that are multiplied."""
    maker = around.producer(value)
    is_part = maker is not None and len(maker.results) == 1 and around.is_read_once(value)
    return product_of(maker, around) if maker and is_part else Product(1.0, (value,))


def product_of(node: Node, around: Surroundings) -> Product:
    """What a node's result is a product of; of itself where the node does not multiply."""
    match node.op:
        case Mul():
            return _multiplied(node.operands, around)
        case Div(rounding_mode=None) if known := number_of(node.operands[1], around):
            return product(node.operands[0], around).times(1 / known)
        case Neg():
            return product(node.operands[0], around).times(-1)
        case Square():
            return _power(node.operands[0], 2, around)
        case Pow() if (exponent := number_of(node.operands[1], around)) in (2, 3):
            return _power(node.operands[0], int(exponent), around)
        case _:
            return Product(1.0, (node.result,))


def _multiplied(operands: Sequence[Value], around: Surroundings) -> Product:
    whole = Product(1.0, ())
    for operand in operands:
        known = number_of(operand, around)
        part = product(operand, around) if known is None else Product(known, ())
        whole = whole.times(part.number, *part.factors)
    return whole


def _power(base: Value, exponent: int, around: Surroundings) -> Product:
    whole = Product(1.0, ())
    part = product(base, around)
    for _ in range(exponent):
        whole = whole.times(part.number, *part.factors)
    return whole


def with_number(node: Node | None, around: Surroundings) -> tuple[Value, float] | None:
    """Of a sum of a value and a number both; None for anything else."""
    if node is None or not isinstance(node.op, Add) or node.op.alpha != 1:
        return None
    left, right = node.operands
    for value, other in ((left, right), (right, left)):
        if (known := number_of(other, around)) is not None:
            return value, known
    return None


def transposed(array: Array) -> Array:
    """A matrix turned, in memory too."""
    return np.ascontiguousarray(array.T)
