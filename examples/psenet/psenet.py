"""PSENet with the keys of whai362's PSENet, as far as its kernels' probabilities."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import resnet


class Backbone(resnet.ResNet):
    """A ResNet without its classifier that begins with three small convolutions."""

    def __init__(self, layers: list[int]) -> None:
        super().__init__(resnet.Bottleneck, layers)
        del self.fc
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        self.conv3, self.bn3 = nn.Conv2d(64, 128, 3, 1, 1, bias=False), nn.BatchNorm2d(128)
        self.inplanes = 128
        self.layer1 = self._make_layer(resnet.Bottleneck, 64, layers[0])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.maxpool(self.bn3(self.conv3(x)).relu())
        maps: list[torch.Tensor] = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


class Unit(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x)).relu()


def enlarged(x: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    return interpolate(x, size=to.shape[2:], mode="bilinear")


class FPN(nn.Module):
    def __init__(self, inner: int) -> None:
        super().__init__()
        self.toplayer_ = Unit(2048, inner, 1)
        self.latlayer1_, self.latlayer2_, self.latlayer3_ = (Unit(c, inner, 1) for c in (1024, 512, 256))
        self.smooth1_, self.smooth2_, self.smooth3_ = (Unit(inner, inner, 3) for _ in range(3))

    def forward(self, c2: torch.Tensor, c3: torch.Tensor, c4: torch.Tensor, c5: torch.Tensor) -> torch.Tensor:
        p5 = self.toplayer_(c5)
        p4 = self.latlayer1_(c4)
        p4 = self.smooth1_(enlarged(p5, p4) + p4)
        p3 = self.latlayer2_(c3)
        p3 = self.smooth2_(enlarged(p4, p3) + p3)
        p2 = self.latlayer3_(c2)
        p2 = self.smooth3_(enlarged(p3, p2) + p2)
        return torch.cat([p2, *(enlarged(x, p2) for x in (p3, p4, p5))], 1)


class Head(nn.Module):
    def __init__(self, inner: int, kernels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4 * inner, inner, 3, padding=1), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, kernels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.bn1(self.conv1(x)).relu())


class PSENet(nn.Module):
    def __init__(self, layers: tuple[int, ...] = (3, 4, 6, 3), inner: int = 256, kernels: int = 7) -> None:
        super().__init__()
        self.backbone, self.fpn, self.det_head = Backbone([*layers]), FPN(inner), Head(inner, kernels)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.det_head(self.fpn(*self.backbone(image)))
        return enlarged(logits, image).sigmoid()
