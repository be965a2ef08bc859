"""IBN-Net over torchvision's ResNet, with the keys of its authors: what ``ibnnet.trtnet`` is checked against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet


class IBN(nn.Module):
    """Instance norm for the first half of the channels, batch norm for the second."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.half = planes // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(planes - self.half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.IN(x[:, : self.half]), self.BN(x[:, self.half :])], 1)


class WithInstanceNorm(Bottleneck):
    """The last block of a stage of IBN-b: an instance norm of the sum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(self.IN(y + shortcut))


def resnet_ibn_a(layers: Sequence[int]) -> ResNet:
    """Images ``[N, 3, H, W]`` to logits; ``layers`` counts the blocks of the four stages."""
    model = ResNet(Bottleneck, list(layers))
    for stage in (model.layer1, model.layer2, model.layer3):
        for block in stage:
            block.bn1 = IBN(cast(Bottleneck, block).bn1.num_features)
    return model


def resnet_ibn_b(layers: Sequence[int]) -> ResNet:
    """Likewise, with instance norms in the stem and behind the first two stages."""
    model = ResNet(Bottleneck, list(layers))
    model.bn1 = nn.InstanceNorm2d(64, affine=True)
    for stage in (model.layer1, model.layer2):
        last = cast(Bottleneck, stage[-1])
        last.IN = nn.InstanceNorm2d(last.bn3.num_features, affine=True)
        last.__class__ = WithInstanceNorm
    return model
