"""LPRNet with the keys of sirius-ai's LPRNet_Pytorch."""

import torch
from torch import nn


class SmallBasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        quarter = outputs // 4
        self.block = nn.Sequential(
            *(nn.Conv2d(inputs, quarter, 1), nn.ReLU()),
            *(nn.Conv2d(quarter, quarter, (3, 1), padding=(1, 0)), nn.ReLU()),
            *(nn.Conv2d(quarter, quarter, (1, 3), padding=(0, 1)), nn.ReLU()),
            nn.Conv2d(quarter, outputs, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class LPRNet(nn.Module):
    def __init__(self, letters: int = 68) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            *(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU()),
            *(nn.MaxPool3d((1, 3, 3), (1, 1, 1)), SmallBasicBlock(64, 128), nn.BatchNorm2d(128), nn.ReLU()),
            *(nn.MaxPool3d((1, 3, 3), (2, 1, 2)), SmallBasicBlock(64, 256), nn.BatchNorm2d(256), nn.ReLU()),
            *(SmallBasicBlock(256, 256), nn.BatchNorm2d(256), nn.ReLU()),
            *(nn.MaxPool3d((1, 3, 3), (4, 1, 2)), nn.Dropout(0.5)),
            *(nn.Conv2d(64, 256, (1, 4)), nn.BatchNorm2d(256), nn.ReLU(), nn.Dropout(0.5)),
            *(nn.Conv2d(256, letters, (13, 1)), nn.BatchNorm2d(letters), nn.ReLU()),
        )
        self.container = nn.Sequential(nn.Conv2d(448 + letters, letters, 1))
        self.pools = {2: nn.AvgPool2d(5, 5), 6: nn.AvgPool2d(5, 5), 13: nn.AvgPool2d((4, 10), (4, 2))}

    def forward(self, plate: torch.Tensor) -> torch.Tensor:
        x, contexts = plate, list[torch.Tensor]()
        for i, layer in enumerate(self.backbone):
            x = layer(x)
            if i in (2, 6, 13, 22):
                pooled = self.pools[i](x) if i in self.pools else x
                contexts.append(pooled / pooled.square().mean((1, 2, 3), keepdim=True))
        return self.container(torch.cat(contexts, 1)).mean(2)
