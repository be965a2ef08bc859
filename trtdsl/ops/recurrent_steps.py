"""One step of each recurrent network, from what input and hidden state contribute to its gates."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trtdsl.ops.base import static
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import same_dim
from trtdsl.types import TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


NONLINEARITIES = {"tanh": "TANH", "relu": "RELU"}
"""What torch calls a nonlinearity, and TensorRT."""


def parts(net: Network, x: Tensor, count: int) -> list[Tensor]:
    """The last dimension cut into equal parts."""
    width = static(x.shape[-1], "the gates") // count
    shape, before = (*x.shape[:-1], width), (0,) * (x.rank - 1)
    return [net.slice(x, (*before, index * width), shape) for index in range(count)]


def added(net: Network, a: Tensor, b: Tensor) -> Tensor:
    return net.elementwise("SUM", a, b)


def total(net: Network, first: Tensor, *others: Tensor | None) -> Tensor:
    """The sum of all that are there, from the first on."""
    return functools.reduce(functools.partial(added, net), (x for x in others if x is not None), first)


def multiplied(net: Network, a: Tensor, b: Tensor) -> Tensor:
    return net.elementwise("PROD", a, b)


def lstm_step(net: Network, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """``h = o * tanh(c)`` of ``c = f * c + i * g``."""
    i, f, g, o = parts(net, gates, 4)
    i, f, o = (net.activation("SIGMOID", gate) for gate in (i, f, o))
    c = added(net, multiplied(net, f, c), multiplied(net, i, net.activation("TANH", g)))
    return multiplied(net, o, net.activation("TANH", c)), c


def gru_step(net: Network, of_input: Tensor, of_hidden: Tensor, h: Tensor) -> Tensor:
    """``h = n + z * (h - n)`` of ``n = tanh(x_n + r * h_n)``: the reset gate stands after the product."""
    (x_r, x_z, x_n), (h_r, h_z, h_n) = (parts(net, gates, 3) for gates in (of_input, of_hidden))
    r, z = (net.activation("SIGMOID", added(net, *pair)) for pair in ((x_r, h_r), (x_z, h_z)))
    n = net.activation("TANH", added(net, x_n, multiplied(net, r, h_n)))
    return added(net, n, multiplied(net, z, net.elementwise("SUB", h, n)))


def joined(net: Network, tensors: Sequence[Tensor]) -> Tensor:
    """The weights of all directions, one below the other."""
    if len(tensors) == 1:
        return tensors[0]
    arrays = [tensor.array for tensor in tensors]
    known = [array for array in arrays if array is not None]
    return net.constant(np.concatenate(known)) if len(known) == len(arrays) else net.concat(tensors, 0)


def stacked(net: Network, tensors: Sequence[Tensor]) -> Tensor:
    """The tensors of all directions, joined along the first dimension."""
    return tensors[0] if len(tensors) == 1 else net.concat(tensors, 0)


def affine(net: Network, x: Tensor, weight: Tensor, *biases: Tensor | None) -> Tensor:
    """``x @ weight.T`` and the sum of the biases."""
    product = net.matmul(x, weight, transpose_b=True)
    given = [bias for bias in biases if bias is not None]
    if not given:
        return product
    return added(net, product, given[0] if len(given) == 1 else added(net, given[0], given[1]))


def require_state(given: TensorType | None, wanted: TensorType, name: str, what: str) -> None:
    """Refuse a state of another type."""
    if given is None:
        return
    if given.dtype is not wanted.dtype:
        raise Refused(f"`{name}` of {what} must be {wanted.dtype} as its input is, not {given.dtype}", name)
    pairs = zip(given.shape, wanted.shape, strict=False)
    if given.rank != wanted.rank or not all(same_dim(a, b, f"`{name}` of {what}", name) for a, b in pairs):
        raise Refused(f"`{name}` of {what} must be {wanted}, not {given}", name)


def require_both(h_0: object, c_0: object, what: str) -> None:
    if (h_0 is None) != (c_0 is None):
        about = "h_0" if c_0 is None else "c_0"
        raise Refused(f"{what} begins with both `h_0` and `c_0`, or with neither", about)
