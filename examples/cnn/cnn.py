"""The network of ``cnn.trtnet`` in PyTorch: what is trained, and what the ``.trtnet`` is checked against."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class CNN(nn.Module):
    """Images ``[N, 3, 32, 32]`` to logits ``[N, classes]``."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 16 * 16, 128)
        self.fc2 = nn.Linear(128, classes)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(data)), 2).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))
