"""Numbers of a model's text and checkpoint that a narrow type does not hold, and what is made of them.

In: a graph with its weights' values and a type.  Out: the values beyond the type's range, with how far; those
of which its smallest normal number cuts bits off; and the weights of either kind.  What comes of the inputs
nobody knows before data are there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trtdsl.ir import Graph, Node, Value, graphs
from trtdsl.ops.creation import Full, Listed, Parameter
from trtdsl.ops.division import Div
from trtdsl.ops.logic import MaskedFill, To, Where
from trtdsl.ops.pointwise import Add, Mul, Sub
from trtdsl.ops.unary import Abs, Neg
from trtdsl.passes.masks import STANDS_FOR_INFINITY
from trtdsl.types import DType

_SPREAD = (Add, Sub, Mul, Where, MaskedFill, Neg, Abs)
"""Operators whose results are as far beyond the range as what they read."""

_SHRINK = (Mul, Neg, Abs)
"""Operators whose results are as small as what they read."""


@dataclass
class Known:
    """Of a model's values: the magnitudes of those ``beyond`` the range, and those that are too ``small``."""

    beyond: dict[Value, float] = field(default_factory=dict[Value, float])
    small: set[Value] = field(default_factory=set[Value])


def known(graph: Graph, dtype: DType) -> Known:
    """What is known of a model's values, those of bodies included."""
    found = Known()
    for weight in graph.weights:
        if weight.data is not None:
            _note(found, weight, weight.data, dtype)
    for each in graphs(graph):
        for node in each.nodes:
            _follow(found, node, dtype)
    return found


def _note(found: Known, value: Value, numbers: npt.NDArray[Any], dtype: DType) -> None:
    if value.type.dtype is DType.FLOAT32 and numbers.size:
        magnitudes = np.abs(numbers)
        largest = float(np.max(magnitudes, where=magnitudes < STANDS_FOR_INFINITY, initial=0))
        if largest > dtype.largest:
            found.beyond[value] = largest
        elif vanishes(magnitudes, dtype):
            found.small.add(value)


def vanishes(magnitudes: npt.NDArray[Any], dtype: DType) -> bool:
    """Whether numbers lose more than a rounding does to those below the type's normal ones.

    What these hold of the Euclidean norm is more than two roundings' worth.
    """
    few = np.min(magnitudes, where=magnitudes > 0, initial=math.inf)
    if few >= dtype.smallest_normal:
        return False
    below = magnitudes[magnitudes < dtype.smallest_normal].astype(np.float64)
    # A subnormal number has a fixed step, so that the smaller it is, the more of it is lost.
    step = dtype.smallest_normal * 2 * dtype.unit
    lost = float(np.linalg.norm(np.minimum(below, step / 2)))
    return lost > 2 * dtype.unit * float(np.linalg.norm(magnitudes.ravel()))


def _follow(found: Known, node: Node, dtype: DType) -> None:
    """What is known of a node's results from what it reads."""
    if (numbers := _constant(node)) is not None:
        _note(found, node.result, numbers, dtype)
        return
    if isinstance(node.op, Parameter):
        _pass_on(found, node, node.operands)
    elif isinstance(node.op, Div):
        _pass_on(found, node, node.operands[:1])
    elif isinstance(node.op, _SPREAD) or node.op.moves:
        _pass_on(found, node, node.operands, small=isinstance(node.op, _SHRINK) or node.op.moves)


def _pass_on(found: Known, node: Node, read: tuple[Value, ...], small: bool = True) -> None:
    beyond = [found.beyond[value] for value in read if value in found.beyond]
    for result in node.results:
        if result.type.dtype is not DType.FLOAT32:
            continue
        if beyond:
            found.beyond[result] = max(beyond)
        elif small and any(value in found.small for value in read):
            found.small.add(result)


def _constant(node: Node) -> npt.NDArray[Any] | None:
    """The numbers that a node makes of nothing; None where they are computed, or depend on sizes."""
    match node.op:
        case Full(fill_value=int() | float() as number):
            return np.array(number, np.float32)
        case Listed():
            return np.asarray(node.op.fold())
        case _:
            return None


def describe(value: float) -> str:
    """A number as a reason names it."""
    return f"{value:.4g}"


def numbers_of(node: Node) -> Iterator[tuple[str, float]]:
    """The parameters of an operator that are fractions, such as epsilons, by name."""
    for name in node.op.parameters:
        number = getattr(node.op, name)
        if isinstance(number, float) and math.isfinite(number) and not isinstance(node.op, (Full, To)):
            yield name, number
