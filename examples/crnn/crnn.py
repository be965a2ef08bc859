"""CRNN as in the paper, with the keys of meijieru's crnn.pytorch, as most others have them."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

PLANES = [64, 128, 256, 256, 512, 512, 512]


class BidirectionalLSTM(nn.Module):
    def __init__(self, features: int, hidden: int, planes: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(features, hidden, bidirectional=True)
        self.embedding = nn.Linear(2 * hidden, planes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(x)
        return self.embedding(y)


class CRNN(nn.Module):
    def __init__(self, classes: int = 37, hidden: int = 256) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = 1
        for i, planes in enumerate(PLANES):
            last = i == len(PLANES) - 1
            layers[f"conv{i}"] = nn.Conv2d(before, planes, 2 if last else 3, padding=0 if last else 1)
            if i in (2, 4, 6):
                layers[f"batchnorm{i}"] = nn.BatchNorm2d(planes)
            layers[f"relu{i}"] = nn.ReLU()
            if i in (0, 1):
                layers[f"pooling{i}"] = nn.MaxPool2d(2, 2)
            elif i in (3, 5):
                layers[f"pooling{i}"] = nn.MaxPool2d((2, 2), (2, 1), (0, 1))
            before = planes
        self.cnn = nn.Sequential(layers)
        self.rnn = nn.Sequential(
            BidirectionalLSTM(512, hidden, hidden), BidirectionalLSTM(hidden, hidden, classes)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Of grey lines `[N, 1, 32, W]` the logits `[columns, N, classes]`."""
        return self.rnn(self.cnn(image).squeeze(2).permute(2, 0, 1))
