"""RefineDet over VGG16 with the keys of luuuyi's RefineDet.PyTorch, decoded to pixels."""

from __future__ import annotations

from itertools import product
from math import sqrt

import torch
from torch import nn

STEPS = (8, 16, 32, 64)


class L2Norm(nn.Module):
    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), gain))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10
        return self.weight[:, None, None] * (x / length)


def vgg(width: int) -> nn.ModuleList:
    layers: list[nn.Module] = []
    inputs = 3
    for times, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, times * width, 3, padding=1), nn.ReLU()]
            inputs = times * width
        layers.append(nn.MaxPool2d(2))
    wide = 16 * width
    layers += [nn.Conv2d(inputs, wide, 3, padding=3, dilation=3), nn.ReLU()]
    layers += [nn.Conv2d(wide, wide, 1), nn.ReLU()]
    return nn.ModuleList(layers)


def heads(channels: list[int], columns: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv2d(each, 3 * columns, 3, padding=1) for each in channels)


def rows(layers: nn.ModuleList, maps: list[torch.Tensor], columns: int) -> torch.Tensor:
    found = [layer(x).permute(0, 2, 3, 1).flatten(1) for layer, x in zip(layers, maps, strict=True)]
    return torch.cat(found, 1).unflatten(1, (-1, columns))


class RefineDet(nn.Module):
    def __init__(self, size: int = 320, classes: int = 21, width: int = 64) -> None:
        super().__init__()
        self.size, self.classes = size, classes
        self.vgg = vgg(width)
        self.conv4_3_L2Norm, self.conv5_3_L2Norm = L2Norm(8 * width, 10.0), L2Norm(8 * width, 8.0)
        self.extras = nn.ModuleList(
            [nn.Conv2d(16 * width, 4 * width, 1), nn.Conv2d(4 * width, 8 * width, 3, 2, 1)]
        )
        channels, inner = [8 * width, 8 * width, 16 * width, 8 * width], 4 * width
        self.arm_loc, self.arm_conf = heads(channels, 4), heads(channels, 2)
        self.odm_loc, self.odm_conf = heads([inner] * 4, 4), heads([inner] * 4, classes)
        self.tcb0, self.tcb1, self.tcb2 = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for each in channels:
            self.tcb0.extend([nn.Conv2d(each, inner, 3, 1, 1), nn.ReLU(), nn.Conv2d(inner, inner, 3, 1, 1)])
            self.tcb2.extend([nn.ReLU(), nn.Conv2d(inner, inner, 3, 1, 1), nn.ReLU()])
        self.tcb1.extend([nn.ConvTranspose2d(inner, inner, 2, 2) for _ in range(3)])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.features(image)
        pyramid = self.connected(maps)
        prior = priors(self.size).to(image)
        anchors = centred(decoded(rows(self.arm_loc, maps, 4), prior))
        boxes = decoded(rows(self.odm_loc, pyramid, 4), anchors)
        objects = rows(self.arm_conf, maps, 2).softmax(-1)[..., 1:]
        scores = rows(self.odm_conf, pyramid, self.classes).softmax(-1)
        return boxes * self.size, scores.masked_fill(objects <= 0.01, 0)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = []
        for i, layer in enumerate(self.vgg):
            x = layer(x)
            if i == 22:
                maps.append(self.conv4_3_L2Norm(x))
            elif i == 29:
                maps.append(self.conv5_3_L2Norm(x))
        return [*maps, x, self.extras[1](self.extras[0](x).relu()).relu()]

    def connected(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        for i, x in reversed([*enumerate(maps)]):
            for layer in self.tcb0[3 * i : 3 * i + 3]:
                x = layer(x)
            if found:
                x = x + self.tcb1[i](found[0])
            for layer in self.tcb2[3 * i : 3 * i + 3]:
                x = layer(x)
            found.insert(0, x)
        return found


def priors(size: int) -> torch.Tensor:
    """Centre and size of each anchor, as parts of the image's size."""
    found: list[list[float]] = []
    for step in STEPS:
        side = 4 * step / size
        long, short = side * sqrt(2), side / sqrt(2)
        for y, x in product(range(size // step), repeat=2):
            centre = [(x + 0.5) * step / size, (y + 0.5) * step / size]
            found += [[*centre, *shape] for shape in ((side, side), (long, short), (short, long))]
    return torch.tensor(found, dtype=torch.float64).clamp(0, 1)


def decoded(codes: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The corners of boxes by how they differ from reference boxes, given by centre and size."""
    centre = reference[..., :2] + codes[..., :2] * 0.1 * reference[..., 2:]
    size = reference[..., 2:] * (codes[..., 2:] * 0.2).exp()
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def centred(boxes: torch.Tensor) -> torch.Tensor:
    low, high = boxes.chunk(2, -1)
    return torch.cat([(low + high) / 2, high - low], -1)
