"""EfficientAD: the networks with the indices of nelson1425's EfficientAD, and the map that comes of them."""

import torch
from torch import nn
from torch.nn.functional import interpolate, pad


def pdn(planes: int, medium: bool) -> nn.Sequential:
    width = 256 if medium else 128
    front = [
        *(nn.Conv2d(3, width, 4), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(width, 2 * width, 4), nn.ReLU(), nn.AvgPool2d(2)),
    ]
    if not medium:
        return nn.Sequential(*front, nn.Conv2d(256, 256, 3), nn.ReLU(), nn.Conv2d(256, planes, 4))
    return nn.Sequential(
        *front,
        *(nn.Conv2d(512, 512, 1), nn.ReLU()),
        *(nn.Conv2d(512, 512, 3), nn.ReLU()),
        *(nn.Conv2d(512, planes, 4), nn.ReLU()),
        nn.Conv2d(planes, planes, 1),
    )


def autoencoder(planes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 32), (32, 64), (64, 64), (64, 64)):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
    layers.append(nn.Conv2d(64, 64, 8))
    for size in (3, 8, 15, 32, 63, 127):
        layers += [
            *(nn.Upsample(size=size, mode="bilinear"), nn.Conv2d(64, 64, 4, 1, 2)),
            *(nn.ReLU(), nn.Dropout(0.2)),
        ]
    layers += [nn.Upsample(size=56, mode="bilinear"), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(64, planes, 3, 1, 1))


class EfficientAD(nn.Module):
    def __init__(self, planes: int = 384, medium: bool = False, size: int = 256) -> None:
        super().__init__()
        self.size = size
        self.teacher, self.student = pdn(planes, medium), pdn(2 * planes, medium)
        self.autoencoder = autoencoder(planes)
        self.register_buffer("mean", torch.linspace(-0.5, 0.5, planes).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.linspace(0.5, 1.5, planes).reshape(1, -1, 1, 1))
        for name, value in (("q_st_start", 2.0), ("q_st_end", 3.0), ("q_ae_start", 1.2), ("q_ae_end", 1.4)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = (self.teacher(image) - self.mean) / self.std
        foretold, imagined = self.student(image).chunk(2, 1)
        details = (found - foretold).square().mean(1, keepdim=True)
        layout = (self.autoencoder(image) - imagined).square().mean(1, keepdim=True)
        details = 0.1 * (details - self.q_st_start) / (self.q_st_end - self.q_st_start)
        layout = 0.1 * (layout - self.q_ae_start) / (self.q_ae_end - self.q_ae_start)
        anomaly = pad(0.5 * details + 0.5 * layout, (4, 4, 4, 4))
        return interpolate(anomaly, size=self.size, mode="bilinear")
