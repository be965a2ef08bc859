"""Which weights to scale so that a tensor comes out scaled, channel by channel.

In: a tensor of a graph and a positive factor for each of its channels.  Out: by what to multiply which
weights, or None where no weights can take the factors in::

    conv -> relu -> max_pool     each output of `conv`: its rows of the weight, its bias
    LayerNorm                    its weight and bias
    softmax @ value              the outputs of the layer that makes `value`

Between the tensor and the layer may stand what gives ``f(s * x) = s * f(x)`` for every positive s, and what
moves elements; each tensor there must be read by nobody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.ir import Graph, Node, Value, Weight, walk
from trtdsl.ops.adaptive import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
)
from trtdsl.ops.attention import ScaledDotProductAttention
from trtdsl.ops.base import Op
from trtdsl.ops.batch_norm import BATCH_NORMS
from trtdsl.ops.convolution import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from trtdsl.ops.joining import Chunk, Split
from trtdsl.ops.layer_norm import (
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    RMSNorm,
)
from trtdsl.ops.linear import Linear
from trtdsl.ops.matrix import Bmm, Matmul
from trtdsl.ops.piecewise_linear import LeakyRelu, PReLU, Relu
from trtdsl.ops.pooling import AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d
from trtdsl.ops.shape import Flatten, Permute, Reshape, Squeeze, Transpose, Unflatten, Unsqueeze
from trtdsl.ops.shuffle import Shuffle
from trtdsl.types import Dim

Array: TypeAlias = npt.NDArray[Any]
Factors: TypeAlias = Mapping[Weight, Array]

INSTANCE_NORMS = (InstanceNorm1d, InstanceNorm2d, InstanceNorm3d)


class Origins:
    """Where the tensors of a graph come from, and who reads them."""

    def __init__(self, graph: Graph) -> None:
        self._producers = graph.producers
        self._outputs = graph.output_values
        self._reads = Counter(value for node in walk(graph) for value in node.operands)

    def reads(self, value: Value) -> int:
        """How many operands a value is; an output counts as one."""
        return self._reads[value] + (value in self._outputs)

    def absorbed(self, value: Value, factor: Array) -> Factors | None:
        """By what to multiply weights so that ``value`` comes out times ``factor``, whoever reads it.

        ``factor`` has the rank of the value; its sizes are 1 where it is the same along a dimension.
        """
        while (node := self._producers.get(value)) is not None:
            if rule := _LAYERS.get(type(node.op)):
                return self._of_layer(node, rule(node, factor))
            step = _STEPS.get(type(node.op))
            found = step(node, factor) if step else _of_piece(node, value, factor)
            if found is None:
                return None
            value, factor = found
            if self.reads(value) != 1:
                return None
        return None

    def _of_layer(self, node: Node, factors: Mapping[str, Array] | None) -> Factors | None:
        """Factors by the weights that stand in the slots; None where these are not this layer's alone."""
        if factors is None or {*factors} != {*node.weights, *node.computed_weights} & {"weight", "bias"}:
            return None
        weights = {node.weights[slot]: factor for slot, factor in factors.items() if slot in node.weights}
        alone = all(self.reads(weight) == 1 and weight.data is not None for weight in weights)
        return weights if weights and alone and len(weights) == len(factors) else None


# --- What stands between -----------------------------------------------------------------------------------

_Step: TypeAlias = "tuple[Value, Array] | None"


def _input(node: Node) -> Value:
    return node.operands[0]


def _homogeneous(node: Node, factor: Array) -> _Step:
    return _input(node), factor


def _pooled(node: Node, factor: Array) -> _Step:
    """Windows over the last dimensions, along which there is one factor."""
    op: Any = node.op
    return None if any(size != 1 for size in factor.shape[-op.spatial :]) else (_input(node), factor)


def _permuted(node: Node, factor: Array) -> _Step:
    op: Any = node.op
    order = op.permutation(factor.ndim)
    return _input(node), factor.transpose(np.argsort(order))


def _reshaped(node: Node, factor: Array) -> _Step:
    value = _input(node)
    found = _cut(value.type.shape, node.result.type.shape, factor)
    return None if found is None else (value, found)


def _shuffled(node: Node, factor: Array) -> _Step:
    value, op = _input(node), node.op
    assert isinstance(op, Shuffle)
    first, second = op.orders(value.type.rank)
    turned = tuple(value.type.shape[dim] for dim in first)
    result = node.result.type.shape
    form = tuple(result[second.index(dim)] for dim in range(len(second)))
    found = _cut(turned, form, factor.transpose(np.argsort(second)))
    return None if found is None else (value, found.transpose(np.argsort(first)))


def _cut(before: tuple[Dim, ...], after: tuple[Dim, ...], factor: Array) -> Array | None:
    """The factors of a tensor, from those of its elements in another shape.

    The dimensions that have factors are static, and so are all after them: these are cut anew.
    """
    varying = [dim for dim, size in enumerate(factor.shape) if size != 1]
    if not varying:
        return np.full((1,) * len(before), factor.flat[0])
    tail = after[varying[0] :]
    if not all(isinstance(size, int) for size in tail):
        return None
    sizes: tuple[Any, ...] = tail
    count = int(np.prod(sizes))
    found: list[Any] = []
    for size in reversed(before):
        if int(np.prod(found, initial=1)) == count or not isinstance(size, int):
            break
        found.insert(0, size)
    if int(np.prod(found, initial=1)) != count:
        return None
    whole = np.broadcast_to(factor.reshape(factor.shape[varying[0] :]), sizes)
    head = (1,) * (len(before) - len(found))
    return _squeezed(whole.reshape(*head, *found))


def _squeezed(factor: Array) -> Array:
    """Factors with a size of 1 along each dimension on which they do not depend."""
    for dim in range(factor.ndim):
        first = factor.take([0], dim)
        if factor.shape[dim] > 1 and bool((factor == first).all()):
            factor = first
    return factor


def _of_piece(node: Node, value: Value, factor: Array) -> _Step:
    """The factors of what was cut into pieces, from those of one of them: the others stay as they are."""
    if not isinstance(node.op, Split | Chunk):
        return None
    whole = _input(node)
    dim, pieces = node.op.pieces(whole.type)
    sizes = [size for size in pieces if isinstance(size, int)]
    if len(sizes) < len(pieces):
        return None  # of a dynamic dimension no weight has an element for each index
    place = node.results.index(value)
    before, behind = sum(sizes[:place]), sum(sizes[place + 1 :])
    factor = np.repeat(factor, sizes[place], dim) if factor.shape[dim] == 1 else factor
    margins = [(before, behind) if axis == dim else (0, 0) for axis in range(factor.ndim)]
    return whole, np.pad(factor, margins, constant_values=1.0)


def _product(node: Node, factor: Array) -> _Step:
    """The columns of a product are those of its second matrix."""
    value = node.operands[1]
    return _columns(value, factor, node.operands[0].type.rank)


def _attended(node: Node, factor: Array) -> _Step:
    value, op = node.operand("value"), node.op
    assert value is not None and isinstance(op, ScaledDotProductAttention)
    return None if op.enable_gqa else _columns(value, factor, factor.ndim)


def _columns(value: Value, factor: Array, other: int) -> _Step:
    if value.type.rank != factor.ndim or other < 2 or factor.ndim < 2 or factor.shape[-2] != 1:
        return None
    known = zip(factor.shape[:-2], value.type.shape[:-2], strict=True)
    return (value, factor) if all(size in (1, found) for size, found in known) else None


_STEPS: Mapping[type[Op], Callable[[Node, Array], _Step]] = {
    **dict.fromkeys((Relu, LeakyRelu, PReLU), _homogeneous),
    **dict.fromkeys((MaxPool1d, MaxPool2d, MaxPool3d, AvgPool1d, AvgPool2d, AvgPool3d), _pooled),
    **dict.fromkeys((AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d), _pooled),
    **dict.fromkeys((AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d), _pooled),
    **dict.fromkeys((Permute, Transpose), _permuted),
    **dict.fromkeys((Reshape, Flatten, Unflatten, Squeeze, Unsqueeze), _reshaped),
    Shuffle: _shuffled,
    **dict.fromkeys((Matmul, Bmm), _product),
    ScaledDotProductAttention: _attended,
}


# --- What takes factors in ---------------------------------------------------------------------------------

_Slots: TypeAlias = "Mapping[str, Array] | None"


def _along(factor: Array, dim: int, count: int) -> Array | None:
    """The factors along one dimension; None where they differ along another too."""
    if any(size != 1 for place, size in enumerate(factor.shape) if place != dim % factor.ndim):
        return None
    return np.broadcast_to(factor.reshape(-1), (count,))


def _both(node: Node, weight: Array, bias: Array) -> _Slots:
    return {"weight": weight, "bias": bias} if "bias" in node.slots else {"weight": weight}


def _linear(node: Node, factor: Array) -> _Slots:
    op: Any = node.op
    found = _along(factor, op.channel_dim, op.out_features)
    return None if found is None else _both(node, found[:, None], found)


def _convolution(node: Node, factor: Array) -> _Slots:
    op: Any = node.op
    found = _along(factor, op.channel_dim, op.out_channels)
    return None if found is None else _both(node, found.reshape(-1, *(1,) * (op.spatial + 1)), found)


def _transposed(node: Node, factor: Array) -> _Slots:
    """Of a weight [in, out / groups, ...] the outputs of a group stand in the rows of its inputs."""
    op: Any = node.op
    found = _along(factor, op.channel_dim, op.out_channels)
    if found is None:
        return None
    inputs = int(node.weights["weight"].type.shape[0]) if "weight" in node.weights else op.groups  # pyright: ignore[reportArgumentType]
    rows = found.reshape(op.groups, -1).repeat(inputs // op.groups, axis=0)
    return _both(node, rows.reshape(*rows.shape, *(1,) * op.spatial), found)


def _normalised(node: Node, factor: Array) -> _Slots:
    """Norms over the last dimensions, with a weight of their shape."""
    op: Any = node.op
    given = op.normalized_shape
    shape: tuple[int, ...] = (given,) if isinstance(given, int) else given
    if any(size != 1 for size in factor.shape[: -len(shape)]):
        return None
    found = np.broadcast_to(factor.reshape(factor.shape[-len(shape) :]), shape)
    return _both(node, found, found)


def _by_channels(node: Node, factor: Array) -> _Slots:
    op: Any = node.op
    # Instance norms take a single sample too, without a dimension for the batch.
    dim = -op.spatial - 1 if isinstance(op, INSTANCE_NORMS) else 1
    weight = node.weights.get("weight")
    found = None if weight is None else _along(factor, dim, int(weight.type.shape[0]))  # pyright: ignore[reportArgumentType]
    return None if found is None else _both(node, found, found)


_LAYERS: Mapping[type[Op], Callable[[Node, Array], _Slots]] = {
    Linear: _linear,
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(TRANSPOSED_CONVOLUTIONS, _transposed),
    **dict.fromkeys((LayerNorm, RMSNorm), _normalised),
    **dict.fromkeys((*BATCH_NORMS, GroupNorm, *INSTANCE_NORMS), _by_channels),
}
