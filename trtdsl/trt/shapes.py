"""Sizes at run time: symbolic dimensions as one-dimensional integer tensors.

In: dimensions such as ``(4 * N, H // 2, 64)``.  Out: a tensor of their values, computed by layers from
the shapes of the network's inputs.  Constants are folded, equal expressions are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtdsl.ops.lowering import Tensor
from trtdsl.trt.target import NetworkTarget
from trtdsl.types import Atom, Dim, DType, FloorDiv, MinMax, Symbol, SymbolicDim, TensorType
from trtdsl.types.dim import Monomial, of_atom

_ONE = TensorType(DType.INT64, (1,))


class ShapeTensors:
    """Shape tensors of one network, by expression."""

    def __init__(self, net: NetworkTarget) -> None:
        self._net = net
        self._dims: dict[Dim, Tensor] = {}
        self._joined: dict[tuple[Dim, ...], Tensor] = {}
        self._shapes: dict[str, Tensor] = {}

    def of(self, dims: Sequence[Dim]) -> Tensor:
        """A tensor ``int64[len(dims)]``."""
        if all(isinstance(dim, int) for dim in dims):
            return self._constant(*dims)
        if len(dims) == 1:
            return self._of_dim(dims[0])
        key = tuple(dims)
        if key not in self._joined:
            self._joined[key] = self._net.concat([self._of_dim(dim) for dim in dims], 0)
        return self._joined[key]

    def _constant(self, *values: Dim) -> Tensor:
        return self._net.constant(np.array(values, dtype=np.int64))

    def _of_dim(self, dim: Dim) -> Tensor:
        if isinstance(dim, int):
            return self._constant(dim)
        if dim not in self._dims:
            self._dims[dim] = self._computed(dim)
        return self._dims[dim]

    def _computed(self, dim: SymbolicDim) -> Tensor:
        """The sum of the terms."""
        parts = [self._term(coefficient, monomial) for coefficient, monomial in dim.terms]
        total = parts[0]
        for part in parts[1:]:
            total = self._net.elementwise("SUM", total, part)
        return total

    def _term(self, coefficient: int, monomial: Monomial) -> Tensor:
        if not monomial:
            return self._constant(coefficient)
        if stated := self._stated(SymbolicDim({monomial: coefficient})):
            return stated
        value = self._atom(monomial[0])
        for atom in monomial[1:]:
            value = self._net.elementwise("PROD", value, self._atom(atom))
        return (
            value if coefficient == 1 else self._net.elementwise("PROD", value, self._constant(coefficient))
        )

    def _atom(self, atom: Atom) -> Tensor:
        match atom:
            case Symbol():
                return self._symbol(atom)
            case FloorDiv(numerator, divisor):
                return self._net.elementwise("FLOOR_DIV", self._of_dim(numerator), self._of_dim(divisor))
            case MinMax(function, left, right):
                operation = "MIN" if function is min else "MAX"
                return self._net.elementwise(operation, self._of_dim(left), self._of_dim(right))

    def _symbol(self, wanted: Symbol) -> Tensor:
        """The symbol's value, read off an input dimension that is ``scale * symbol + offset``."""
        alone = of_atom(wanted)
        if alone not in self._dims:
            self._dims[alone] = self._read(wanted, alone)
        return self._dims[alone]

    def _stated(self, dim: SymbolicDim) -> Tensor | None:
        """The size of an input that a dimension with a step, or a part of it, is: it need not be computed."""
        match tuple(dim.by_monomial):
            case ((Symbol(step=step),),) if step > 1:
                pass
            case _:
                return None
        for name, tensor in self._net.inputs.items():
            if dim in tensor.shape:
                axis = tensor.shape.index(dim)
                return self._net.add("slice", self._shape(name), (axis,), (1,), (1,), result=_ONE)
        return None

    def _read(self, wanted: Symbol, alone: SymbolicDim) -> Tensor:
        places = [
            (name, axis, *linear)
            for name, tensor in self._net.inputs.items()
            for axis, dim in enumerate(tensor.shape)
            if (linear := _linear(dim, alone))
        ]
        if not places:
            raise self._net.refused(
                f"the value of `{wanted}` cannot be found at run time",
                f"no input has a dimension `{wanted}`, or a multiple of it plus a constant",
            )
        name, axis, scale, offset = min(places, key=lambda place: place[2:] != (1, 0))
        value = self._net.add("slice", self._shape(name), (axis,), (1,), (1,), result=_ONE)
        if offset:
            value = self._net.elementwise("SUB", value, self._constant(offset))
        return value if scale == 1 else self._net.elementwise("FLOOR_DIV", value, self._constant(scale))

    def _shape(self, name: str) -> Tensor:
        if name not in self._shapes:
            tensor = self._net.inputs[name]
            self._shapes[name] = self._net.add(
                "shape", tensor, result=TensorType(DType.INT64, (tensor.rank,))
            )
        return self._shapes[name]


def _linear(dim: Dim, alone: SymbolicDim) -> tuple[int, int] | None:
    """``(scale, offset)`` where ``dim == scale * symbol + offset``, else None."""
    if isinstance(dim, int):
        return None
    (monomial,) = alone.by_monomial
    scale = dim.by_monomial.get(monomial, 0)
    offset = dim - scale * alone
    return (scale, offset) if scale and isinstance(offset, int) else None
