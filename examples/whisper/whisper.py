"""transformers' Whisper, called as the models of whisper.trtnet are."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache, WhisperConfig, WhisperForConditionalGeneration


def filled(caches: torch.Tensor) -> DynamicCache:
    """A cache that holds keys and values, `[depth, 2, N, heads, length, E]`."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(caches):
        cache.update(keys, values, layer)
    return cache


def stacked(cache: Any) -> torch.Tensor:
    """What a cache holds."""
    return torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])


class Encoder(WhisperForConditionalGeneration):
    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        states = self.model.encoder(input_features).last_hidden_state
        made = [layer.encoder_attn for layer in self.model.decoder.layers]
        memory = [torch.stack([heads_of(x.k_proj(states), x), heads_of(x.v_proj(states), x)]) for x in made]
        return torch.stack(memory)


def heads_of(x: torch.Tensor, attention: Any) -> torch.Tensor:
    """[N, S, heads * E] as [N, heads, S, E]."""
    return x.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)


class Decoder(WhisperForConditionalGeneration):
    def forward(
        self, tokens: torch.Tensor, past: torch.Tensor, memory: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        cache = EncoderDecoderCache(filled(past), filled(memory))
        cache.is_updated = dict.fromkeys(range(len(memory)), True)
        # The states themselves are not looked at where the cache has keys and values of them.
        states = memory.new_zeros(len(tokens), memory.shape[-2], self.config.d_model)
        found: Any = self.model.decoder(tokens, None, states, cache)
        logits = self.proj_out(found.last_hidden_state[:, -1])
        return logits, stacked(cache.self_attention_cache)


def encoder(**config: Any) -> torch.nn.Module:
    return Encoder(WhisperConfig(**config))


def decoder(**config: Any) -> torch.nn.Module:
    return Decoder(WhisperConfig(**config))
