"""transformers' SuperPoint up to where it lists the points: scores of pixels and all descriptors."""

from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import SuperPointConfig, SuperPointForKeypointDetection


class SuperPoint(SuperPointForKeypointDetection):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.encoder(image).last_hidden_state
        head = self.descriptor_decoder
        descriptors = head.conv_descriptor_b(head.relu(head.conv_descriptor_a(x)))
        return self.keypoint_decoder._get_pixel_scores(x), normalize(descriptors, dim=1)


def superpoint(**fields: Any) -> SuperPoint:
    return SuperPoint(SuperPointConfig(**fields))
