"""PointPillars with the keys of OpenPCDet and its decoding, for one frame."""

import math

import torch
from torch import nn

ANCHORS = ((3.9, 1.6, 1.56, -1.78), (0.8, 0.6, 1.73, -0.6), (1.76, 0.6, 1.73, -0.6))
"""Length, width, height, and the height of the lower side."""


class PFNLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(x).transpose(1, 2)).relu().amax(2)


class PillarVFE(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.pfn_layers = nn.ModuleList([PFNLayer(10, outputs)])

    def forward(self, points: torch.Tensor, counts: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
        xyz = points[..., :3]
        mean = xyz.sum(1, keepdim=True) / counts.reshape(-1, 1, 1)
        x = torch.cat([points, xyz - mean, xyz - middle[:, None]], -1)
        x = x * (torch.arange(points.shape[1]) < counts[:, None])[..., None]
        return self.pfn_layers[0](x)


class BaseBEVBackbone(nn.Module):
    def __init__(self, depths: list[int], widths: list[int], planes: int) -> None:
        super().__init__()
        self.blocks, self.deblocks = nn.ModuleList(), nn.ModuleList()
        inputs = widths[0]
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            layers: list[nn.Module] = [nn.ZeroPad2d(1), nn.Conv2d(inputs, width, 3, 2, bias=False)]
            for _ in range(depth):
                layers += [nn.BatchNorm2d(width, eps=1e-3), nn.ReLU()]
                layers.append(nn.Conv2d(width, width, 3, padding=1, bias=False))
            self.blocks.append(nn.Sequential(*layers, nn.BatchNorm2d(width, eps=1e-3), nn.ReLU()))
            up = nn.ConvTranspose2d(width, planes, 1 << i, 1 << i, bias=False)
            self.deblocks.append(nn.Sequential(up, nn.BatchNorm2d(planes, eps=1e-3), nn.ReLU()))
            inputs = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts: list[torch.Tensor] = []
        for block, deblock in zip(self.blocks, self.deblocks, strict=True):
            x = block(x)
            parts.append(deblock(x))
        return torch.cat(parts, 1)


class AnchorHead(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        classes = len(ANCHORS)
        self.conv_cls = nn.Conv2d(inputs, 2 * classes * classes, 1)
        self.conv_box = nn.Conv2d(inputs, 2 * classes * 7, 1)
        self.conv_dir_cls = nn.Conv2d(inputs, 2 * classes * 2, 1)

    def forward(self, x: torch.Tensor, anchor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, moved, facing = (
            layer(x).permute(0, 2, 3, 1).reshape(len(anchor), -1)
            for layer in (self.conv_cls, self.conv_box, self.conv_dir_cls)
        )
        place, size, turn = anchor.split([3, 3, 1], 1)
        diagonal = size[:, :2].norm(dim=1, keepdim=True)
        place = place + moved[:, :3] * torch.cat([diagonal, diagonal, size[:, 2:]], 1)
        turn = turn + moved[:, 6:] - 0.78539
        turn = turn - (turn / math.pi).floor() * math.pi + 0.78539 + math.pi * facing.argmax(1, keepdim=True)
        return torch.cat([place, size * moved[:, 3:6].exp(), turn], 1), scores.sigmoid()


class PointPillars(nn.Module):
    def __init__(
        self,
        xs: tuple[float, float] = (0.0, 69.12),
        ys: tuple[float, float] = (-39.68, 39.68),
        zs: tuple[float, float] = (-3.0, 1.0),
        cell: float = 0.16,
        depths: tuple[int, ...] = (3, 5, 5),
        widths: tuple[int, ...] = (64, 128, 256),
        planes: int = 128,
    ) -> None:
        super().__init__()
        self.xs, self.ys, self.zs, self.cell = xs, ys, zs, cell
        self.columns, self.rows = round((xs[1] - xs[0]) / cell), round((ys[1] - ys[0]) / cell)
        self.vfe = PillarVFE(widths[0])
        self.backbone_2d = BaseBEVBackbone(list(depths), list(widths), planes)
        self.dense_head = AnchorHead(planes * len(widths))

    def forward(
        self, points: torch.Tensor, counts: torch.Tensor, cells: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        y, x = cells.to(points.dtype).unbind(1)
        z = torch.full_like(x, sum(self.zs) / 2)
        middle = torch.stack([(x + 0.5) * self.cell + self.xs[0], (y + 0.5) * self.cell + self.ys[0], z], 1)
        pillars = self.vfe(points, counts, middle)
        canvas = pillars.new_zeros(pillars.shape[1], self.rows, self.columns)
        row, column = cells.long().unbind(1)
        canvas[:, row, column] = pillars.T
        return self.dense_head(self.backbone_2d(canvas[None]), self.anchors().to(points.dtype))

    def anchors(self) -> torch.Tensor:
        """Middle, size and direction of each: by rows, columns, classes and directions."""
        ys = torch.linspace(*self.ys, self.rows // 2)
        xs = torch.linspace(*self.xs, self.columns // 2)
        each = torch.tensor([[low + size[2] / 2, *size, t] for *size, low in ANCHORS for t in (0.0, 1.57)])
        shape = (len(ys), len(xs), len(each))
        y, x = ys[:, None, None].expand(shape), xs[:, None].expand(shape)
        return torch.cat([x[..., None], y[..., None], each.expand(*shape, -1)], -1).flatten(0, 2)
