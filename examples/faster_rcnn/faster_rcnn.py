"""torchvision's Faster R-CNN without what comes before and after."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image


def detector(*, proposals: int = 1000, **arguments: Any) -> nn.Module:
    """The detector, whose forward takes images as its transform leaves them, and returns the corners of the
    boxes of all proposals and classes in pixels and their probabilities."""
    model: Any = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, rpn_post_nms_top_n_test=proposals, **arguments
    )
    model.forward = MethodType(forward, model)
    return model.eval()


def forward(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = images.shape[-2], images.shape[-1]
    sizes = [size] * len(images)
    maps = model.backbone(images)
    places, _ = model.rpn(ImageList(images, sizes), maps)
    heads = model.roi_heads
    features = heads.box_head(heads.box_roi_pool(maps, places, sizes))
    logits, codes = heads.box_predictor(features)
    count = len(images)
    boxes = clip_boxes_to_image(heads.box_coder.decode(codes, places), size)
    return boxes.unflatten(0, (count, -1)), logits.softmax(-1).unflatten(0, (count, -1))
