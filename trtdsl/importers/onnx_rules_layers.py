"""ONNX's products and normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtdsl.importers.onnx_node import Known, Node, rule
from trtdsl.importers.onnx_rules_pointwise import between
from trtdsl.importers.program import Argument, Operation, Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import shortest

# --- Products ---------------------------------------------------------------------------------------------


def _transpose(array: Any) -> Any:
    return array.T


@rule("Gemm")
def _gemm(node: Node) -> Ref:
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    weight, bias = node[1], node[2] if node.has(2) else None
    transposes = bool(node.attribute("transB", 0))
    columns = node.type(1).shape[0 if transposes else 1]
    fits = bias is None or node.type(bias).shape in ((columns,), (1, columns))
    is_stored = isinstance(weight, Known) or (weight.value in node.store.quantised and transposes)
    if is_stored and alpha == 1 and (beta == 1 or bias is None) and fits:
        source = node.tensor(0)
        if node.attribute("transA", 0):
            source = node.one("permute", self=source, dims=(1, 0))
        label = node.label((1, "weight"), (2, "bias"))
        layout, change = ("", None) if transposes else ("transposed", _transpose)
        given: dict[str, Argument] = {
            "input": source,
            "weight": node.weight(1, "weight", label, layout, change),
        }
        if isinstance(bias, Known):
            given["bias"] = node.weight(2, "bias", label, "flat", lambda array: array.reshape(-1))
        if not isinstance(bias, Ref):
            return node.one("linear", **given)
        return between(node, "add", node.one("linear", **given), bias)
    return _plain_gemm(node, alpha, beta)


def _plain_gemm(node: Node, alpha: float, beta: float) -> Ref:
    left, right = node.tensor(0), node.tensor(1)
    if node.attribute("transA", 0):
        left = node.one("permute", self=left, dims=(1, 0))
    if node.attribute("transB", 0):
        right = node.one("permute", self=right, dims=(1, 0))
    found = node.one("matmul", input=left, other=right)
    if alpha != 1:
        found = node.one("mul", input=found, other=shortest(alpha))
    if not node.has(2) or beta == 0:
        return found
    if beta == 1:
        return between(node, "add", found, node[2])
    return node.one(
        "add",
        input=found,
        other=between(node, "mul", 2, Known(np.asarray(beta, np.float32), np.dtype(np.float32))),
    )


@rule("MatMul")
def _matmul(node: Node) -> Ref:
    weight = node[1]
    if isinstance(weight, Known) and weight.array.ndim == 2 and node.type(1).dtype.is_floating:
        # A matrix under a key of its own keeps its layout, so that the checkpoint still fits.
        is_key = "." in weight.initialiser and weight.initialiser in node.store.reserved
        has_key = is_key and node.store.keeps_layout
        if node.rank(0) > 1 and (weight.is_transposed or not has_key):
            label = node.label((1, "weight"))
            matrix = node.weight(1, "weight", label, "transposed", _transpose)
            return node.one("linear", input=node.tensor(0), weight=matrix)
    return node.one("matmul", input=node.tensor(0), other=node.tensor(1))


@rule("Add")
def _add(node: Node) -> Ref:
    """A sum; where it is the bias of a layer right in front, part of that."""
    for index in (0, 1):
        layer, bias = node[index], node[1 - index]
        last = node.store.operations[-1] if node.store.operations else None
        if not isinstance(layer, Ref) or not isinstance(bias, Known) or last is None:
            continue
        is_alone = node.users.get(node.names[index] if node.names else "", 0) == 1
        if last.results == (layer.value,) and is_alone and not node.attribute("broadcast"):
            found = _with_bias(node, last, bias, 1 - index)
            if found is not None:
                return found
    return between(node, "add", 0, 1)


def _with_bias(node: Node, layer: Operation, bias: Known, index: int) -> Ref | None:
    """A linear layer or convolution with a bias, where what is added is one."""
    is_linear, is_conv = layer.name == "linear", layer.name.startswith("conv")
    if "bias" in layer.arguments or not (is_linear or is_conv) or node.type(index).dtype.is_integer:
        return None
    result = node.store.types[layer.results[0]]
    channels, behind = (result.shape[-1], 0) if is_linear else (result.shape[1], result.rank - 2)
    shape = bias.shape[len(bias.shape) - 1 - behind :]
    if shape != (channels, *(1,) * behind) or bias.array.size != channels:
        return None
    weight = layer.arguments["weight"]
    label = node.store.key_of(weight).rpartition(".")[0] if isinstance(weight, Ref) else ""
    if not label:
        return None
    node.store.operations.pop()
    del node.store.types[layer.results[0]]
    calls, node.calls = node.calls, layer.calls
    vector = node.weight(index, "bias", label, "flat", lambda array: array.reshape(-1))
    found = node.one(layer.name, **{**layer.arguments, "bias": vector})
    node.calls = calls
    return found


# --- Normalisations ---------------------------------------------------------------------------------------


@rule("BatchNormalization")
def _batch_norm(node: Node) -> Ref:
    if node.attribute("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        raise Refused("it computes the statistics of a batch, as in training")
    slots = ((1, "weight"), (2, "bias"), (3, "running_mean"), (4, "running_var"))
    label = node.label(*slots)
    source = node.tensor(0)
    given: dict[str, Argument] = {slot: node.weight(index, slot, label) for index, slot in slots}
    epsilon = shortest(node.attribute("epsilon", 1e-5))
    if node.rank(source) > 5:
        raise Refused(f"it normalises a tensor of rank {node.rank(source)}")
    return node.one("batch_norm", input=source, **given, training=False, eps=epsilon)


@rule("InstanceNormalization")
def _instance_norm(node: Node) -> Ref:
    label = node.label((1, "weight"), (2, "bias"))
    return node.one(
        "instance_norm",
        input=node.tensor(0),
        weight=node.weight(1, "weight", label),
        bias=node.weight(2, "bias", label),
        use_input_stats=True,
        eps=shortest(node.attribute("epsilon", 1e-5)),
    )


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(node: Node) -> tuple[Ref, ...]:
    source = node.tensor(0)
    shape = node.type(source).shape
    axis = node.axis(node.attribute("axis", -1))
    epsilon = shortest(node.attribute("epsilon", 1e-5))
    name = "layer_norm" if node.op == "LayerNormalization" else "rms_norm"
    given: dict[str, Argument] = {"input": source, "normalized_shape": shape[axis:]}
    slots = [(1, "weight"), (2, "bias")]
    fits = all(not node.has(index) or node.type(index).shape == shape[axis:] for index, _ in slots)
    label = node.label(*slots)
    if fits:
        given |= {slot: node.weight(index, slot, label) for index, slot in slots if node.has(index)}
    found = node.one(name, **given, eps=epsilon)
    if not fits:
        found = between(node, "mul", found, node[1])
        found = between(node, "add", found, node[2]) if node.has(2) else found
    if len([each for each in node.outputs if each]) < 2:
        return (found,)
    dims = tuple(range(axis, len(shape)))
    mean = node.one("mean", self=source, dim=dims, keepdim=True)
    variance = node.one("var", self=source, dim=dims, correction=0, keepdim=True)
    return found, mean, node.one("rsqrt", self=node.one("add", input=variance, other=epsilon))


@rule("GroupNormalization")
def _group_norm(node: Node) -> Ref:
    source = node.tensor(0)
    groups, channels = node.attribute("num_groups"), node.type(0).shape[1]
    epsilon = shortest(node.attribute("epsilon", 1e-5))
    slots = ((1, "weight"), (2, "bias"))
    if node.type(1).shape == (channels,):
        label = node.label(*slots)
        given = {slot: node.weight(index, slot, label) for index, slot in slots}
        return node.one("group_norm", input=source, num_groups=groups, **given, eps=epsilon)
    # Before version 21 there is a scale for each group.
    each = channels // groups
    factors = [
        node.one("repeat_interleave", self=node.tensor(index), repeats=each, dim=0) for index in (1, 2)
    ]
    return node.one(
        "group_norm", input=source, num_groups=groups, weight=factors[0], bias=factors[1], eps=epsilon
    )


@rule("LRN")
def _lrn(node: Node) -> Ref:
    size = node.attribute("size")
    if size % 2 == 0:
        raise Refused("its window is of an even size, which PyTorch places elsewhere")
    return node.one(
        "local_response_norm",
        self=node.tensor(0),
        size=size,
        alpha=shortest(node.attribute("alpha", 1e-4)),
        beta=shortest(node.attribute("beta", 0.75)),
        k=shortest(node.attribute("bias", 1.0)),
    )


@rule("LpNormalization")
def _lp_norm(node: Node) -> Ref:
    power, axis = node.attribute("p", 2), node.axis(node.attribute("axis", -1))
    return node.one("normalize", self=node.tensor(0), p=float(power), dim=axis)
