"""TSM over torchvision's ResNet-50, with the keys of its authors: what ``tsm.trtnet`` is checked against."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, resnet50


class TemporalShift(nn.Module):
    """An eighth of the channels from the frame after, an eighth from the one before, then the convolution."""

    def __init__(self, net: nn.Module, frames: int) -> None:
        super().__init__()
        self.net, self.frames = net, frames

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        clip = x.unflatten(0, (-1, self.frames))
        shifted, fold = clip.clone(), x.shape[1] // 8
        shifted[:, :, : 2 * fold] = 0
        shifted[:, :-1, :fold] = clip[:, 1:, :fold]
        shifted[:, 1:, fold : 2 * fold] = clip[:, :-1, fold : 2 * fold]
        return self.net(shifted.flatten(0, 1))


class TSM(nn.Module):
    """Clips ``[N, frames, 3, H, W]`` to logits ``[N, classes]``, the mean of those of the frames."""

    def __init__(self, classes: int = 400, frames: int = 8) -> None:
        super().__init__()
        self.base_model = resnet50()
        self.base_model.add_module("fc", nn.Identity())
        for block in self.base_model.modules():
            if isinstance(block, Bottleneck):
                block.add_module("conv1", TemporalShift(block.conv1, frames))
        self.new_fc = nn.Linear(2048, classes)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        scores = self.new_fc(self.base_model(clip.flatten(0, 1)))
        return scores.unflatten(0, clip.shape[:2]).mean(1)
