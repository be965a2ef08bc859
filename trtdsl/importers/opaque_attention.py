"""Attention of torch.nn kept whole while ``torch.export`` runs a module.

In: a module being exported.  Out: the same, in which each call of a ``MultiheadAttention`` is one
operation, ``trtdsl_import::multihead_attention``, with the masks as they were given: PyTorch makes some
thirty operations of it. ``TransformerEncoder`` and ``TransformerDecoder`` take a mask for a causal one only
where they are told so, since only the running network has its values.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from trtdsl.importers.schemas import NAMESPACE

_NAME = "multihead_attention"
_WEIGHTS = (
    "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k", "bias_v",
    "out_proj_weight", "out_proj_bias",
)  # fmt: skip
_SCHEMA = (
    f"{_NAME}(Tensor query, Tensor key, Tensor value, *, Tensor? key_padding_mask, Tensor? attn_mask, "
    + ", ".join(f"Tensor? {each}" for each in _WEIGHTS)
    + ", int num_heads, bool add_zero_attn, bool batch_first, bool need_weights, bool average_attn_weights,"
    " bool is_causal) -> Tensor[]"
)


@contextmanager
def attention_kept() -> Generator[None]:
    """In the meantime a ``MultiheadAttention`` runs as one operation, where the language has its like."""
    from torch import nn
    from torch.nn.modules import transformer

    attention: Any = nn.MultiheadAttention
    encoders: Any = transformer
    forward, detect = attention.forward, encoders._detect_is_causal_mask
    attention.forward = _whole(forward)
    encoders._detect_is_causal_mask = lambda mask, is_causal=None, size=None: is_causal is True
    try:
        yield
    finally:
        attention.forward, encoders._detect_is_causal_mask = forward, detect


def define_attention(library: Any) -> None:
    """Define the operation in a library of PyTorch."""
    library.define(_SCHEMA)
    for key in ("CPU", "Meta"):
        # Its shapes are found as its values are, and what PyTorch asks of the sizes is asked.
        library.impl(_NAME, _computed, key)


def _whole(forward: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    def whole(
        self: Any,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Any:
        masks = {"key_padding_mask": key_padding_mask, "attn_mask": attn_mask}
        weights = _weights_of(self)
        options = {
            "need_weights": bool(need_weights),
            "average_attn_weights": bool(average_attn_weights),
            "is_causal": bool(is_causal),
        }
        if not _is_plain(self, query, [key, value, *weights.values()], masks):
            return forward(self, query, key, value, **masks, **options)
        operation = getattr(getattr(torch.ops, NAMESPACE), _NAME)
        own = {name: getattr(self, name) for name in ("num_heads", "add_zero_attn", "batch_first")}
        found = operation(query, key, value, **masks, **weights, **own, **options)
        return (found[0], found[1] if need_weights else None)

    return whole


def _weights_of(module: Any) -> dict[str, Any]:
    found = {name: getattr(module, name, None) for name in _WEIGHTS}
    return {**found, "out_proj_weight": module.out_proj.weight, "out_proj_bias": module.out_proj.bias}


def _is_plain(module: Any, query: Any, others: list[Any], masks: Mapping[str, Any]) -> bool:
    """Whether it computes in one dtype throughout, and drops nothing."""
    import torch

    if module.training or torch.is_autocast_enabled("cpu"):
        return False
    is_one = all(each is None or each.dtype == query.dtype for each in others)
    return is_one and all(each is None or each.dtype in (torch.bool, query.dtype) for each in masks.values())


def _computed(
    query: Any,
    key: Any,
    value: Any,
    *,
    num_heads: int,
    add_zero_attn: bool,
    batch_first: bool,
    need_weights: bool,
    **given: Any,
) -> list[Any]:
    """What PyTorch computes."""
    from torch import nn

    functional: Any = nn.functional
    turned = batch_first and query.dim() == 3
    operands = [each.transpose(0, 1) if turned else each for each in (query, key, value)]
    y, weights = functional.multi_head_attention_forward(
        *operands,
        query.shape[-1],
        num_heads,
        add_zero_attn=add_zero_attn,
        dropout_p=0.0,
        training=False,
        need_weights=need_weights,
        use_separate_proj_weight=given["in_proj_weight"] is None,
        **given,
    )
    # What an operation gives shares no memory with what it is given.
    y = (y.transpose(0, 1) if turned else y).clone()
    return [y, weights.clone()] if need_weights else [y]
