"""LeNet-5 in PyTorch: what ``lenet.trtnet`` is checked against."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, relu, softmax


class LeNet(nn.Module):
    """Digits ``[N, 1, 32, 32]`` to class probabilities ``[N, classes]``."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, digit: torch.Tensor) -> torch.Tensor:
        x = avg_pool2d(relu(self.conv1(digit)), 2)
        x = avg_pool2d(relu(self.conv2(x)), 2).flatten(1)
        return softmax(self.fc3(relu(self.fc2(relu(self.fc1(x))))), dim=1)
