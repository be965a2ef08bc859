"""Pooling (NvInfer.h: ``PoolingType``, ``PaddingMode``, ``IPoolingLayer``)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .padding_modes import Window, torch_padding, windows
from .registry import Context, LayerNode, Operands, evaluates, floating


@evaluates("POOLING")
def pooling(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Maximum, average or a blend of both over windows of the last two or three dimensions.

    MAX pads with -inf, AVERAGE with zeros.  AVERAGE divides by the overlap of the window with the input,
    or with the padded input where ``average_count_excludes_padding`` is off.
    MAX_AVERAGE_BLEND is ``(1 - blend) * max + blend * average``.
    """
    x = floating(node, operands[0])
    layer, kind = node.layer, node.layer.type.name
    size = list(layer.window_size_nd)
    spans = windows(node, size, list(x.shape[-len(size) :]))
    if kind == "MAX":
        return _maximum(x, spans)
    average = _average(node, x, spans)
    if kind == "AVERAGE":
        return average
    if kind != "MAX_AVERAGE_BLEND":
        node.refuse(f"pooling type {kind}")
    blend = layer.blend_factor
    return (1 - blend) * _maximum(x, spans) + blend * average


def _maximum(x: torch.Tensor, spans: list[Window]) -> torch.Tensor:
    padded = F.pad(x, torch_padding([(w.before, w.after) for w in spans]), value=float("-inf"))
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[len(spans)]
    return pool(padded, [w.size for w in spans], [w.stride for w in spans])


def _average(node: LayerNode, x: torch.Tensor, spans: list[Window]) -> torch.Tensor:
    """Sums of windows over the counts that ``average_count_excludes_padding`` asks for."""
    padding = torch_padding([(w.before, w.after) for w in spans])
    ones = torch.ones([1, 1, *x.shape[-len(spans) :]], dtype=x.dtype)
    if not node.layer.average_count_excludes_padding:
        ones = F.pad(ones, torch_padding(_declared(node, spans)), value=1.0)
        missing = [w.after - after for w, (_, after) in zip(spans, _declared(node, spans), strict=True)]
        ones = F.pad(ones, torch_padding([(0, extra) for extra in missing]))
    else:
        ones = F.pad(ones, padding)
    counts = _sums(ones, spans)
    if bool((counts == 0).any()):
        node.refuse("a window of padding alone has no average")
    return _sums(F.pad(x, padding), spans) / counts


def _declared(node: LayerNode, spans: list[Window]) -> list[tuple[int, int]]:
    """The padding without what rounding up added after it."""
    if node.layer.padding_mode.name != "EXPLICIT_ROUND_UP":
        return [(w.before, w.after) for w in spans]
    return list(zip(node.layer.pre_padding, node.layer.post_padding, strict=True))


def _sums(x: torch.Tensor, spans: list[Window]) -> torch.Tensor:
    pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[len(spans)]
    return pool(x, [w.size for w in spans], [w.stride for w in spans], divisor_override=1)
