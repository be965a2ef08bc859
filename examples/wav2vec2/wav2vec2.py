"""transformers' wav2vec 2.0, called as wav2vec2.trtnet is."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC


class Letters(Wav2Vec2ForCTC):
    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        return super().forward(input_values).logits


def wav2vec2(**config: Any) -> torch.nn.Module:
    return Letters(Wav2Vec2Config(**config))
