"""CenterNet over timm's DLA-34 with the authors' keys and decoding."""

from typing import Any

import timm
import torch
from torch import nn
from torch.nn.functional import max_pool2d
from torchvision.ops import deform_conv2d


class DCN(nn.Conv2d):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.conv_offset_mask = nn.Conv2d(inputs, 27, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.conv_offset_mask(x)
        mask = found[:, 18:].sigmoid()
        return deform_conv2d(x, found[:, :18], self.weight, self.bias, padding=1, mask=mask)


class DeformConv(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = DCN(inputs, outputs)
        self.actf = nn.Sequential(nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.actf(self.conv(x))


class IDAUp(nn.Module):
    def __init__(self, outputs: int, channels: list[int], scales: list[int]) -> None:
        super().__init__()
        for i, (c, f) in enumerate(zip(channels[1:], scales[1:], strict=True), 1):
            setattr(self, f"proj_{i}", DeformConv(c, outputs))
            setattr(self, f"node_{i}", DeformConv(outputs, outputs))
            up = nn.ConvTranspose2d(outputs, outputs, 2 * f, f, f // 2, groups=outputs, bias=False)
            setattr(self, f"up_{i}", up)

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        found = maps[:1]
        for i, x in enumerate(maps[1:], 1):
            proj, up, node = (self.get_submodule(f"{name}_{i}") for name in ("proj", "up", "node"))
            found.append(node(up(proj(x)) + found[-1]))
        return found


class DLAUp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ida_0 = IDAUp(256, [256, 512], [1, 2])
        self.ida_1 = IDAUp(128, [128, 256, 256], [1, 2, 2])
        self.ida_2 = IDAUp(64, [64, 128, 128, 128], [1, 2, 2, 2])

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        for low, ida in ((2, self.ida_0), (1, self.ida_1), (0, self.ida_2)):
            maps = maps[:low] + ida(maps[low:])
            found.insert(0, maps[-1])
        return found


class CenterNet(nn.Module):
    def __init__(self, classes: int = 80, most: int = 100) -> None:
        super().__init__()
        self.most = most
        self.base: Any = timm.create_model("dla34", num_classes=0, global_pool="")
        self.dla_up, self.ida_up = DLAUp(), IDAUp(64, [64, 128, 256], [1, 2, 4])
        self.hm, self.wh, self.reg = (
            nn.Sequential(nn.Conv2d(64, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, channels, 1))
            for channels in (classes, 2, 2)
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        maps = self.base.forward_intermediates(image, intermediates_only=True)[2:]
        x = self.ida_up(self.dla_up(maps))[-1]
        heat, size, moved = self.hm(x).sigmoid(), self.wh(x), self.reg(x)
        heat = heat * (heat == max_pool2d(heat, 3, 1, 1))
        scores, place = heat.flatten(1).topk(self.most)
        height, width = heat.shape[2:]
        cell = place % (height * width)
        shift, extent = (
            each.flatten(2).gather(2, cell[:, None].expand(-1, 2, -1)).transpose(1, 2)
            for each in (moved, size)
        )
        middle = torch.stack([cell % width, cell // width], 2) + shift
        boxes = torch.cat([middle - extent / 2, middle + extent / 2], 2) * 4
        return boxes, scores, place // (height * width)
