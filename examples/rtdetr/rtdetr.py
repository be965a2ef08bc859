"""transformers' RT-DETR with random weights, as the module that the text beside this file stands for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig
from transformers.image_transforms import center_to_corners_format


class RTDetr(RTDetrForObjectDetection):
    """The same keys; `forward` returns probabilities of all classes and the corners of boxes in pixels."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = super().forward(image)
        height, width = image.shape[-2:]
        size = torch.tensor([width, height, width, height], dtype=image.dtype)
        return found.logits.sigmoid(), center_to_corners_format(found.pred_boxes) * size


def rtdetr(*, layers: list[int], bottleneck: bool = True, classes: int = 80, **sizes: Any) -> nn.Module:
    """Over ResNet-D with so many layers in its stages; `sizes` are those of RTDetrConfig."""
    widths = [(256 if bottleneck else 64) * 2**i for i in range(4)]
    backbone = RTDetrResNetConfig(
        depths=layers,
        hidden_sizes=widths,
        layer_type="bottleneck" if bottleneck else "basic",
        out_indices=[2, 3, 4],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=widths[1:],
        num_labels=classes,
        num_denoising=0,
        **sizes,
    )
    return RTDetr(config).eval()
