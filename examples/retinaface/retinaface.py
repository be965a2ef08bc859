"""RetinaFace over MobileNet 0.25 with the keys of biubug6's Pytorch_Retinaface, decoded to pixels."""

from itertools import product
from math import ceil

import torch
from torch import nn
from torch.nn.functional import interpolate

SLOPE = 0.1


def unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, active: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.LeakyReLU(SLOPE)] if active else []))


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs)),
        nn.LeakyReLU(SLOPE),
        *(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)),
    )


class Body(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        one, two, four, eight, sixteen = (width << i for i in range(1, 6))
        self.stage1 = nn.Sequential(
            unit(3, width, stride=2),
            *(separable(width, one, 1), separable(one, two, 2), separable(two, two, 1)),
            *(separable(two, four, 2), separable(four, four, 1)),
        )
        rest = [separable(eight, eight, 1) for _ in range(5)]
        self.stage2 = nn.Sequential(separable(four, eight, 2), *rest)
        self.stage3 = nn.Sequential(separable(eight, sixteen, 2), separable(sixteen, sixteen, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.stage1(x)
        y = self.stage2(x)
        return x, y, self.stage3(y)


class FPN(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (unit(width << i, inner, 1) for i in (3, 4, 5))
        self.merge1, self.merge2 = unit(inner, inner), unit(inner, inner)

    def forward(self, *maps: torch.Tensor) -> list[torch.Tensor]:
        x, y, z = self.output1(maps[0]), self.output2(maps[1]), self.output3(maps[2])
        y = self.merge2(y + interpolate(z, size=y.shape[2:]))
        return [self.merge1(x + interpolate(y, size=x.shape[2:])), y, z]


class SSH(nn.Module):
    def __init__(self, inner: int) -> None:
        super().__init__()
        quarter = inner // 4
        self.conv3X3 = unit(inner, inner // 2, active=False)
        self.conv5X5_1, self.conv5X5_2 = unit(inner, quarter), unit(quarter, quarter, active=False)
        self.conv7X7_2, self.conv7x7_3 = unit(quarter, quarter), unit(quarter, quarter, active=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        five = self.conv5X5_1(x)
        parts = [self.conv3X3(x), self.conv5X5_2(five), self.conv7x7_3(self.conv7X7_2(five))]
        return torch.cat(parts, 1).relu()


class Head(nn.Module):
    def __init__(self, inner: int, each: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(inner, 2 * each, 1)
        self.each = each

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.each)


class RetinaFace(nn.Module):
    def __init__(self, width: int = 8, inner: int = 64) -> None:
        super().__init__()
        self.body, self.fpn = Body(width), FPN(width, inner)
        self.ssh1, self.ssh2, self.ssh3 = (SSH(inner) for _ in range(3))
        self.ClassHead, self.BboxHead, self.LandmarkHead = (
            nn.ModuleList([Head(inner, each) for _ in range(3)]) for each in (2, 4, 10)
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        maps = self.fpn(*self.body(image))
        maps = [ssh(x) for ssh, x in zip((self.ssh1, self.ssh2, self.ssh3), maps, strict=True)]
        moved, scores, points = (
            torch.cat([head(x) for head, x in zip(heads, maps, strict=True)], 1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        prior = anchors(*image.shape[2:]).to(image.dtype)
        centre, size = prior[:, :2], prior[:, 2:]
        middle, half = centre + moved[..., :2] * 0.1 * size, size * (moved[..., 2:] * 0.2).exp() / 2
        boxes = torch.cat([middle - half, middle + half], -1)
        points = centre[:, None] + points.unflatten(-1, (5, 2)) * 0.1 * size[:, None]
        return boxes, scores.softmax(-1), points


def anchors(height: int, width: int) -> torch.Tensor:
    """Centre and size, in pixels, of each."""
    found: list[list[float]] = []
    for step, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for y, x in product(range(ceil(height / step)), range(ceil(width / step))):
            found += [[(x + 0.5) * step, (y + 0.5) * step, size] for size in sizes]
    return torch.tensor(found)
