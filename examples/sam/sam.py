"""transformers' image encoder of Segment Anything, by its configuration's fields."""

from typing import Any

from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder


def sam_encoder(**fields: Any) -> SamVisionEncoder:
    return SamVisionEncoder(SamVisionConfig(**fields))
