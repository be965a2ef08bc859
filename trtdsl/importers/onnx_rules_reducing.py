"""ONNX's operators along axes: reductions, sums so far, orders."""

from __future__ import annotations

from trtdsl.importers.onnx_node import Node, rule
from trtdsl.importers.onnx_rules_moving import cut, padded
from trtdsl.importers.program import Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import DType

_REDUCTIONS = {
    "ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "amax", "ReduceMin": "amin", "ReduceProd": "prod",
    "ReduceL1": "sum", "ReduceL2": "sum", "ReduceLogSum": "sum", "ReduceLogSumExp": "logsumexp",
    "ReduceSumSquare": "sum",
}  # fmt: skip


@rule(*_REDUCTIONS)
def _reduce(node: Node) -> Ref:
    source, rank = node.tensor(0), node.rank(0)
    axes = node.ints_or(1, "axes") or ()
    if not all(isinstance(axis, int) for axis in axes):
        raise Refused("`axes` must not depend on a dynamic dimension")
    dims = tuple(sorted(node.axis(axis) for axis in axes if isinstance(axis, int)))
    if not dims and not node.attribute("noop_with_empty_axes", 0):
        dims = tuple(range(rank))
    if node.op == "ReduceL1":
        source = node.one("abs", self=source)
    elif node.op in ("ReduceL2", "ReduceSumSquare"):
        source = node.one("mul", input=source, other=source)
    found = _reduced(node, source, dims) if dims else source
    if node.op == "ReduceL2":
        return node.one("sqrt", self=found)
    return node.one("log", self=found) if node.op == "ReduceLogSum" else found


def _reduced(node: Node, source: Ref, dims: tuple[int, ...]) -> Ref:
    name, dtype = _REDUCTIONS[node.op], node.type(source).dtype
    keep = bool(node.attribute("keepdims", 1))
    if name == "mean" and keep and 4 <= node.rank(source) <= 5 and dims == tuple(range(2, node.rank(source))):
        return node.one(f"adaptive_avg_pool{len(dims)}d", self=source, output_size=1)
    if dtype is DType.BOOL:
        return node.one("any" if name == "amax" else "all", self=source, dim=dims, keepdim=keep)
    if name == "prod":
        for dim in reversed(dims):
            source = node.one(name, self=source, dim=dim, keepdim=keep)
        return node.cast(source, dtype)
    return node.cast(node.one(name, self=source, dim=dims, keepdim=keep), dtype)


@rule("ArgMax", "ArgMin")
def _arg(node: Node) -> Ref:
    source, dim = node.tensor(0), node.axis(node.attribute("axis", 0))
    keep = bool(node.attribute("keepdims", 1))
    name = node.op.lower()
    if not node.attribute("select_last_index", 0):
        return node.one(name, self=source, dim=dim, keepdim=keep)
    behind = node.one(name, self=node.one("flip", self=source, dims=(dim,)), dim=dim, keepdim=keep)
    last = node.type(source).shape[dim] - 1
    return node.one("sub", input=last, other=behind)


@rule("CumSum", "CumProd")
def _cumulative(node: Node) -> Ref:
    axis = node.scalar(1, "`axis`")
    source, dim = node.tensor(0), node.axis(int(axis))
    dtype = node.type(source).dtype
    if node.attribute("reverse", 0):
        source = node.one("flip", self=source, dims=(dim,))
    if node.attribute("exclusive", 0):
        # The sum in front of each element is the sum up to the one before it.
        size = node.type(source).shape[dim]
        front = [int(number == dim) for number in range(node.rank(source))]
        start = 0 if node.op == "CumSum" else 1
        whole = cut(node, source, dim, 0, size - 1, 1)
        source = padded(node, whole, front, [0] * len(front), "constant", start)
    found = node.cast(node.one(node.op.lower(), self=source, dim=dim), dtype)
    return node.one("flip", self=found, dims=(dim,)) if node.attribute("reverse", 0) else found


@rule("TopK")
def _top_k(node: Node) -> tuple[Ref, ...]:
    count = node.scalar(1, "`K`") if node.has(1) else node.attribute("k")
    return node.emit(
        "topk",
        self=node.tensor(0),
        k=count,
        dim=node.axis(node.attribute("axis", -1)),
        largest=bool(node.attribute("largest", 1)),
    )


@rule("Hardmax")
def _hardmax(node: Node) -> Ref:
    if node.opset < 13 and node.axis(node.attribute("axis", 1)) != node.rank(0) - 1:
        raise Refused("before version 13 it looks at several axes at once")
    source, dim = node.tensor(0), node.axis(node.attribute("axis", -1))
    best = node.one("argmax", self=source, dim=dim, keepdim=True)
    size = node.type(source).shape[dim]
    places = node.reshape(
        node.one("arange", start=0, end=size), (size, *(1,) * (node.rank(source) - 1 - dim))
    )
    return node.cast(node.one("eq", input=best, other=places), node.type(source).dtype)


@rule("Unique", "NonMaxSuppression")
def _sized_by_values(node: Node) -> Ref:
    raise Refused("the size of its result depends on values")


@rule("Det")
def _det(node: Node) -> Ref:
    raise Refused("the language has no determinant")
