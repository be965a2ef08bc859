"""The formulas of ``PaddingMode`` (NvInfer.h) for convolution, deconvolution and pooling."""

from __future__ import annotations

from dataclasses import dataclass

from .registry import LayerNode


@dataclass(frozen=True)
class Window:
    """One spatial dimension: window ``size`` (dilation included), ``stride``, padding before and after."""

    size: int
    stride: int
    before: int
    after: int


def windows(node: LayerNode, sizes: list[int], lengths: list[int]) -> list[Window]:
    """Padding before and after each spatial dimension of a convolution or pooling.

    With EXPLICIT_ROUND_UP the padding after grows by what the last window needs.  ``lengths`` are the
    input's.  SAME modes that would need negative padding are refused.
    """
    layer, mode = node.layer, node.layer.padding_mode.name
    strides, pre, post = list(layer.stride_nd), list(layer.pre_padding), list(layer.post_padding)
    result: list[Window] = []
    for i, (size, length) in enumerate(zip(sizes, lengths, strict=True)):
        before, after = pre[i], post[i]
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            total = (length - 1) // strides[i] * strides[i] + size - length
            before, after = _split(node, mode, total)
        elif mode == "EXPLICIT_ROUND_UP":
            after += -(length + before + after - size) % strides[i]
        elif mode != "EXPLICIT_ROUND_DOWN":
            node.refuse(f"padding mode {mode}")
        result.append(Window(size, strides[i], before, after))
    return result


def trims(node: LayerNode, sizes: list[int]) -> list[tuple[int, int]]:
    """How many elements a deconvolution drops before and after each spatial dimension."""
    layer, mode = node.layer, node.layer.padding_mode.name
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        strides = list(layer.stride_nd)
        return [_split(node, mode, max(s - t, 0)) for s, t in zip(sizes, strides, strict=True)]
    return list(zip(layer.pre_padding, layer.post_padding, strict=True))


def _split(node: LayerNode, mode: str, total: int) -> tuple[int, int]:
    if total < 0:
        node.refuse(f"{mode} with a window smaller than its stride")
    half = total // 2
    return (half, total - half) if mode == "SAME_UPPER" else (total - half, half)


def torch_padding(spans: list[tuple[int, int]]) -> list[int]:
    """Paddings in the order of ``torch.nn.functional.pad``: last dimension first."""
    return [side for before, after in reversed(spans) for side in (before, after)]
