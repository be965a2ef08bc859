"""The original of ``gpt2.trtnet``: transformers' model, its head tied, with a cache that the caller keeps."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, GPT2Config, GPT2Model


class GPT2(GPT2Model):
    """Tokens ``[N, S]`` and keys and values ``[layers, 2, N, heads, P, E]`` to logits of the last token and
    the keys and values of all."""

    def __init__(self, **config: Any) -> None:
        super().__init__(GPT2Config(**config))

    def forward(self, tokens: torch.Tensor, past: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cache = DynamicCache()
        for layer, (key, value) in enumerate(past):
            cache.update(key, value, layer)
        x = super().forward(tokens, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
        return x @ self.wte.weight.T, torch.stack([torch.stack([y.keys, y.values]) for y in cache.layers])
