"""transformers' CLIP, called as the models of clip.trtnet are."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPModel


class Clip(CLIPModel):
    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return super().forward(tokens, pixels).logits_per_image


class Images(CLIPModel):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return normalize(self.get_image_features(pixels).pooler_output)


class Texts(CLIPModel):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return normalize(self.get_text_features(tokens).pooler_output)


def configured(kind: type[CLIPModel], **config: Any) -> torch.nn.Module:
    """With OpenAI's end of a text, which is its largest token."""
    config["text_config"] = {"eos_token_id": 2, **config.get("text_config", {})}
    return kind(CLIPConfig(**config))


def clip(**config: Any) -> torch.nn.Module:
    return configured(Clip, **config)


def images(**config: Any) -> torch.nn.Module:
    return configured(Images, **config)


def texts(**config: Any) -> torch.nn.Module:
    return configured(Texts, **config)
