"""DBNet with the keys of MhLiao's DB, without the threshold map that only training needs."""

from typing import Any

import torch
from torch import nn
from torchvision.models import resnet
from torchvision.ops import deform_conv2d


class DeformConv(nn.Conv2d):
    def forward(self, x: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        mask = offset[:, 18:].sigmoid()
        return deform_conv2d(x, offset[:, :18], self.weight, None, self.stride, self.padding, mask=mask)


class BasicBlock(resnet.BasicBlock):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        planes = self.conv2.out_channels
        self.conv2_offset = nn.Conv2d(planes, 27, 3, padding=1)
        self.conv2 = DeformConv(planes, planes, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y, self.conv2_offset(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(resnet.Bottleneck):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        planes, stride = self.conv2.out_channels, self.conv2.stride
        self.conv2_offset = nn.Conv2d(planes, 27, 3, stride, 1)
        self.conv2 = DeformConv(planes, planes, 3, stride, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y, self.conv2_offset(y))))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Backbone(resnet.ResNet):
    """A ResNet without its classifier, whose last three stages may be deformable."""

    def __init__(self, layers: list[int], bottleneck: bool, deformable: bool) -> None:
        super().__init__(resnet.Bottleneck if bottleneck else resnet.BasicBlock, layers)
        del self.fc
        if deformable:
            block = Bottleneck if bottleneck else BasicBlock
            self.inplanes = 64 * block.expansion
            for i in range(1, 4):
                setattr(self, f"layer{i + 1}", self._make_layer(block, 64 << i, layers[i], stride=2))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps: list[torch.Tensor] = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


class SegDetector(nn.Module):
    def __init__(self, channels: list[int], inner: int) -> None:
        super().__init__()
        self.in2, self.in3, self.in4, self.in5 = (nn.Conv2d(c, inner, 1, bias=False) for c in channels)
        quarter = inner // 4
        self.up = nn.Upsample(scale_factor=2)
        self.out5, self.out4, self.out3 = (
            nn.Sequential(
                nn.Conv2d(inner, quarter, 3, padding=1, bias=False), nn.Upsample(scale_factor=scale)
            )
            for scale in (8, 4, 2)
        )
        self.out2 = nn.Conv2d(inner, quarter, 3, padding=1, bias=False)
        self.binarize = nn.Sequential(
            nn.Conv2d(inner, quarter, 3, padding=1, bias=False),
            nn.BatchNorm2d(quarter),
            nn.ReLU(),
            nn.ConvTranspose2d(quarter, quarter, 2, 2),
            nn.BatchNorm2d(quarter),
            nn.ReLU(),
            nn.ConvTranspose2d(quarter, 1, 2, 2),
            nn.Sigmoid(),
        )

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        c2, c3, c4, c5 = maps
        p5 = self.in5(c5)
        p4 = self.up(p5) + self.in4(c4)
        p3 = self.up(p4) + self.in3(c3)
        p2 = self.up(p3) + self.in2(c2)
        parts = [self.out5(p5), self.out4(p4), self.out3(p3), self.out2(p2)]
        return self.binarize(torch.cat(parts, 1))


class DBNet(nn.Module):
    def __init__(
        self,
        layers: tuple[int, ...] = (2, 2, 2, 2),
        bottleneck: bool = False,
        deformable: bool = False,
        inner: int = 256,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(list(layers), bottleneck, deformable)
        self.decoder = SegDetector([c * (4 if bottleneck else 1) for c in (64, 128, 256, 512)], inner)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.backbone(image))
