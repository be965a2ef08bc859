"""Attention, rotary embedding and key-value cache update.

Sources: ``IAttention``, ``CausalMaskKind``, ``AttentionIOForm``, ``IRotaryEmbeddingLayer``,
``IKVCacheUpdateLayer`` in NvInfer.h; ONNX RotaryEmbedding for the rotation's formula.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from .quantize import round_to
from .registry import Context, EvaluationError, LayerNode, Operands, evaluates, floating

Tensor = torch.Tensor
PADDED = "PADDED_BHND"


@evaluates("ATTENTION_INPUT")
def attention(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """``normalise(q @ k.T + mask) @ v`` for each head; no scale is applied to the scores.

    Query heads are shared out evenly over the key heads.  A boolean mask is true where a key may be
    attended to, any other is added to the scores.  The layer that ends the attention passes this on.
    """
    handle = node.layer.attention
    query_form, key_form = _form(handle, "query_form"), _form(handle, "key_value_form")
    query, key, value = (floating(node, operands[i]) for i in range(3))
    queries = _sequences(node, query, query_form, operands.get(5))
    bounds = operands.get(6)
    keys = _sequences(node, key, key_form, bounds)
    values = _sequences(node, value, key_form, bounds)
    if key_form == PADDED and bounds is not None:
        keys = [k[:, : int(n)] for k, n in zip(keys, bounds, strict=True)]
        values = [v[:, : int(n)] for v, n in zip(values, bounds, strict=True)]
    results: list[Tensor] = []
    for i, (q, k, v) in enumerate(zip(queries, keys, values, strict=True)):
        mask = _mask_of(operands.get(3), i, k.shape[1])
        results.append(_attend(node, handle, q, k, v, mask, operands.get(4)))
    if query_form == PADDED:
        return torch.stack(results)
    packed = torch.cat([result.movedim(0, 1) for result in results])
    if len(packed) != len(query):
        node.refuse(f"{len(query)} packed tokens, the lengths cover {len(packed)}")
    return packed


def _form(handle: Any, name: str) -> str:
    """A layout; releases before packed layouts have no such property."""
    form = getattr(handle, name, None)
    return PADDED if form is None else form.name


def _causal_kind(handle: Any) -> str:
    """The causal mask; releases before 11 have a flag for the one they know."""
    kind = getattr(handle, "causal_kind", None)
    if kind is not None:
        return kind.name
    return "UPPER_LEFT" if handle.causal else "NONE"


def _sequences(node: LayerNode, x: Tensor, form: str, bounds: Tensor | None) -> list[Tensor]:
    """One ``[heads, tokens, head dimension]`` tensor for each sequence of the batch."""
    if form == PADDED:
        return list(x)
    if form != "PACKED_NHD" or bounds is None:
        node.refuse(f"layout {form} without its lengths")
    ends = [int(end) for end in bounds]
    return [x[start:end].movedim(0, 1) for start, end in itertools.pairwise(ends)]


def _mask_of(mask: Tensor | None, batch: int, keys: int) -> Tensor | None:
    if mask is None:
        return None
    return mask[batch if mask.shape[0] > 1 else 0][..., :keys]


def _attend(
    node: LayerNode, handle: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: Tensor | None
) -> Tensor:
    share = q.shape[0] // k.shape[0]
    keys, values = k.repeat_interleave(share, 0), v.repeat_interleave(share, 0)
    scores = q @ keys.mT
    allowed = _causal(node, _causal_kind(handle), q.shape[1], k.shape[1])
    if mask is not None and mask.dtype == torch.bool:
        allowed = allowed & mask
    elif mask is not None:
        scores = scores + mask
    weights = _normalise(node, handle.norm_op.name, scores, allowed)
    if scale is not None:
        dtype = handle.normalization_quantize_to_type.name
        weights = round_to(node, weights / scale, dtype).to(weights.dtype) * scale
    return weights @ values


def _causal(node: LayerNode, kind: str, rows: int, columns: int) -> Tensor:
    """Which key each query may attend to: ``j <= i``, or ``j <= i + (columns - rows)``."""
    everything = torch.ones(rows, columns, dtype=torch.bool)
    if kind == "NONE":
        return everything
    if kind not in ("UPPER_LEFT", "LOWER_RIGHT"):
        node.refuse(f"causal mask {kind}")
    return everything.tril(0 if kind == "UPPER_LEFT" else columns - rows)


def _normalise(node: LayerNode, operation: str, scores: Tensor, allowed: Tensor) -> Tensor:
    if operation == "NONE":
        return scores.masked_fill(~allowed, 0.0)
    if operation != "SOFTMAX":
        node.refuse(f"normalisation {operation}")
    if not bool(allowed.any(-1).all()):
        node.refuse("a query that may attend to no key has no softmax")
    return torch.softmax(scores.masked_fill(~allowed, float("-inf")), -1)


@evaluates("ROTARY_EMBEDDING")
def rotary_embedding(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """Pairs ``(a, b)`` of the head dimension become ``(a cos - b sin, a sin + b cos)``.

    Pairs are the halves of the first ``rotary_embedding_dim`` (0: all) elements, or neighbours if
    ``interleaved``.  Caches are ``[B, S, D/2]``, or ``[positions, D/2]`` taken at the fourth input.
    """
    x, cos, sin = (floating(node, operands[i]) for i in range(3))
    positions = operands.get(3)
    if positions is not None:
        if bool(((positions < 0) | (positions >= cos.shape[0])).any()):
            node.refuse("a position outside of the caches")
        cos, sin = cos[positions.long()], sin[positions.long()]
    size = node.layer.rotary_embedding_dim or x.shape[-1]
    turning, rest = x[..., :size], x[..., size:]
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    if node.layer.interleaved:
        a, b = turning[..., 0::2], turning[..., 1::2]
        turned = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    else:
        a, b = turning.chunk(2, -1)
        turned = torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
    return torch.cat([turned, rest], -1)


@evaluates("KV_CACHE_UPDATE")
def kv_cache_update(node: LayerNode, operands: Operands, context: Context) -> Tensor:
    """``out[i, :, write[i] + s, :] = update[i, :, s, :]``; writes outside of the cache are ignored."""
    layer = node.layer
    if layer.cache_mode.name != "LINEAR":
        node.refuse(f"cache mode {layer.cache_mode.name}")
    cache, starts = operands[0].clone(), operands[2]
    updates = _sequences(node, operands[1], _form(layer, "update_form"), operands.get(3))
    if len(updates) != len(cache) or len(starts) != len(cache):
        raise EvaluationError(f"layer `{node.name}`: {len(updates)} updates for {len(cache)} sequences")
    for i, update in enumerate(updates):
        places = int(starts[i]) + torch.arange(update.shape[1])
        inside = (places >= 0) & (places < cache.shape[2])
        cache[i, :, places[inside]] = update[:, inside]
    return cache
