"""Gather, scatter, non-zero and non-maximum suppression (NvInfer.h: the layers of those names)."""

from __future__ import annotations

import torch

from .registry import Context, LayerNode, Operands, evaluates, floating


def _require_front(node: LayerNode, indices: torch.Tensor, axis: int) -> None:
    """Refuse what is counted from the end of a dynamic dimension: undefined."""
    if node.layer.get_input(0).shape[axis] < 0 and bool((indices < 0).any()):
        node.refuse(f"a negative index in the dynamic dimension {axis}")


def _wrap(indices: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices with negative ones counted from the end, kept inside; and which were outside."""
    whole = indices.to(torch.int64)
    wrapped = torch.where(whole < 0, whole + length, whole)
    outside = (wrapped < 0) | (wrapped >= length)
    return wrapped.clamp(0, max(length - 1, 0)), outside


@evaluates("GATHER")
def gather(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Elements of the first input at the places of the second, zero outside.

    DEFAULT is ONNX Gather along ``axis``, ELEMENT is GatherElements, ND is GatherND; the leading
    ``num_elementwise_dims`` dimensions are batches.
    """
    data, indices, mode = operands[0], operands[1], node.layer.mode.name
    if mode == "ELEMENT":
        axis = node.layer.axis % data.dim()
        _require_front(node, indices, axis)
        places, outside = _wrap(indices, data.shape[axis])
        return data.gather(axis, places).masked_fill(outside, 0)
    if mode == "ND":
        for place in range(indices.shape[-1]):
            _require_front(node, indices[..., place], node.layer.num_elementwise_dims + place)
        return _gather_nd(data, indices, node.layer.num_elementwise_dims)
    if mode != "DEFAULT":
        node.refuse(f"gather mode {mode}")
    return _gather_default(node, data, indices)


def _gather_default(node: LayerNode, data: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    axis, batches = node.layer.axis % data.dim(), node.layer.num_elementwise_dims
    _require_front(node, indices, axis)
    if batches == 0:
        places, outside = _wrap(indices, data.shape[axis])
        taken = data.index_select(axis, places.reshape(-1))
        taken = taken.reshape([*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]])
        tail = [1] * (data.dim() - axis - 1)
        return taken.masked_fill(outside.reshape([*indices.shape, *tail]), 0)
    if batches != 1 or axis == 0:
        node.refuse(f"{batches} elementwise dimensions along axis {axis}")
    count = max(data.shape[0], indices.shape[0])
    rows, picks = data.expand(count, *data.shape[1:]), indices.expand(count, *indices.shape[1:])
    places, outside = _wrap(picks, data.shape[axis])
    results = [row.index_select(axis - 1, place.reshape(-1)) for row, place in zip(rows, places, strict=True)]
    shape = [count, *data.shape[1:axis], *indices.shape[1:], *data.shape[axis + 1 :]]
    middle, tail = [1] * (axis - 1), [1] * (data.dim() - axis - 1)
    mask = outside.reshape([count, *middle, *indices.shape[1:], *tail])
    return torch.stack(results).reshape(shape).masked_fill(mask, 0)


def _gather_nd(data: torch.Tensor, indices: torch.Tensor, batches: int) -> torch.Tensor:
    depth = indices.shape[-1]
    picks: list[torch.Tensor] = []
    lead = indices.dim() - 1
    outside = torch.zeros(indices.shape[:-1], dtype=torch.bool)
    for axis in range(batches):
        place = torch.arange(data.shape[axis])
        picks.append(place.reshape([-1 if d == axis else 1 for d in range(lead)]).expand(indices.shape[:-1]))
    for i in range(depth):
        places, beyond = _wrap(indices[..., i], data.shape[batches + i])
        picks.append(places)
        outside |= beyond
    taken = data[tuple(picks)]
    return taken.masked_fill(outside.reshape([*outside.shape, *[1] * (taken.dim() - outside.dim())]), 0)


@evaluates("SCATTER")
def scatter(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """The first input with the updates written at the indices.

    ELEMENT is ONNX ScatterElements along ``axis``, ND is ScatterND.  Indices outside are refused, and so are
    two numbers for one element: which of them is written last is undefined.
    """
    data, indices, updates = operands[0], operands[1], operands[2]
    mode = node.layer.mode.name
    if mode == "ELEMENT":
        axis = node.layer.axis % data.dim()
        places, outside = _wrap(indices, data.shape[axis])
        _refuse_outside(node, outside)
        result = data.scatter(axis, places, updates)
        _refuse_unlike(node, result.gather(axis, places), updates)
        return result
    if mode != "ND":
        node.refuse(f"scatter mode {mode}")
    return _scatter_nd(node, data, indices, updates)


def _scatter_nd(
    node: LayerNode, data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor
) -> torch.Tensor:
    pairs = [_wrap(indices[..., i], data.shape[i]) for i in range(indices.shape[-1])]
    for _, outside in pairs:
        _refuse_outside(node, outside)
    places = tuple(place for place, _ in pairs)
    result = data.index_put(places, updates)
    _refuse_unlike(node, result[places], updates)
    return result


def _refuse_outside(node: LayerNode, outside: torch.Tensor) -> None:
    if bool(outside.any()):
        node.refuse("an index outside of the tensor")


def _refuse_unlike(node: LayerNode, written: torch.Tensor, updates: torch.Tensor) -> None:
    """What was written last must be what every update of the element says."""
    if not bool(((written == updates) | ((written != written) & (updates != updates))).all()):
        node.refuse("two updates of one element")


@evaluates("NON_ZERO")
def non_zero(node: LayerNode, operands: Operands, context: Context) -> torch.Tensor:
    """Coordinates of the elements that are not zero, ``[rank, count]``, in row-major order."""
    return operands[0].nonzero().mT


@evaluates("NMS")
def nms(node: LayerNode, operands: Operands, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (batch, class, box) of the selected boxes, by batch and falling score, and their number.

    A box is taken if its score exceeds the score threshold and its intersection over union with every
    box taken before it of the same class is at most the IoU threshold.  Of each batch item only the
    ``topk_box_limit`` best candidates are considered.
    """
    boxes, scores = floating(node, operands[0]), floating(node, operands[1])
    limit = int(operands[2])
    overlap, least = operands.get(3), operands.get(4)
    iou = 0.0 if overlap is None else float(overlap)
    threshold = 0.0 if least is None else float(least)
    per_class = boxes if boxes.dim() == 4 else boxes.unsqueeze(2).expand(-1, -1, scores.shape[2], -1)
    corners = _corners(node, per_class)
    rows: list[list[int]] = []
    for batch in range(scores.shape[0]):
        rows += _select(
            batch, corners[batch], scores[batch], limit, iou, threshold, node.layer.topk_box_limit
        )
    selected = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
    return selected, torch.tensor(len(rows), dtype=torch.int64)


def _corners(node: LayerNode, boxes: torch.Tensor) -> torch.Tensor:
    """Boxes as smaller corner, larger corner."""
    first, second = boxes[..., :2], boxes[..., 2:]
    form = node.layer.bounding_box_format.name
    if form == "CENTER_SIZES":
        return torch.cat([first - second / 2, first + second / 2], -1)
    if form != "CORNER_PAIRS":
        node.refuse(f"box format {form}")
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)


def _select(
    batch: int,
    boxes: torch.Tensor,
    scores: torch.Tensor,
    limit: int,
    iou: float,
    threshold: float,
    candidates: int,
) -> list[list[int]]:
    classes = scores.shape[1]
    order = torch.argsort(scores.reshape(-1), descending=True, stable=True).tolist()
    passing = [place for place in order if float(scores.reshape(-1)[place]) > threshold][:candidates]
    taken: dict[int, list[int]] = {}
    rows: list[list[int]] = []
    for place in passing:
        box, label = divmod(place, classes)
        earlier = taken.setdefault(label, [])
        if len(earlier) >= limit:
            continue
        if all(_iou(boxes[box, label], boxes[other, label]) <= iou for other in earlier):
            earlier.append(box)
            rows.append([batch, label, box])
    return rows


def _iou(a: torch.Tensor, b: torch.Tensor) -> float:
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    shared = float(sides.prod())
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
    return shared / union if union > 0 else 0.0
