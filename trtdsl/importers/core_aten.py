"""What decomposition makes of layers, as those layers again.

In: a program, perhaps one on which ``run_decompositions`` was called, in the operations of core ATen.
Out: one in which they are the operations that modules call::

    convolution(x, w, b, (1, 1), (0, 0), (1, 1), False, (0, 0), 1)      conv2d(x, w, b, (1, 1), …)
    view(addmm(b, view(x, (6 * N, 8)), permute(w, (1, 0))), (N, 6, 4))  linear(x, w, b)
    max_pool2d_with_indices(x, (2, 2))                                   max_pool2d(x, (2, 2))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from trtdsl.importers.program import Argument, Operation, Program, Ref, refs
from trtdsl.types import Dim, product

_FIRST_ALONE: Mapping[str, str] = {
    **{f"adaptive_max_pool{rank}d": f"adaptive_max_pool{rank}d" for rank in (1, 2, 3)},
    **{f"max_pool{rank}d_with_indices": f"max_pool{rank}d" for rank in (1, 2, 3)},
    "native_group_norm": "group_norm",
    "native_layer_norm": "layer_norm",
    "_native_batch_norm_legit_no_training": "batch_norm",
}
"""Operations with several results that are another one where only the first is read."""

_RESHAPES = frozenset({"view", "_unsafe_view", "reshape"})
_TRANSPOSES = frozenset({"permute", "transpose", "t"})


def as_layers(program: Program) -> Program:
    """The program with core ATen's forms of layers as those layers."""
    return _Layers(program).program()


class _Layers:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._made = {result: each for each in program.operations for result in each.results}
        self._read = {value for _, output in program.outputs for value in refs(output)}
        self._read |= {value for each in program.operations for value in each.operands}
        self._linear: dict[str, Operation] = {}
        """products with a transposed weight, by their results"""

    def program(self) -> Program:
        found = [self._changed(each) for each in self._program.operations]
        return msgspec.structs.replace(self._program, operations=tuple(found))

    def _changed(self, operation: Operation) -> Operation:
        base = operation.base
        if base in _FIRST_ALONE and self._read.isdisjoint(operation.results[1:]):
            return self._first_alone(operation)
        if change := _CHANGES.get(base):
            return change(self, operation)
        return operation

    def _first_alone(self, operation: Operation) -> Operation:
        arguments = dict(operation.arguments)
        if operation.base == "native_group_norm":
            arguments = {
                "input": arguments["input"],
                "num_groups": arguments["group"],
                **{name: arguments.get(name) for name in ("weight", "bias")},
                "eps": arguments["eps"],
            }
        if operation.base == "_native_batch_norm_legit_no_training":
            arguments["training"] = False
        return msgspec.structs.replace(
            operation,
            name=_FIRST_ALONE[operation.base],
            arguments=arguments,
            results=operation.results[:1],
        )

    def convolution(self, operation: Operation) -> Operation:
        """A convolution of as many dimensions as its weight has, perhaps a transposed one."""
        given = operation.arguments
        rank = len(self._shape(given["weight"])) - 2
        names = ["input", "weight", "bias", "stride", "padding"]
        names += ["output_padding", "groups", "dilation"] if given["transposed"] else ["dilation", "groups"]
        name = f"conv_transpose{rank}d.input" if given["transposed"] else f"conv{rank}d"
        arguments = {each: given.get(each) for each in names}
        return msgspec.structs.replace(operation, name=name, arguments=arguments)

    def product(self, operation: Operation) -> Operation:
        """A product with a transposed weight is a linear layer."""
        given = operation.arguments
        is_sum = operation.base == "addmm"
        rows, columns = ("mat1", "mat2") if is_sum else ("self", "mat2")
        weight = self._transposed(given[columns])
        is_plain = all(given.get(name, 1) == 1 for name in ("alpha", "beta"))
        bias = given["self"] if is_sum else None
        if weight is None or not is_plain or (bias is not None and len(self._shape(bias)) != 1):
            return operation
        arguments: dict[str, Argument] = {"input": given[rows], "weight": weight, "bias": bias}
        found = msgspec.structs.replace(operation, name="linear", arguments=arguments)
        self._linear[operation.results[0]] = found
        return found

    def reshape(self, operation: Operation) -> Operation:
        """A linear layer between the reshapes to a matrix and back is one of the tensor itself."""
        source = operation.arguments["self"]
        linear = self._linear.get(source.value) if isinstance(source, Ref) else None
        rows = linear.arguments["input"] if linear else None
        flat = self._made.get(rows.value) if isinstance(rows, Ref) else None
        if linear is None or flat is None or flat.base not in _RESHAPES:
            return operation
        before = flat.arguments["self"]
        if self._shape(before)[:-1] != self._shape(Ref(operation.results[0]))[:-1]:
            return operation
        arguments = {**linear.arguments, "input": before}
        return msgspec.structs.replace(
            linear, arguments=arguments, results=operation.results, frames=linear.frames
        )

    def strided(self, operation: Operation) -> Operation:
        """A view of all of a tensor's elements in their order is a reshape."""
        given = operation.arguments
        size: Any = given["size"]
        strides: Any = given["stride"]
        if given.get("storage_offset") or not are_in_order(size, strides):
            return operation
        if product(self._shape(given["self"])) != product(size):
            return operation
        arguments = {"self": given["self"], "size": size}
        return msgspec.structs.replace(operation, name="view", arguments=arguments)

    def _transposed(self, argument: Argument) -> Ref | None:
        """The weight that an argument is the transposed matrix of."""
        made = self._made.get(argument.value) if isinstance(argument, Ref) else None
        if made is None or made.base not in _TRANSPOSES:
            return None
        weight = made.arguments["self"]
        is_whole = made.base != "permute" or made.arguments["dims"] in ((1, 0), (-1, -2))
        return (
            weight if isinstance(weight, Ref) and weight.value in self._program.weights and is_whole else None
        )

    def _shape(self, argument: Argument) -> tuple[Dim, ...]:
        assert isinstance(argument, Ref)
        return self._program.types[argument.value].shape


def run_of(array: Any) -> tuple[int, int] | None:
    """Where indices that follow each other begin, and end; None for others."""
    if array.ndim != 1 or array.size == 0 or array[0] < 0:
        return None
    first = int(array[0])
    return (first, first + array.size) if (array == np.arange(first, first + array.size)).all() else None


def are_in_order(sizes: Sequence[Dim], strides: Sequence[Dim]) -> bool:
    """Whether strides are those of a tensor without gaps; of a dimension of size 1 the stride is any."""
    step: Dim = 1
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step = step * size
    return True


_CHANGES: Mapping[str, Callable[[_Layers, Operation], Operation]] = {
    "convolution": _Layers.convolution,
    "addmm": _Layers.product,
    "mm": _Layers.product,
    "as_strided": _Layers.strided,
    **dict.fromkeys(_RESHAPES, _Layers.reshape),
}
