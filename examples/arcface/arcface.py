"""IResNet in PyTorch, with the keys of insightface's: what ``arcface.trtnet`` is checked against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class IBasicBlock(nn.Module):
    """Norm, convolution, norm, PReLU, convolution, norm, and a shortcut that nothing rectifies."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.prelu = nn.PReLU(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.downsample = nn.Sequential()
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + self.downsample(x)


class IResNet(nn.Module):
    """Faces ``[N, 3, 112, 112]`` to embeddings ``[N, 512]``; ``layers`` counts the four stages' blocks."""

    def __init__(self, layers: Sequence[int], features: int = 512) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1, self.prelu = nn.BatchNorm2d(64), nn.PReLU(64)
        inputs = 64
        for i, (planes, count) in enumerate(zip((64, 128, 256, 512), layers, strict=True), 1):
            blocks = [IBasicBlock(inputs if j == 0 else planes, planes, 1 + (j == 0)) for j in range(count)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            inputs = planes
        self.bn2 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs * 7 * 7, features)
        self.features = nn.BatchNorm1d(features)

    def forward(self, face: torch.Tensor) -> torch.Tensor:
        x = self.prelu(self.bn1(self.conv1(face)))
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))
