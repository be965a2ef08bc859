"""Real-ESRGAN's two networks with the keys of BasicSR's RRDBNet and SRVGGNetCompact."""

import torch
from torch import nn
from torch.nn.functional import interpolate, leaky_relu, pixel_shuffle, pixel_unshuffle


class ResidualDenseBlock(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for i in range(1, 6):
            outputs = growth if i < 5 else width
            setattr(self, f"conv{i}", nn.Conv2d(width + (i - 1) * growth, outputs, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined = x
        for i in range(1, 5):
            joined = torch.cat([joined, leaky_relu(getattr(self, f"conv{i}")(joined), 0.2)], 1)
        return x + 0.2 * self.get_submodule("conv5")(joined)


class RRDB(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (ResidualDenseBlock(width, growth) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    def __init__(self, scale: int = 4, blocks: int = 23, width: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.fold = 4 // scale
        self.conv_first = nn.Conv2d(3 * self.fold**2, width, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        self.conv_body, self.conv_up1, self.conv_up2, self.conv_hr = (
            nn.Conv2d(width, width, 3, padding=1) for _ in range(4)
        )
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.conv_first(pixel_unshuffle(image, self.fold))
        x = x + self.conv_body(self.body(x))
        for layer in (self.conv_up1, self.conv_up2):
            x = leaky_relu(layer(interpolate(x, scale_factor=2)), 0.2)
        return self.conv_last(leaky_relu(self.conv_hr(x), 0.2))


class SRVGGNetCompact(nn.Module):
    def __init__(self, scale: int = 4, layers: int = 16, width: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.ModuleList()
        for i in range(layers + 1):
            self.body += [nn.Conv2d(width if i else 3, width, 3, padding=1), nn.PReLU(width)]
        self.body.append(nn.Conv2d(width, 3 * scale**2, 3, padding=1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        for layer in self.body:
            x = layer(x)
        return pixel_shuffle(x, self.scale) + interpolate(image, scale_factor=self.scale)
