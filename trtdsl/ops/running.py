"""What each element is together with all before it, in steps that double how far back it reaches.

In: tensors and a function of two that does not mind how its operands are grouped.  Out: tensors, for each
element the function of it and all before it.  A dynamic dimension takes the steps of its largest size;
integers stay exact (W. D. Hillis and G. L. Steele, "Data parallel algorithms", 1986).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trtdsl.types import bounds

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

Tensors = Sequence["Tensor"]
Combine = Callable[[Tensors, Tensors], Tensors]
"""From what an element reaches back to and the elements before that, in this order: earlier ones first."""


def running(
    net: Network, tensors: Tensors, dim: int, combine: Combine, fill: Tensor | None = None
) -> Tensors:
    """The tensors, of one shape, combined along a non-negative dimension.

    Before the first element stands ``fill``, or the first one again for a function that takes no notice.
    """
    shape = tensors[0].shape
    mode = "CLAMP" if fill is None else "FILL"
    _, largest = bounds(shape[dim])
    reach = 1
    while reach < largest:
        start = tuple(-reach if axis == dim else 0 for axis in range(len(shape)))
        earlier = [net.slice(x, start, shape, mode=mode, fill=fill) for x in tensors]
        tensors = combine(earlier, tensors)
        reach *= 2
    return tensors


def running_sum(net: Network, x: Tensor, dim: int) -> Tensor:
    """The sum of the elements up to each."""

    def add(earlier: Tensors, later: Tensors) -> Tensors:
        return [net.elementwise("SUM", later[0], earlier[0])]

    return running(net, [x], dim, add, net.filled((), 0, x.dtype))[0]
