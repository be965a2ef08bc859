"""transformers' T5, called as the models of t5.trtnet are."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache, T5Config, T5ForConditionalGeneration

Outputs = tuple[torch.Tensor, torch.Tensor]


def filled(caches: torch.Tensor) -> DynamicCache:
    """A cache that holds keys and values, `[depth, 2, N, heads, length, E]`."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(caches):
        cache.update(keys, values, layer)
    return cache


class Encoder(T5ForConditionalGeneration):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Outputs:
        states = self.encoder(input_ids, attention_mask).last_hidden_state
        made = [block.layer[1].EncDecAttention for block in self.decoder.block]
        memory = [torch.stack([self._heads(each.k(states)), self._heads(each.v(states))]) for each in made]
        return states, torch.stack(memory)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)


class Decoder(T5ForConditionalGeneration):
    def forward(
        self, tokens: torch.Tensor, past: torch.Tensor, memory: torch.Tensor, attention_mask: torch.Tensor
    ) -> Outputs:
        cache = EncoderDecoderCache(filled(past), filled(memory))
        cache.is_updated = dict.fromkeys(range(len(memory)), True)
        # The states themselves are not looked at where the cache has keys and values of them.
        states = memory.new_zeros(*attention_mask.shape, self.config.d_model)
        found: Any = self.decoder(tokens, None, states, attention_mask, None, cache)
        x = found.last_hidden_state[:, -1]
        if self.config.scale_decoder_outputs:
            x = x * self.model_dim**-0.5
        layers = cache.self_attention_cache.layers
        return self.lm_head(x), torch.stack([torch.stack([each.keys, each.values]) for each in layers])


def encoder(**config: Any) -> torch.nn.Module:
    return Encoder(T5Config(**config))


def decoder(**config: Any) -> torch.nn.Module:
    return Decoder(T5Config(**config))
