"""The operators that onnxruntime puts in the place of others when it optimises a file.

In: a node of the domain ``com.microsoft``.  Out: what it stands for.  Those of one processor's layout, of
quantised weights and of caches are refused, with what to do instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtdsl.importers.onnx_node import RULES, Node, rule
from trtdsl.importers.onnx_rules_pointwise import between, clamped, hard_sigmoid, swish
from trtdsl.importers.program import Argument, Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import DType, shortest

DOMAIN = "com.microsoft"


def _refuse_inputs(node: Node, what: str, *indices: int) -> None:
    if any(node.has(index) for index in indices):
        raise Refused(f"it has {what}, which the importer does not take")


def _refuse_outputs(node: Node, *indices: int) -> None:
    if any(name for index in indices for name in node.outputs[index : index + 1]):
        raise Refused("it gives more than its first result")


# --- Layers with what follows them ------------------------------------------------------------------------


@rule(f"{DOMAIN}.FusedConv", f"{DOMAIN}.FusedGemm")
def _fused_layer(node: Node) -> Ref:
    is_conv = node.op.endswith("Conv")
    found: Any = RULES["Conv" if is_conv else "Gemm"](node)
    if is_conv and node.has(3):
        found = between(node, "add", found, 3)
    numbers: list[float] = node.attribute("activation_params") or [
        node.attribute(f"activation_{name}")
        for name in ("alpha", "beta", "gamma")
        if node.attribute(f"activation_{name}") is not None
    ]
    return _activated(node, found, node.attribute("activation", ""), [shortest(each) for each in numbers])


def _activated(node: Node, value: Ref, name: str, numbers: list[float]) -> Ref:
    if name in ("Relu", "Sigmoid", "Tanh"):
        return node.one(name.lower(), self=value)
    if name == "LeakyRelu":
        return node.one("leaky_relu", self=value, negative_slope=numbers[0] if numbers else 0.01)
    if name == "HardSigmoid":
        return hard_sigmoid(node, value, *(numbers or (0.2, 0.5)))
    if name == "Clip" and len(numbers) == 2:
        return clamped(node, value, *(int(each) if each.is_integer() else each for each in numbers))
    if name:
        raise Refused(f"the importer does not know its activation {name}")
    return value


@rule(f"{DOMAIN}.FusedMatMul", f"{DOMAIN}.TransposeMatMul")
def _fused_matmul(node: Node) -> Ref:
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        raise Refused("it moves the batch after the rows")
    operands = [
        _swapped(node, index)
        if node.attribute(f"trans{name}", 0) and node.rank(index) > 1
        else node.tensor(index)
        for index, name in enumerate("AB")
    ]
    found = node.one("matmul", input=operands[0], other=operands[1])
    factor = shortest(node.attribute("alpha", 1.0))
    return found if factor == 1 else node.one("mul", input=found, other=factor)


def _swapped(node: Node, index: int) -> Ref:
    rank = node.rank(index)
    return node.one("permute", self=node.tensor(index), dims=(*range(rank - 2), rank - 1, rank - 2))


# --- Activations ------------------------------------------------------------------------------------------


@rule(f"{DOMAIN}.Gelu", f"{DOMAIN}.BiasGelu", f"{DOMAIN}.FastGelu")
def _gelu(node: Node) -> Ref:
    source: Any = RULES["Add"](node) if node.has(1) else node.tensor(0)
    if node.op.endswith("FastGelu"):
        return node.one("gelu", self=source, approximate="tanh")
    return node.one("gelu", self=source)


@rule(f"{DOMAIN}.QuickGelu")
def _quick_gelu(node: Node) -> Ref:
    return swish(node, shortest(node.attribute("alpha", 1.702)))


@rule(f"{DOMAIN}.BiasSoftmax")
def _bias_softmax(node: Node) -> Ref:
    axis = node.axis(node.attribute("axis", 1))
    if axis != node.rank(0) - 1 or not node.attribute("is_inner_broadcast", 1):
        raise Refused("its bias is not of the last axis")
    return node.one("softmax", self=between(node, "add", 0, 1), dim=axis)


# --- Normalisations ---------------------------------------------------------------------------------------


@rule(f"{DOMAIN}.SkipLayerNormalization", f"{DOMAIN}.SkipSimplifiedLayerNormalization")
def _skip_layer_norm(node: Node) -> tuple[Ref | None, ...]:
    is_rms = "Simplified" in node.op
    _refuse_outputs(node, 1, 2)
    total = node.one("add", input=node.tensor(0), other=node.tensor(1))
    if node.has(3 if is_rms else 4):
        total = between(node, "add", total, 3 if is_rms else 4)
    slots = ((2, "weight"),) if is_rms else ((2, "weight"), (3, "bias"))
    return _normalized(node, total, "rms_norm" if is_rms else "layer_norm", *slots), None, None, total


def _normalized(node: Node, source: Ref, name: str, *slots: tuple[int, str]) -> Ref:
    label = node.label(*slots)
    given: Mapping[str, Argument] = {
        slot: node.weight(index, slot, label) for index, slot in slots if node.has(index)
    }
    epsilon = shortest(node.attribute("epsilon", 1e-12))
    return node.one(name, input=source, normalized_shape=node.type(source).shape[-1:], **given, eps=epsilon)


@rule(f"{DOMAIN}.EmbedLayerNormalization")
def _embeddings(node: Node) -> tuple[Ref | None, ...]:
    ids = node.tensor(0)
    total = _embedded(node, 2, ids)
    places = node.tensor(8) if node.has(8) else node.one("arange", start=0, end=node.type(ids).shape[1])
    total = node.one("add", input=total, other=_embedded(node, 3, places))
    if node.has(1) and node.has(4):
        total = node.one("add", input=total, other=_embedded(node, 4, node.tensor(1)))
    lengths = node.one("sum", self=node.tensor(7), dim=(1,)) if node.has(7) else None
    if lengths is not None:
        lengths = node.cast(lengths, DType.INT32)
    return _normalized(node, total, "layer_norm", (5, "weight"), (6, "bias")), lengths, total


def _embedded(node: Node, index: int, ids: Ref) -> Ref:
    label = node.label((index, "weight"))
    return node.one("embedding", weight=node.weight(index, "weight", label), indices=ids)


# --- Attention --------------------------------------------------------------------------------------------


@rule(f"{DOMAIN}.Attention")
def _attention(node: Node) -> tuple[Ref, ...]:
    _refuse_inputs(node, "a cache of earlier keys", 4, 6)
    _refuse_outputs(node, 1)
    if node.attribute("do_rotary", 0):
        raise Refused("it turns its queries and keys")
    label = node.label((1, "weight"), (2, "bias"))
    given: dict[str, Argument] = {
        "input": node.tensor(0),
        "weight": node.weight(1, "weight", label, "transposed", lambda array: array.T),
    }
    if node.has(2):
        given["bias"] = node.weight(2, "bias", label)
    joined = node.one("linear", **given)
    whole = node.type(joined).shape[-1]
    sizes = node.attribute("qkv_hidden_sizes") or [whole // 3] * 3
    parts = node.emit("split", self=joined, split_sizes=tuple(sizes), dim=2)
    return (_attended(node, parts, mask=3, bias=5),)


@rule(f"{DOMAIN}.MultiHeadAttention")
def _multi_head_attention(node: Node) -> tuple[Ref, ...]:
    _refuse_inputs(node, "a cache of earlier keys", 6, 7, 8, 9)
    _refuse_outputs(node, 1, 2, 3)
    if any(not node.has(index) or node.rank(index) != 3 for index in range(3)):
        raise Refused("its queries, keys and values are not three tensors of rank 3")
    parts = [node.tensor(index) for index in range(3)]
    if node.has(3):
        widths = tuple(node.type(each).shape[2] for each in parts)
        biases = node.emit("split", self=node.tensor(3), split_sizes=widths, dim=0)
        parts = [node.one("add", input=each, other=piece) for each, piece in zip(parts, biases, strict=True)]
    return (_attended(node, parts, mask=4, bias=5),)


def _attended(node: Node, parts: Any, *, mask: int, bias: int) -> Ref:
    """Heads apart, attention, heads together again."""
    heads = node.attribute("num_heads")
    apart: list[Ref] = []
    for each in parts:
        batch, length, width = node.type(each).shape
        split = node.reshape(each, (batch, length, heads, width // heads))
        apart.append(node.one("permute", self=split, dims=(0, 2, 1, 3)))
    query, key, value = apart
    given: dict[str, Argument] = {"query": query, "key": key, "value": value}
    allowed = _mask(node, mask, node.type(key).shape[2]) if node.has(mask) else None
    if node.attribute("unidirectional", 0) and (allowed is not None or node.has(bias)):
        raise Refused("it has a mask, and hides what comes after as well")
    if node.attribute("unidirectional", 0):
        given["is_causal"] = True
    if node.has(bias):
        added = node.tensor(bias)
        if allowed is not None:
            added = node.one("where", condition=allowed, self=added, other=float("-inf"))
        given["attn_mask"] = added
    elif allowed is not None:
        given["attn_mask"] = allowed
    if node.attribute("scale"):
        given["scale"] = shortest(node.attribute("scale"))
    found = node.one("permute", self=node.one("scaled_dot_product_attention", **given), dims=(0, 2, 1, 3))
    batch, length, heads, width = node.type(found).shape
    return node.reshape(found, (batch, length, heads * width))


def _mask(node: Node, index: int, keys: Any) -> Ref:
    """Which keys each query may see, of lengths, or of 1 where it may."""
    source = node.tensor(index)
    if node.rank(source) == 1:
        places = node.one("arange", start=0, end=keys)
        seen = node.one("lt", input=places, other=node.one("unsqueeze", self=source, dim=1))
    else:
        seen = node.one("ne", input=source, other=0)
    if node.rank(seen) > 3:
        raise Refused("its mask is of rank 4")
    for axis in range(1, 5 - node.rank(seen)):
        seen = node.one("unsqueeze", self=seen, dim=axis)
    return seen


# --- What cannot be imported ------------------------------------------------------------------------------

_CACHES = frozenset(
    {"GroupQueryAttention", "PagedAttention", "SparseAttention", "DecoderMaskedMultiHeadAttention"}
)


def reason_of(op: str) -> str:
    """Why an operator without a rule cannot be imported, and what to do."""
    domain, _, name = op.rpartition(".")
    if domain.startswith("com.microsoft.nchwc") or name.startswith("Nhwc"):
        return (
            "onnxruntime laid the file out for one processor: import the file it was made from, or write it"
            " with at most ORT_ENABLE_EXTENDED"
        )
    if domain == DOMAIN and name in _CACHES:
        return "it keeps earlier keys and values in a cache; import the model without one"
    if domain == DOMAIN and (name.startswith(("Q", "MatMulNBits", "DynamicQuantize")) or "Quant" in name):
        return "quantised operators are not imported: import the model before it was quantised"
    if domain == DOMAIN:
        return "it is onnxruntime's own: import the file before onnxruntime optimised it"
    if domain == "ai.onnx.ml":
        return "it is not of a neural network; leave it out of the file, or compute it outside the engine"
    if domain.startswith("ai.onnx.contrib"):
        return "it reads or writes text, sound or images: compute it outside the engine"
    if domain:
        return f"the file does not define it, and the operators of {domain} are not ONNX's"
    return "the language has no such operator"
