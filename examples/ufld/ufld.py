"""Ultra Fast Lane Detection over ResNet-18, with its authors' keys and their demo's decoding."""

import torch
from torch import nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock


class Backbone(ResNet):
    """ResNet-18 without its classifier."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2])
        del self.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class UFLD(nn.Module):
    def __init__(self, cells: int = 100, rows: int = 56, lanes: int = 4) -> None:
        super().__init__()
        self.shape = (cells + 1, rows, lanes)
        self.model = Backbone()
        self.pool = nn.Conv2d(512, 8, 1)
        self.cls = nn.Sequential(
            nn.Linear(1800, 2048), nn.ReLU(), nn.Linear(2048, (cells + 1) * rows * lanes)
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.cls(self.pool(self.model(image)).flatten(1)).unflatten(1, self.shape)
        cells = logits.shape[1] - 1
        numbers = torch.arange(1, cells + 1, dtype=logits.dtype).reshape(-1, 1, 1)
        columns = (logits[:, :-1].softmax(1) * numbers).sum(1)
        columns[logits.argmax(1) == cells] = 0
        return columns, logits
