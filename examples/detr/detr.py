"""transformers' DETR with random weights, as the module that the text beside this file stands for."""

from __future__ import annotations

import torch
from torch import nn
from transformers import DetrConfig, DetrForObjectDetection
from transformers.image_transforms import center_to_corners_format


class Detr(DetrForObjectDetection):
    """The same keys; `forward` returns probabilities of all classes and the corners of boxes in pixels."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = super().forward(image)
        height, width = image.shape[-2:]
        size = torch.tensor([width, height, width, height], dtype=image.dtype)
        return found.logits.softmax(-1)[..., :-1], center_to_corners_format(found.pred_boxes) * size


def detr(*, backbone: str = "resnet50", classes: int = 91, **sizes: int) -> nn.Module:
    return Detr(DetrConfig(backbone=backbone, num_labels=classes, **sizes)).eval()
