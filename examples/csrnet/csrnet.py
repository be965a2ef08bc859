"""CSRNet with the keys of CSRNet-pytorch."""

import torch
from torch import nn

FRONT = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512)
BACK = (512, 512, 512, 256, 128, 64)


def stack(channels: int, widths: tuple[int | None, ...], dilation: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        if width is None:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


class CSRNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frontend = stack(3, FRONT)
        self.backend = stack(512, BACK, dilation=2)
        self.output_layer = nn.Conv2d(64, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.output_layer(self.backend(self.frontend(image)))
