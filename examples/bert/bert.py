"""The originals of ``bert.trtnet``: transformers' encoders, by the words of their configurations."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)


def bert(**config: Any) -> nn.Module:
    return BertModel(BertConfig(**config))


def roberta(**config: Any) -> nn.Module:
    return RobertaModel(RobertaConfig(**config))


def distilbert(**config: Any) -> nn.Module:
    return DistilBertModel(DistilBertConfig(**config))


class SentenceBert(BertModel):
    """Means over the tokens, of length 1, as sentence transformers pools."""

    def __init__(self, **config: Any) -> None:
        super().__init__(BertConfig(**config), add_pooling_layer=False)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        states = super().forward(input_ids, attention_mask, token_type_ids).last_hidden_state
        kept = attention_mask[:, :, None].to(states.dtype)
        means = (kept * states).sum(1) / kept.sum(1).clamp(min=1)
        return states, nn.functional.normalize(means)
