"""The networks of ``lstm.trtnet`` in PyTorch."""

from __future__ import annotations

import torch
from torch import nn


class LanguageModel(nn.Module):
    """Tokens ``[T, N]`` and states ``[layers, N, hidden]`` to logits ``[T, N, vocabulary]`` and states."""

    def __init__(self, vocabulary: int = 10000, hidden: int = 512, layers: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Embedding(vocabulary, hidden)
        self.rnn = nn.LSTM(hidden, hidden, layers)
        self.decoder = nn.Linear(hidden, vocabulary)

    def forward(
        self, tokens: torch.Tensor, h0: torch.Tensor, c0: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        y, (h, c) = self.rnn(self.encoder(tokens), (h0, c0))
        return self.decoder(y), h, c


class Cell(nn.Module):
    """One step of an LSTM."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.ih = nn.Linear(hidden, 4 * hidden)
        self.hh = nn.Linear(hidden, 4 * hidden)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        i, f, g, o = (self.ih(x) + self.hh(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Recurrence(nn.Module):
    """The same of one layer, in one direction or both, step by step; states are ``[N, hidden]``."""

    def __init__(self, vocabulary: int = 10000, hidden: int = 512, bidirectional: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Embedding(vocabulary, hidden)
        self.rnn = nn.ModuleDict({"cell": Cell(hidden)})
        if bidirectional:
            self.rnn["reverse"] = Cell(hidden)
        self.decoder = nn.Linear(hidden * len(self.rnn), vocabulary)

    def forward(
        self, tokens: torch.Tensor, h0: torch.Tensor, c0: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.encoder(tokens)
        y, h, c = _run(self.rnn["cell"], x, h0, c0)
        if "reverse" in self.rnn:
            yb, _, _ = _run(self.rnn["reverse"], x.flip(0), h0, c0)
            y = torch.cat([y, yb.flip(0)], -1)
        return self.decoder(y), h, c


def _run(
    cell: nn.Module, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows: list[torch.Tensor] = []
    for xt in x:
        h, c = cell(xt, h, c)
        rows.append(h)
    return torch.stack(rows), h, c
