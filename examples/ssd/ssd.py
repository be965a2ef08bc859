"""torchvision's single-shot detectors (SSD, RetinaNet, FCOS) without what comes before and after."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image


def detector(name: str, **arguments: Any) -> nn.Module:
    """The detector of that name, whose forward takes images as its transform leaves them, and returns
    the corners of all boxes in pixels and their scores."""
    model: Any = getattr(detection, name)(weights=None, weights_backbone=None, **arguments)
    model.forward = MethodType(forward, model)
    return model.eval()


def forward(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = images.shape[-2], images.shape[-1]
    maps = list(model.backbone(images).values())
    found = model.head(maps)
    anchors = model.anchor_generator(ImageList(images, [size] * len(images)), maps)
    decode = getattr(model.box_coder, "decode_single", model.box_coder.decode)
    boxes = [
        clip_boxes_to_image(decode(*each), size)
        for each in zip(found["bbox_regression"], anchors, strict=True)
    ]
    return torch.stack(boxes), scores(model, found)


def scores(model: nn.Module, found: dict[str, torch.Tensor]) -> torch.Tensor:
    """SSD's are probabilities of one class among all, RetinaNet's of each class, FCOS's also of how near the
    middle of an object a place is."""
    match model:
        case detection.ssd.SSD():
            return found["cls_logits"].softmax(-1)
        case detection.fcos.FCOS():
            return (found["cls_logits"].sigmoid() * found["bbox_ctrness"].sigmoid()).sqrt()
        case _:
            return found["cls_logits"].sigmoid()
