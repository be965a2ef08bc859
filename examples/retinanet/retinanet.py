"""torchvision's RetinaNet without what comes before and after."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import retinanet_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image


def detector(**arguments: Any) -> nn.Module:
    """The detector, whose forward takes images as its transform leaves them, and returns the corners of
    all boxes in pixels and their probabilities."""
    model: Any = retinanet_resnet50_fpn(weights=None, weights_backbone=None, **arguments)
    model.forward = MethodType(forward, model)
    return model.eval()


def forward(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = images.shape[-2], images.shape[-1]
    maps = list(model.backbone(images).values())
    found = model.head(maps)
    anchors = model.anchor_generator(ImageList(images, [size] * len(images)), maps)
    boxes = [
        clip_boxes_to_image(model.box_coder.decode_single(*each), size)
        for each in zip(found["bbox_regression"], anchors, strict=True)
    ]
    return torch.stack(boxes), found["cls_logits"].sigmoid()
