"""transformers' ALBERT, called as albert.trtnet is."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AlbertConfig, AlbertModel


class Albert(AlbertModel):
    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        found = super().forward(input_ids, attention_mask, token_type_ids)
        return found.last_hidden_state, found.pooler_output


def albert(**config: Any) -> torch.nn.Module:
    return Albert(AlbertConfig(**config))
