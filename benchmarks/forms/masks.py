"""Ways to give an attention a mask that is an input, as decoders with a cache have, for `gpu_forms.py`.

TensorRT 8.5 adds such a mask to llama_small's scores, and looks for rows that allow nothing, in kernels of
their own between regions of Myelin, where the ONNX route's engine is one region. There the mask is sliced to
as many keys as there are, by which TensorRT may know that the sizes are equal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import trtdsl.ops.attention as attention

_kept: list[Any] = []
"""What TensorRT reads until the engine is built."""


def sliced():
    """The mask has the sizes of the scores, which it is added to."""
    return _slice_masks


def no_zeros():
    _leave_empty_rows()


def sliced_no_zeros():
    _leave_empty_rows()
    return _slice_masks


def keys_turned():
    """A layer of its own turns the keys."""
    attention._product = _turning(attention._product)


def sliced_keys_turned():
    keys_turned()
    return _slice_masks


def _leave_empty_rows() -> None:
    attention._without = lambda net, y, empty: y


def _turning(product: Callable[..., Any]) -> Callable[..., Any]:
    def turned(net: Any, a: Any, b: Any, transpose: bool) -> Any:
        if transpose:
            b = net.transpose(b, (*range(b.rank - 2), b.rank - 1, b.rank - 2))
        return product(net, a, b, transpose=False)

    return turned


def _slice_masks(network: Any) -> None:
    """Slice what is added to the scores of each softmax to the scores' sizes, but for its second axis."""
    trt: Any = sys.modules[type(network).__module__]
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    sums = {each.get_output(0).name: each for each in layers if each.type == trt.LayerType.ELEMENTWISE}
    for softmax in layers:
        added = sums.get(softmax.get_input(0).name) if softmax.type == trt.LayerType.SOFTMAX else None
        if added is None or added.get_input(1).shape[1] != 1:
            continue
        scores, mask = added.get_input(0), added.get_input(1)
        sizes = network.add_shape(scores).get_output(0)
        integers = np.int64 if sizes.dtype.name == "INT64" else np.int32
        kept, one = (_constant(trt, network, each, integers) for each in ((1, 0, 1, 1), (0, 1, 0, 0)))
        operations = trt.ElementWiseOperation
        sizes = network.add_elementwise(sizes, kept, operations.PROD).get_output(0)
        sizes = network.add_elementwise(sizes, one, operations.SUM).get_output(0)
        layer = network.add_slice(mask, (0,) * 4, (1,) * 4, (1,) * 4)
        layer.set_input(2, sizes)
        added.set_input(1, layer.get_output(0))


def _constant(trt: Any, network: Any, numbers: Any, integers: Any) -> Any:
    _kept.append(np.array(numbers, integers))
    return network.add_constant((len(numbers),), trt.Weights(_kept[-1])).get_output(0)
