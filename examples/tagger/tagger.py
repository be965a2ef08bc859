"""The module that tagger.trtnet is."""

from __future__ import annotations

import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(
        self, vocabulary: int = 20000, width: int = 100, hidden: int = 128, layers: int = 2, tags: int = 17
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(2 * hidden, tags)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Of words `[N, T]` the logits `[N, T, tags]`."""
        y, _ = self.lstm(self.embedding(words))
        return self.classifier(y)
