"""Operators that are made of other operators.

In: a class whose ``compose`` says which operators, on what.  Out: its types, its layers and its folding,
all from that one statement, run on types, on a network's tensors and on arrays::

    class Logit(Composed):
        '''``log(input / (1 - input))``.'''
        torch = "torch.logit"
        examples = ("logit(float32[N, 8]) -> float32[N, 8]",)

        def compose(self, emit: Emit, input: Part) -> Part:
            return emit(Log(), emit(Div(), input, emit(Sub(), 1.0, input)))

What its parameters and operands must be, which the inner operators would say in their own words, ``compose``
says first, by raising :class:`~trtdsl.ops.refused.Refused`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trtdsl.ops.base import Function, Op, Types
from trtdsl.ops.rules import DEFAULT_FLOAT, type_of
from trtdsl.types import Dim, DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


class Part(Protocol):
    """A value within a composition, whichever way it is run."""

    @property
    def shape(self) -> tuple[Dim, ...]: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def rank(self) -> int: ...


def type_of_part(x: Part) -> TensorType:
    """The type of a value within a composition."""
    return TensorType(x.dtype, x.shape)


Emit = Callable[..., Any]
"""``emit(op, *operands)``: the operator's result, a tuple of them where it has several.

A variadic operand is a list. A number is a tensor of rank 0 in the dtype of those beside, floats before
integers before bools; a float beside integers only is a float32.
"""


class Composed(Function, abstract=True):
    """A function that is made of others. The arguments of ``compose`` after the first are its operands."""

    def compose(self, emit: Emit, *operands: Any, **named: Any) -> Any:
        """The results, as what ``emit`` returns."""
        raise TypeError(f"{type(self).__name__} states no composition")

    @classmethod
    def operand_names(cls) -> Callable[..., Any]:
        return cls.compose

    def infer(self, *operands: Any, **named: Any) -> Types:
        return self.compose(_infer, *operands, **named)

    def lower(self, net: Network, *operands: Any, **named: Any) -> Tensor | tuple[Tensor, ...]:
        return self.compose(net.apply, *operands, **named)

    def fold(self, *operands: Any, **named: Any) -> Any:
        try:
            result = self.compose(
                _fold, *map(_known, operands), **{name: _known(x) for name, x in named.items()}
            )
        except _Unknown:
            return None
        return tuple(x.array for x in result) if isinstance(result, tuple) else result.array  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def arguments_of(
    op: Op, operands: Sequence[Any], number: Callable[[bool | int | float, DType], Any]
) -> dict[str, Any]:
    """Operands given in order, by name; ``number`` makes a tensor of one in the dtype that it has here.

    Raises TypeError where there are more operands than the operator takes.
    """
    if len(operands) > len(op.operands):
        raise TypeError(f"{type(op).__name__} takes {len(op.operands)} operands, not {len(operands)}")
    dtypes = [x.dtype for x in operands if hasattr(x, "dtype")]
    values = [
        number(x, _dtype_beside(x, dtypes)) if isinstance(x, (bool, int, float)) else x for x in operands
    ]
    named = zip(op.operands, values, strict=False)
    return {operand.name: value for operand, value in named if value is not None}


def _dtype_beside(value: bool | int | float, dtypes: Sequence[DType]) -> DType:
    """The dtype of a number beside tensors, of which a condition says nothing."""
    found = max(dtypes, key=lambda dtype: (dtype.is_floating, not dtype.is_bool))
    return DEFAULT_FLOAT if isinstance(value, float) and not found.is_floating else found


def _infer(op: Op, *operands: Any) -> Any:
    return op.infer(**arguments_of(op, operands, lambda _, dtype: TensorType(dtype, ())))


class _Known(msgspec.Struct, frozen=True):
    """An array as a part."""

    array: Array

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.array.shape

    @property
    def dtype(self) -> DType:
        return type_of(self.array).dtype

    @property
    def rank(self) -> int:
        return self.array.ndim


class _Unknown(Exception):
    """An inner operator does not fold."""


def _known(value: Any) -> Any:
    return [_Known(item) for item in value] if isinstance(value, list) else _Known(value)  # pyright: ignore[reportUnknownVariableType]


def _fold(op: Op, *operands: Any) -> Any:
    named = arguments_of(op, operands, lambda value, dtype: _Known(np.asarray(value, dtype.numpy)))
    arrays = {
        name: [x.array for x in value] if isinstance(value, (list, tuple)) else value.array  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        for name, value in named.items()
    }
    result = op.fold(**arrays)
    if result is None:
        raise _Unknown
    return tuple(map(_Known, result)) if isinstance(result, tuple) else _Known(result)  # pyright: ignore[reportUnknownArgumentType]
