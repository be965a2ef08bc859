"""transformers' Llama, Mistral, Qwen and Gemma, called as llama.trtnet, qwen3.trtnet and gemma.trtnet are."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    DynamicCache,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

Outputs = tuple[torch.Tensor, torch.Tensor]


class Step(torch.nn.Module):
    """Before a model: from tokens, their positions, the cache and a mask to logits and the cache grown."""

    def forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, past: torch.Tensor, mask: torch.Tensor
    ) -> Outputs:
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(past):
            cache.update(keys, values, layer)
        lowest = torch.finfo(past.dtype).min
        added = torch.zeros(mask.shape, dtype=past.dtype).masked_fill(~mask, lowest)
        found: Any = super().forward(tokens, added, positions, cache, logits_to_keep=1)
        grown = [torch.stack([layer.keys, layer.values]) for layer in cache.layers]
        return found.logits[:, -1], torch.stack(grown)


class Llama(Step, LlamaForCausalLM): ...


class Mistral(Step, MistralForCausalLM): ...


class Qwen2(Step, Qwen2ForCausalLM): ...


class Qwen3(Step, Qwen3ForCausalLM): ...


class Gemma(Step, GemmaForCausalLM): ...


def llama(**config: Any) -> torch.nn.Module:
    return Llama(LlamaConfig(**config))


def mistral(**config: Any) -> torch.nn.Module:
    return Mistral(MistralConfig(**config))


def qwen2(**config: Any) -> torch.nn.Module:
    return Qwen2(Qwen2Config(**config))


def qwen3(**config: Any) -> torch.nn.Module:
    return Qwen3(Qwen3Config(**config))


def gemma(**config: Any) -> torch.nn.Module:
    return Gemma(GemmaConfig(**config))
