"""YOLOv8 in PyTorch, its modules at the places where ultralytics' DetectionModel has them."""

from __future__ import annotations

import math

import torch
from torch import nn


class Conv(nn.Module):
    def __init__(self, ins: int, outs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ins, outs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outs, eps=1e-3, momentum=0.03)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, ins: int, outs: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(ins, outs, 3), Conv(outs, outs, 3)
        self.add = shortcut and ins == outs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C2f(nn.Module):
    def __init__(self, ins: int, outs: int, depth: int, shortcut: bool = False) -> None:
        super().__init__()
        half = outs // 2
        self.cv1, self.cv2 = Conv(ins, 2 * half), Conv((2 + depth) * half, outs)
        self.m = nn.ModuleList(Bottleneck(half, half, shortcut) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        for bottleneck in self.m:
            parts.append(bottleneck(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class SPPF(nn.Module):
    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(ins, ins // 2), Conv(ins // 2 * 4, outs)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.m(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class Concat(nn.Module):
    def forward(self, parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(parts, 1)


class DFL(nn.Module):
    def __init__(self, bins: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bins, 1, 1, bias=False)
        self.conv.weight.data[:] = torch.arange(bins, dtype=torch.float).view(1, bins, 1, 1)
        self.bins = bins

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, _, anchors = x.shape
        return self.conv(x.view(batch, 4, self.bins, anchors).transpose(2, 1).softmax(1)).view(
            batch, 4, anchors
        )


class Detect(nn.Module):
    stride = (8, 16, 32)

    def __init__(self, classes: int, levels: list[int], bins: int = 16) -> None:
        super().__init__()
        self.classes, self.bins = classes, bins
        boxes, scores = max(16, levels[0] // 4, bins * 4), max(levels[0], min(classes, 100))
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(x, boxes, 3), Conv(boxes, boxes, 3), nn.Conv2d(boxes, 4 * bins, 1))
            for x in levels
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(Conv(x, scores, 3), Conv(scores, scores, 3), nn.Conv2d(scores, classes, 1))
            for x in levels
        )
        self.dfl = DFL(bins)

    def forward(self, levels: list[torch.Tensor]) -> torch.Tensor:
        both = [torch.cat([self.cv2[i](x), self.cv3[i](x)], 1) for i, x in enumerate(levels)]
        points, strides = self.anchors(levels)
        joined = torch.cat([x.flatten(2) for x in both], 2)
        box, scores = joined.split((4 * self.bins, self.classes), 1)
        left_top, right_bottom = self.dfl(box).chunk(2, 1)
        first, last = points - left_top, points + right_bottom
        box = torch.cat([(first + last) / 2, last - first], 1) * strides
        return torch.cat([box, scores.sigmoid()], 1)

    def anchors(self, levels: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        points: list[torch.Tensor] = []
        strides: list[torch.Tensor] = []
        for x, stride in zip(levels, self.stride, strict=True):
            height, width = x.shape[2:]
            sy, sx = torch.meshgrid(
                torch.arange(height).to(x.dtype) + 0.5, torch.arange(width).to(x.dtype) + 0.5, indexing="ij"
            )
            points.append(torch.stack((sx, sy), -1).view(-1, 2))
            strides.append(torch.full((height * width, 1), float(stride), dtype=x.dtype))
        return torch.cat(points).T[None], torch.cat(strides).T


FROM = {11: (-1, 6), 14: (-1, 4), 17: (-1, 12), 20: (-1, 9), 22: (15, 18, 21)}
"""The layers that read others than the one before them."""


class DetectionModel(nn.Module):
    def __init__(self, depth: float, width: float, most: int = 1024, classes: int = 80) -> None:
        super().__init__()
        c = [math.ceil(min(each, most) * width / 8) * 8 for each in (64, 128, 256, 512, 1024)]
        n, deep = max(round(3 * depth), 1), max(round(6 * depth), 1)
        self.model = nn.Sequential(
            Conv(3, c[0], 3, 2),
            Conv(c[0], c[1], 3, 2),
            C2f(c[1], c[1], n, True),
            Conv(c[1], c[2], 3, 2),
            C2f(c[2], c[2], deep, True),
            Conv(c[2], c[3], 3, 2),
            C2f(c[3], c[3], deep, True),
            Conv(c[3], c[4], 3, 2),
            C2f(c[4], c[4], n, True),
            SPPF(c[4], c[4]),
            nn.Upsample(scale_factor=2.0, mode="nearest"),
            Concat(),
            C2f(c[4] + c[3], c[3], n),
            nn.Upsample(scale_factor=2.0, mode="nearest"),
            Concat(),
            C2f(c[3] + c[2], c[2], n),
            Conv(c[2], c[2], 3, 2),
            Concat(),
            C2f(c[2] + c[3], c[3], n),
            Conv(c[3], c[3], 3, 2),
            Concat(),
            C2f(c[3] + c[4], c[4], n),
            Detect(classes, c[2:]),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        results: list[torch.Tensor] = []
        for index, layer in enumerate(self.model):
            x = layer([results[i] for i in FROM[index]] if index in FROM else x)
            results.append(x)
        return x
