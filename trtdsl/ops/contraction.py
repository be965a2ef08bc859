"""Sums of products over named dimensions, made of sums, products and one matrix product for each pair.

In: tensors, each with a label for every dimension.  Out: the same.  Of TensorRT's own einsum layer NvInfer.h
says that it takes lower-case letters, and in older releases neither an ellipsis nor more than two tensors.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from trtdsl.ops.composed import Emit, Part
from trtdsl.ops.matrix import Matmul
from trtdsl.ops.pointwise import Mul
from trtdsl.ops.reduction import Sum
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import same_dim
from trtdsl.ops.shape import Permute, Reshape
from trtdsl.ops.views import Diagonal
from trtdsl.types import Dim, product


@dataclass(frozen=True)
class Labelled:
    """A tensor and the label of each of its dimensions, all different."""

    tensor: Part
    labels: tuple[str, ...]

    def size(self, label: str) -> Dim:
        return self.tensor.shape[self.labels.index(label)]

    def sizes(self, labels: Sequence[str]) -> tuple[Dim, ...]:
        return tuple(map(self.size, labels))


def labelled(emit: Emit, tensor: Part, labels: Sequence[str]) -> Labelled:
    """The tensor with its labels; where one stands twice, the diagonal of its dimensions."""
    names = list(labels)
    while len(set(names)) < len(names):
        second = next(index for index, name in enumerate(names) if name in names[:index])
        first, name = names.index(names[second]), names[second]
        left, right = tensor.shape[first], tensor.shape[second]
        if not same_dim(left, right, f"einsum of a repeated subscript `{name}`", "operands"):
            raise Refused(f"subscript `{name}` is repeated for dimensions of {left} and {right}", "operands")
        tensor = emit(Diagonal(0, first, second), tensor)
        names = [*(each for index, each in enumerate(names) if index not in (first, second)), name]
    return Labelled(tensor, tuple(names))


def summed(emit: Emit, x: Labelled, kept: Collection[str]) -> Labelled:
    """The sum over all dimensions whose labels are not kept."""
    dims = tuple(index for index, label in enumerate(x.labels) if label not in kept)
    if not dims:
        return x
    return Labelled(emit(Sum(dims), x.tensor), tuple(label for label in x.labels if label in kept))


def arranged(emit: Emit, x: Labelled, order: Sequence[str]) -> Labelled:
    """The dimensions in this order."""
    permutation = tuple(map(x.labels.index, order))
    if permutation == tuple(range(len(permutation))):
        return x
    return Labelled(emit(Permute(permutation), x.tensor), tuple(order))


def contract(emit: Emit, a: Labelled, b: Labelled, kept: Collection[str]) -> Labelled:
    """The products of two tensors, summed over the labels that are not kept.

    A dimension of size 1 broadcasts against another of its label.
    """
    a, b = summed(emit, a, {*b.labels, *kept}), summed(emit, b, {*a.labels, *kept})
    a, b = _without_single(emit, a, b, kept), _without_single(emit, b, a, kept)
    a, b = summed(emit, a, {*b.labels, *kept}), summed(emit, b, {*a.labels, *kept})
    both = [label for label in a.labels if label in b.labels]
    inner = [label for label in both if label not in kept]
    for label in inner:
        _require_same(label, a.size(label), b.size(label))
    batch = [label for label in both if label in kept]
    rows = [label for label in a.labels if label not in both]
    columns = [label for label in b.labels if label not in both]
    if not inner:
        return _multiplied(emit, a, b, (*batch, *rows, *columns))
    left = arranged(emit, a, (*batch, *rows, *inner))
    right = arranged(emit, b, (*batch, *inner, *columns))
    joined = partial(_joined, emit)
    found = emit(
        Matmul(), joined(left, len(batch), len(rows)).tensor, joined(right, len(batch), len(inner)).tensor
    )
    shape = (*found.shape[: len(batch)], *left.sizes(rows), *right.sizes(columns))
    return Labelled(emit(Reshape(shape), found), (*batch, *rows, *columns))


def _without_single(emit: Emit, x: Labelled, other: Labelled, kept: Collection[str]) -> Labelled:
    """Without the summed dimensions of size 1, which broadcast: the sum is that of the other tensor alone."""
    single = [
        label
        for label in x.labels
        if label in other.labels and label not in kept and x.size(label) == 1 and other.size(label) != 1
    ]
    return summed(emit, x, [label for label in x.labels if label not in single])


def _require_same(label: str, left: Dim, right: Dim) -> None:
    if not same_dim(left, right, f"subscript `{label}`", "operands"):
        raise Refused(f"subscript `{label}` is {left} in one operand and {right} in another", "operands")


def _joined(emit: Emit, x: Labelled, batch: int, first: int) -> Labelled:
    """A matrix, or a batch of them, of whose dimensions the ``first`` ones and the others are joined."""
    shape = x.tensor.shape
    matrix = (product(shape[batch : batch + first]), product(shape[batch + first :]))
    return Labelled(emit(Reshape((*shape[:batch], *matrix)), x.tensor), x.labels)


def _multiplied(emit: Emit, a: Labelled, b: Labelled, order: tuple[str, ...]) -> Labelled:
    """Every product, the dimensions in this order."""
    parts: list[Part] = []
    for x in (a, b):
        x = arranged(emit, x, [label for label in order if label in x.labels])
        shape = tuple(x.size(label) if label in x.labels else 1 for label in order)
        parts.append(emit(Reshape(shape), x.tensor))
    return Labelled(emit(Mul(), *parts), order)
