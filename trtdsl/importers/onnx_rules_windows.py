"""ONNX's convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtdsl.importers.onnx_node import Known, Node, Value, rule
from trtdsl.importers.onnx_rules_moving import cut, padded
from trtdsl.importers.program import Argument, Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, DType, SymbolicDim

# --- Convolutions -----------------------------------------------------------------------------------------


def _margins(node: Node, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """The padding before and after each spatial axis."""
    count = len(kernel)
    strides, dilations = _spread(node, "strides", count), _spread(node, "dilations", count)
    auto = node.attribute("auto_pad", "NOTSET")
    if auto == "VALID":
        return [0] * count, [0] * count
    if auto == "NOTSET":
        pads = node.attribute("pads") or [0] * 2 * count
        return pads[:count], pads[count:]
    before: list[int] = []
    after: list[int] = []
    sizes = node.type(0).shape[2:]
    for size, length, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = _same_padding(size, (length - 1) * dilation + 1, stride)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before, after


def _same_padding(size: Dim, length: int, stride: int) -> int:
    """The padding with which the result is as large as the input divided by the stride, rounded up."""
    if stride == 1:
        return length - 1
    if isinstance(size, SymbolicDim):
        raise Refused("how much `auto_pad` pads depends on a dynamic dimension")
    return max((-(-size // stride) - 1) * stride + length - size, 0)


def _spread(node: Node, name: str, count: int) -> list[int]:
    return node.attribute(name) or [1] * count


def _fitted(node: Node, source: Ref, before: Sequence[int], after: Sequence[int], value: float = 0) -> Ref:
    """The input padded where a layer pads both sides alike."""
    lead = [0] * (node.rank(source) - len(before))
    return padded(node, source, [*lead, *before], [*lead, *after], "constant", value)


def _kernel(node: Node, index: int = 1) -> list[int]:
    shape = node.type(index).shape[2:]
    if any(isinstance(each, SymbolicDim) for each in shape):
        raise Refused("the kernel's size is dynamic")
    return node.attribute("kernel_shape") or [each for each in shape if isinstance(each, int)]


def _spatial(kernel: Sequence[int]) -> int:
    if not 1 <= len(kernel) <= 3:
        raise Refused(f"it has {len(kernel)} spatial axes")
    return len(kernel)


@rule("Conv")
def _conv(node: Node) -> Ref:
    kernel = _kernel(node)
    count = _spatial(kernel)
    before, after = _margins(node, kernel)
    source = node.tensor(0)
    if before != after or min(before) < 0:
        source, before = _fitted(node, source, before, after), [0] * count
    label = node.label((1, "weight"), (2, "bias"))
    given: dict[str, Argument] = {"input": source, "weight": node.weight(1, "weight", label)}
    if node.has(2) and not _is_nothing(node[2]):
        given["bias"] = node.weight(2, "bias", label)
    return node.one(
        f"conv{count}d",
        **given,
        stride=tuple(_spread(node, "strides", count)),
        padding=tuple(before),
        dilation=tuple(_spread(node, "dilations", count)),
        groups=node.attribute("group", 1),
    )


def _is_nothing(bias: Value) -> bool:
    """Whether a bias is zeros that an exporter made up."""
    return isinstance(bias, Known) and not bias.initialiser and not bias.array.any()


@rule("ConvTranspose")
def _conv_transpose(node: Node) -> Ref:
    kernel = _kernel(node)
    count = _spatial(kernel)
    strides, dilations = _spread(node, "strides", count), _spread(node, "dilations", count)
    extra = node.attribute("output_padding") or [0] * count
    before, after = _transposed_margins(node, kernel, strides, dilations, extra)
    label = node.label((1, "weight"), (2, "bias"))
    given: dict[str, Argument] = {"input": node.tensor(0), "weight": node.weight(1, "weight", label)}
    bias = node.weight(2, "bias", label) if node.has(2) else None
    options: dict[str, Argument] = {
        "stride": tuple(strides), "dilation": tuple(dilations), "groups": node.attribute("group", 1),
    }  # fmt: skip
    is_even = before == after and min(before) >= 0
    is_plain = is_even and all(each < max(s, d) for each, s, d in zip(extra, strides, dilations, strict=True))
    if is_plain:
        if bias is not None:
            given["bias"] = bias
        return node.one(
            f"conv_transpose{count}d", **given, **options, padding=tuple(before), output_padding=tuple(extra)
        )
    whole = node.one(f"conv_transpose{count}d", **given, **options)
    # Where the file pads less than nothing at the end, elements are added there, before the bias is.
    behind = [wanted - cropped for wanted, cropped in zip(extra, after, strict=True)]
    whole = _fitted(node, whole, [max(-each, 0) for each in before], [max(each, 0) for each in behind])
    for axis in range(count):
        size = node.type(whole).shape[2 + axis]
        whole = cut(node, whole, 2 + axis, max(before[axis], 0), size + min(behind[axis], 0), 1)
    if bias is None:
        return whole
    return node.one("add", input=whole, other=node.reshape(bias, (*node.type(bias).shape, *(1,) * count)))


def _transposed_margins(
    node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], extra: Sequence[int]
) -> tuple[list[int], list[int]]:
    """What is cut off before and after each axis."""
    auto, shape = node.attribute("auto_pad", "NOTSET"), node.attribute("output_shape")
    if auto == "VALID" or (auto == "NOTSET" and not shape):
        pads = (node.attribute("pads") if auto == "NOTSET" else None) or [0] * 2 * len(kernel)
        return pads[: len(kernel)], pads[len(kernel) :]
    before: list[int] = []
    after: list[int] = []
    for axis, size in enumerate(node.type(0).shape[2:]):
        length = (kernel[axis] - 1) * dilations[axis] + 1
        wanted: Dim = shape[axis] if shape else size * strides[axis]
        total = (size - 1) * strides[axis] + length + extra[axis] - wanted
        if isinstance(total, SymbolicDim):
            raise Refused("how much it cuts off depends on a dynamic dimension")
        if total < 0 and not shape:
            total = 0
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before, after


@rule("DeformConv")
def _deform_conv(node: Node) -> Ref:
    kernel = _kernel(node)
    before, after = _margins(node, kernel)
    if len(kernel) != 2 or before != after:
        raise Refused("the language deforms only two axes, padded alike on both sides")
    label = node.label((1, "weight"), (3, "bias"))
    given: dict[str, Argument] = {
        "input": node.tensor(0), "offset": node.tensor(2), "weight": node.weight(1, "weight", label),
    }  # fmt: skip
    if node.has(3):
        given["bias"] = node.weight(3, "bias", label)
    if node.has(4):
        given["mask"] = node.tensor(4)
    strides, dilations = _spread(node, "strides", 2), _spread(node, "dilations", 2)
    return node.one(
        "deform_conv2d", **given, stride=tuple(strides), padding=tuple(before), dilation=tuple(dilations)
    )


@rule("Col2Im")
def _col2im(node: Node) -> Ref:
    size, kernel = node.ints(1, "`image_shape`"), node.fixed(2, "`block_shape`")
    count = len(kernel)
    pads = node.attribute("pads") or [0] * 2 * count
    if count != 2 or pads[:2] != pads[2:]:
        raise Refused("the language folds only two axes, padded alike on both sides")
    return node.one(
        "fold",
        self=node.tensor(0),
        output_size=tuple(size),
        kernel_size=kernel,
        dilation=tuple(_spread(node, "dilations", count)),
        padding=tuple(pads[:count]),
        stride=tuple(_spread(node, "strides", count)),
    )


# --- Pools ------------------------------------------------------------------------------------------------


@rule("MaxPool", "AveragePool", "LpPool")
def _pool(node: Node) -> Ref:
    kernel: list[int] = node.attribute("kernel_shape")
    count = _spatial(kernel)
    before, after = _margins(node, kernel)
    ceil = bool(node.attribute("ceil_mode", 0))
    if len([name for name in node.outputs if name]) > 1:
        raise Refused("ONNX counts the positions of maxima over the whole batch")
    given: dict[str, Argument] = {
        "kernel_size": tuple(kernel), "stride": tuple(_spread(node, "strides", count)),
    }  # fmt: skip
    fits = before == after and all(2 * each <= size for each, size in zip(before, kernel, strict=True))
    if ceil and not fits:
        raise Refused("it rounds up and pads both sides differently")
    if ceil:
        given["ceil_mode"] = True
    if node.op == "MaxPool":
        return _max_pool(node, given, before, after, fits)
    if any(each != 1 for each in _spread(node, "dilations", count)):
        raise Refused("the language's average pools have no dilation")
    if node.op == "LpPool":
        return _lp_pool(node, given, before, after)
    return _average_pool(node, given, before, after, fits)


def _max_pool(node: Node, given: dict[str, Argument], before: list[int], after: list[int], fits: bool) -> Ref:
    count = len(before)
    source = node.tensor(0)
    if not fits:
        source, before = _fitted(node, source, before, after, -np.inf), [0] * count
    dilation = tuple(_spread(node, "dilations", count))
    return node.one(f"max_pool{count}d", self=source, **given, padding=tuple(before), dilation=dilation)


def _average_pool(
    node: Node, given: dict[str, Argument], before: list[int], after: list[int], fits: bool
) -> Ref:
    name, source = f"avg_pool{len(before)}d", node.tensor(0)
    counts = bool(node.attribute("count_include_pad", 0))
    if fits:
        if not any(before):
            return node.one(name, self=source, **given)
        return node.one(name, self=source, **given, padding=tuple(before), count_include_pad=counts)
    mean = node.one(name, self=_fitted(node, source, before, after), **given)
    if counts:
        return mean
    shape = (1, 1, *node.type(source).shape[2:])
    inside = _fitted(node, node.one("full", size=shape, fill_value=1, dtype=DType.FLOAT32), before, after)
    share = node.cast(node.one(name, self=inside, **given), node.type(source).dtype)
    return node.one("div", input=mean, other=share)


def _lp_pool(node: Node, given: dict[str, Argument], before: list[int], after: list[int]) -> Ref:
    size = node.one("abs", self=_fitted(node, node.tensor(0), before, after))
    power = float(node.attribute("p", 2))
    return node.one(f"lp_pool{len(before)}d", self=size, norm_type=power, **given)


@rule("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(node: Node) -> Ref:
    source, rank = node.tensor(0), node.rank(0)
    dims = tuple(range(2, rank))
    if node.op == "GlobalMaxPool":
        return node.one("amax", self=source, dim=dims, keepdim=True)
    if node.op == "GlobalLpPool":
        power = float(node.attribute("p", 2))
        return node.one("vector_norm", self=source, ord=power, dim=dims, keepdim=True)
    if 3 <= rank <= 5:
        return node.one(f"adaptive_avg_pool{rank - 2}d", self=source, output_size=1)
    return node.one("mean", self=source, dim=dims, keepdim=True)
