"""ONNX's operators that sample images at other places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtdsl.importers.onnx_node import Known, Node, rule
from trtdsl.importers.program import Argument, Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, SymbolicDim, divide_exact, shortest


@rule("GridSample")
def _grid_sample(node: Node) -> Ref:
    mode = node.attribute("mode", "linear")
    return node.one(
        "grid_sample",
        self=node.tensor(0),
        grid=node.tensor(1),
        mode={"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode),
        padding_mode=node.attribute("padding_mode", "zeros"),
        align_corners=bool(node.attribute("align_corners", 0)),
    )


@rule("AffineGrid")
def _affine_grid(node: Node) -> Ref:
    size = node.ints(1, "`size`")
    return node.one(
        "affine_grid",
        self=node.tensor(0),
        size=tuple(size),
        align_corners=bool(node.attribute("align_corners", 0)),
    )


@rule("RoiAlign")
def _roi_align(node: Node) -> Ref:
    if node.attribute("mode", "avg") != "avg":
        raise Refused('the language has no roi_align with mode "max"')
    default = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    aligned = node.attribute("coordinate_transformation_mode", default) == "half_pixel"
    boxes, batch = node.tensor(1), node.tensor(2)
    numbers = node.one("unsqueeze", self=node.cast(batch, node.type(boxes).dtype), dim=1)
    return node.one(
        "roi_align",
        self=node.tensor(0),
        boxes=node.one("cat", tensors=(numbers, boxes), dim=1),
        output_size=(node.attribute("output_height", 1), node.attribute("output_width", 1)),
        spatial_scale=shortest(node.attribute("spatial_scale", 1.0)),
        sampling_ratio=node.attribute("sampling_ratio", 0) or -1,
        aligned=aligned,
    )


# --- Resizing ---------------------------------------------------------------------------------------------


@rule("Upsample", "Resize")
def _resize(node: Node) -> Ref:
    shape = node.type(0).shape
    scales, outputs = _wanted(node)
    changed = [axis for axis, size in enumerate(shape) if scales[axis] != 1 or outputs[axis] != size]
    if not changed:
        return node.tensor(0)
    given = _native(node, scales, outputs)
    if given is not None and min(changed) >= 2 and 3 <= len(shape) <= 5:
        if all(scale is not None for scale in scales):
            given["scale_factor"] = tuple(float(scale) for scale in scales[2:] if scale is not None)
        else:
            given["size"] = tuple(outputs[2:])
        return node.one("interpolate", self=node.tensor(0), **given)
    return _by_matrices(node, changed, scales, outputs)


def _wanted(node: Node) -> tuple[list[float | None], list[Dim]]:
    """Of each axis the scale, where that is what is given, and the size."""
    shape = node.type(0).shape
    where = 1 if node.op == "Upsample" or node.opset < 11 else 2
    value = node[where] if node.has(where) else None
    if isinstance(value, Ref):
        raise Refused("`scales` must be known, but an input of the model decides them")
    factors: list[float] = value.array.reshape(-1).tolist() if value else node.attribute("scales") or []
    axes: list[int] = [node.axis(axis) for axis in node.attribute("axes") or range(len(shape))]
    scales: list[float | None] = [1] * len(shape)
    outputs: list[Dim] = list(shape)
    if factors:
        for axis, factor in zip(axes, factors, strict=True):
            factor = shortest(factor) if not isinstance(factor, SymbolicDim) else factor
            scales[axis], outputs[axis] = factor, _scaled(shape[axis], factor)
        return scales, outputs
    sizes = _kept(node, node.ints(3, "`sizes`"), axes)
    for axis, size in zip(axes, sizes, strict=True):
        ratio = divide_exact(size, shape[axis])
        outputs[axis] = size
        scales[axis] = ratio if isinstance(ratio, int) else None
    if all(isinstance(size, int) for size in outputs) and any(scale is None for scale in scales):
        scales = [scale if scale == 1 else None for scale in scales]
    return scales, outputs


def _scaled(size: Dim, factor: float) -> Dim:
    if isinstance(size, int):
        return int(np.floor(size * factor))
    if float(factor).is_integer():
        return size * int(factor)
    if (1 / factor).is_integer():
        return size // int(1 / factor)
    raise Refused(f"it scales a dynamic dimension by {factor}")


def _kept(node: Node, sizes: Sequence[Dim], axes: Sequence[int]) -> Sequence[Dim]:
    """The sizes where the aspect ratio is kept."""
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return sizes
    shape = [node.type(0).shape[axis] for axis in axes]
    pairs = [(a, b) for a, b in zip(sizes, shape, strict=True) if isinstance(a, int) and isinstance(b, int)]
    if len(pairs) < len(axes):
        raise Refused("it keeps the aspect ratio of a dynamic size")
    ratios = [a / b for a, b in pairs]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [int(np.floor(ratio * b + 0.5)) for _, b in pairs]


def _native(node: Node, scales: Sequence[float | None], outputs: Sequence[Dim]) -> dict[str, Argument] | None:
    """How the language resizes so; None where it does not."""
    old = node.op == "Upsample" or node.opset < 11
    mode = node.attribute("mode", "nearest")
    place = "asymmetric" if old else node.attribute("coordinate_transformation_mode", "half_pixel")
    is_half = place == "half_pixel" or (place == "pytorch_half_pixel" and 1 not in outputs[2:])
    kept = (
        node.attribute("exclude_outside", 0)
        or node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch"
    )
    smooths = bool(node.attribute("antialias", 0))
    if kept or smooths or (place == "align_corners" and not _are_whole(node, scales)):
        return None
    if mode == "nearest":
        rounding = "floor" if old else node.attribute("nearest_mode", "round_prefer_floor")
        is_whole = all(scale is not None and float(scale).is_integer() for scale in scales)
        if place == "asymmetric" and (
            rounding == "floor" or (rounding == "round_prefer_floor" and _doubles(scales))
        ):
            return {"mode": "nearest"}
        if is_half and (rounding == "round_prefer_ceil" or (rounding == "round_prefer_floor" and is_whole)):
            return {"mode": "nearest-exact"}
        return None
    rank = len(outputs)
    if mode == "linear" and (is_half or place == "align_corners"):
        given: dict[str, Argument] = {
            "mode": ("linear", "bilinear", "trilinear")[rank - 3] if rank in (3, 4, 5) else ""
        }
        return {**given, **({"align_corners": True} if place == "align_corners" else {})}
    is_cubic = mode == "cubic" and rank == 4 and node.attribute("cubic_coeff_a", -0.75) == -0.75
    if is_cubic and (is_half or place == "align_corners"):
        return {"mode": "bicubic", **({"align_corners": True} if place == "align_corners" else {})}
    return None


def _are_whole(node: Node, scales: Sequence[float | None]) -> bool:
    """Whether scales give whole sizes: ONNX aligns the corners of the size before it is rounded."""
    pairs = zip(node.type(0).shape, scales, strict=True)
    return all(
        scale is None
        or float(scale).is_integer()
        or (isinstance(size, int) and float(size * scale).is_integer())
        for size, scale in pairs
    )


def _doubles(scales: Sequence[float | None]) -> bool:
    return all(scale in (1, 2) for scale in scales)


def _by_matrices(
    node: Node, axes: Sequence[int], scales: Sequence[float | None], outputs: Sequence[Dim]
) -> Ref:
    """Axis by axis a product with the matrix that ONNX's own evaluator makes of the unit matrix."""
    if node.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise Refused("it crops what it resizes")
    found = node.tensor(0)
    for axis in axes:
        size, wanted = node.type(found).shape[axis], outputs[axis]
        if not isinstance(size, int) or not isinstance(wanted, int):
            raise Refused("the language resizes a dynamic size only at PyTorch's places")
        matrix = _matrix(node, size, scales[axis], wanted)
        if node.attribute("mode", "nearest") == "nearest":
            places = matrix.argmax(0).astype(np.int64)
            index = node.tensor(Known(places, places.dtype))
            found = node.one("index_select", self=found, dim=axis, index=index)
            continue
        rank = node.rank(found)
        order = [*(each for each in range(rank) if each != axis), axis]
        found = found if axis == rank - 1 else node.one("permute", self=found, dims=tuple(order))
        values = node.store.constant(matrix.astype(node.type(found).dtype.numpy), "resize")
        found = node.one("matmul", input=found, other=values)
        back = tuple(int(each) for each in np.argsort(order))
        found = found if axis == rank - 1 else node.one("permute", self=found, dims=back)
    return found


def _matrix(node: Node, size: int, scale: float | None, wanted: int) -> Any:
    """What each place of the result takes of each place of the axis."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    proto = onnx.NodeProto(op_type="Resize", input=["x", "", "scales", "sizes"], output=["y"])
    opset = max(node.opset, 18)
    for attribute in node.proto.attribute:
        if attribute.name not in ("axes", "keep_aspect_ratio_policy", "scales"):
            proto.attribute.append(attribute)
    if node.opset < 11 or node.op == "Upsample":
        proto.attribute.append(onnx.helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
        proto.attribute.append(onnx.helper.make_attribute("nearest_mode", "floor"))
    feeds: dict[str, Any] = {"x": np.eye(size, dtype=np.float32)}
    if scale is None:
        proto.input[2], feeds["sizes"] = "", np.array([size, wanted], np.int64)
    else:
        del proto.input[3]
        feeds["scales"] = np.array([1, scale], np.float32)
    kinds = {"x": 1, "scales": 1, "sizes": 7}
    inputs = [onnx.helper.make_tensor_value_info(name, kinds[name], None) for name in feeds]
    output = onnx.helper.make_tensor_value_info("y", 1, None)
    graph = onnx.helper.make_graph([proto], "resize", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    found: Any = ReferenceEvaluator(model).run(None, feeds)
    return found[0]
