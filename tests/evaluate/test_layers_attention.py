"""Attention, rotary embedding and cache update against torch's own and values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorrt_rtx as trt
import torch
import torch.nn.functional as F

from trtdsl.evaluate import EvaluationError

SOFTMAX, CAUSAL = trt.AttentionNormalizationOp.SOFTMAX, trt.CausalMaskKind


def _heads(count: int, tokens: int, seed: int, batch: int = 2, size: int = 4) -> torch.Tensor:
    return torch.randn(batch, count, tokens, size, generator=torch.Generator().manual_seed(seed))


def _attend(bench: Any, q: Any, k: Any, v: Any, kind: Any = CAUSAL.NONE, norm: Any = SOFTMAX) -> Any:
    return bench.net.add_attention_v2(bench.input(q), bench.input(k), bench.input(v), norm, kind)


def test_attention_does_not_scale_the_scores(bench: Any) -> None:
    q, k, v = _heads(2, 3, 0), _heads(2, 5, 1), _heads(2, 5, 2)
    want = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    torch.testing.assert_close(bench.value(_attend(bench, q, k, v)), want)


def test_attention_shares_key_heads(bench: Any) -> None:
    q, k, v = _heads(6, 3, 0), _heads(2, 5, 1), _heads(2, 5, 2)
    shared = [heads.repeat_interleave(3, dim=1) for heads in (k, v)]
    want = F.scaled_dot_product_attention(q, *shared, scale=1.0)
    torch.testing.assert_close(bench.value(_attend(bench, q, k, v)), want)


@pytest.mark.parametrize(("kind", "diagonal"), [("UPPER_LEFT", 0), ("LOWER_RIGHT", 2)])
def test_causal_attention(bench: Any, kind: str, diagonal: int) -> None:
    q, k, v = _heads(2, 3, 0), _heads(2, 5, 1), _heads(2, 5, 2)
    allowed = torch.ones(3, 5, dtype=torch.bool).tril(diagonal)
    want = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=1.0)
    torch.testing.assert_close(bench.value(_attend(bench, q, k, v, CAUSAL.__members__[kind])), want)


@pytest.mark.parametrize("boolean", [True, False])
def test_attention_masks(bench: Any, boolean: bool) -> None:
    q, k, v = _heads(2, 3, 0), _heads(2, 5, 1), _heads(2, 5, 2)
    noise = torch.randn(1, 2, 3, 5, generator=torch.Generator().manual_seed(3))
    mask = noise > -0.5 if boolean else noise
    layer = _attend(bench, q, k, v)
    layer.mask = bench.input(mask)
    want = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    torch.testing.assert_close(bench.value(layer), want)


def test_attention_without_normalisation(bench: Any) -> None:
    q, k, v = _heads(1, 2, 0), _heads(1, 3, 1), _heads(1, 3, 2)
    layer = _attend(bench, q, k, v, norm=trt.AttentionNormalizationOp.NONE)
    torch.testing.assert_close(bench.value(layer), q @ k.mT @ v)


def test_attention_to_nothing_is_refused(bench: Any) -> None:
    layer = _attend(bench, _heads(1, 3, 0), _heads(1, 2, 1), _heads(1, 2, 2), CAUSAL.LOWER_RIGHT)
    with pytest.raises(EvaluationError, match="attend to no key"):
        bench.value(layer)


def test_attention_over_padded_keys_of_given_lengths(bench: Any) -> None:
    q, k, v = _heads(1, 2, 0), _heads(1, 4, 1), _heads(1, 4, 2)
    layer = _attend(bench, q, k, v)
    layer.key_value_lengths = bench.input(np.array([1, 3], np.int32))
    want = torch.stack(
        [
            F.scaled_dot_product_attention(q[i], k[i, :, :n], v[i, :, :n], scale=1.0)
            for i, n in ((0, 1), (1, 3))
        ]
    )
    torch.testing.assert_close(bench.value(layer), want)


def test_packed_attention(bench: Any) -> None:
    """Sequences of 2 and 3 tokens one behind the other, ``[tokens, heads, size]``."""
    packed = _heads(5, 2, 0, batch=1)[0]
    query = packed.reshape(5, 2, 4)
    bounds = np.array([0, 2, 5], np.int32)
    layer = _attend(bench, query, query, query)
    layer.query_form = layer.key_value_form = trt.AttentionIOForm.PACKED_NHD
    layer.query_lengths, layer.key_value_lengths = bench.input(bounds), bench.input(bounds)
    parts = [query[a:b].transpose(0, 1) for a, b in ((0, 2), (2, 5))]
    want = torch.cat([F.scaled_dot_product_attention(p, p, p, scale=1.0).transpose(0, 1) for p in parts])
    torch.testing.assert_close(bench.value(layer), want)


def test_quantised_attention_weights(bench: Any) -> None:
    """Weights 0.5 and 0.5 at a scale of 0.4 become the code 1, 0.4 each."""
    q, k = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2, 2)
    v = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    layer = _attend(bench, q, k, v)
    layer.normalization_quantize_scale = bench.constant(0.4)
    layer.normalization_quantize_to_type = trt.int8
    torch.testing.assert_close(bench.value(layer), torch.tensor([[[[1.6, 2.4]]]]))


def _caches(*angles: float) -> tuple[Any, Any]:
    table = np.array(angles, np.float32)
    return np.cos(table), np.sin(table)


QUARTER = np.pi / 2


@pytest.mark.parametrize(
    ("interleaved", "size", "want"),
    [
        (False, 0, [-3, 2, 1, 4]),  # pairs (1, 3) turned by 90 degrees and (2, 4) by none
        (True, 0, [-2, 1, 3, 4]),  # pairs (1, 2) and (3, 4)
        (False, 2, [-2, 1, 3, 4]),
    ],
)
def test_rotary_embedding(bench: Any, interleaved: bool, size: int, want: list[float]) -> None:
    angles = [QUARTER, 0.0] if size == 0 else [QUARTER]
    cos, sin = (table.reshape(1, 1, -1) for table in _caches(*angles))
    x = bench.input(np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 1, 4))
    layer = bench.net.add_rotary_embedding(x, bench.input(cos), bench.input(sin), interleaved, size)
    torch.testing.assert_close(
        bench.value(layer).flatten(), torch.tensor(want, dtype=torch.float32), atol=1e-6, rtol=0
    )


def test_rotary_embedding_at_positions(bench: Any) -> None:
    cos, sin = (table.reshape(2, 1) for table in _caches(0.0, QUARTER))
    x = bench.input(np.array([[1, 2], [1, 2]], np.float32).reshape(1, 1, 2, 2))
    layer = bench.net.add_rotary_embedding(x, bench.input(cos), bench.input(sin), False, 0)
    layer.set_input(3, bench.input(np.array([[1, 0]], np.int64)))
    want = torch.tensor([[[[-2.0, 1.0], [1.0, 2.0]]]])
    torch.testing.assert_close(bench.value(layer), want, atol=1e-6, rtol=0)


def test_cache_update_ignores_what_lies_outside(bench: Any) -> None:
    cache = bench.input(np.zeros((2, 1, 3, 1), np.float32))
    update = bench.input(np.array([1, 2, 3, 4], np.float32).reshape(2, 1, 2, 1))
    starts = bench.input(np.array([0, 2], np.int32))
    layer = bench.net.add_kv_cache_update(cache, update, starts, trt.KVCacheMode.LINEAR)
    assert bench.value(layer)[:, 0, :, 0].tolist() == [[1, 2, 0], [0, 0, 3]]
