"""IBN-Net over torchvision's ResNet, with its authors' keys: what ``ibnnet.trtnet`` is checked against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet


class IBN(nn.Module):
    """Instance norm for the first half of the channels, batch norm for the second."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.first = planes // 2
        self.IN = nn.InstanceNorm2d(self.first, affine=True)
        self.BN = nn.BatchNorm2d(planes - self.first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.IN(x[:, : self.first]), self.BN(x[:, self.first :])], 1)


class WithInstanceNorm(Bottleneck):
    """The last block of a stage of IBN-b: an instance norm of the sum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(self.get_submodule("IN")(y + shortcut))


def resnet_ibn_a(layers: Sequence[int]) -> ResNet:
    """Images ``[N, 3, H, W]`` to logits; ``layers`` counts the blocks of the four stages."""
    model = ResNet(Bottleneck, list(layers))
    for stage in (model.layer1, model.layer2, model.layer3):
        for block in _blocks(stage):
            block.add_module("bn1", IBN(block.conv1.out_channels))
    return model


def resnet_ibn_b(layers: Sequence[int]) -> ResNet:
    """Likewise, with instance norms in the stem and behind the first two stages."""
    model = ResNet(Bottleneck, list(layers))
    model.add_module("bn1", nn.InstanceNorm2d(64, affine=True))
    for stage in (model.layer1, model.layer2):
        *_, last = _blocks(stage)
        last.add_module("IN", nn.InstanceNorm2d(last.conv3.out_channels, affine=True))
        last.__class__ = WithInstanceNorm
    return model


def _blocks(stage: nn.Module) -> Iterator[Bottleneck]:
    return (block for block in stage.children() if isinstance(block, Bottleneck))
