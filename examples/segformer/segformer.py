"""transformers' SegFormer, by its configuration's fields."""

from typing import Any

from transformers import SegformerConfig, SegformerForSemanticSegmentation


def segformer(labels: int = 150, **fields: Any) -> SegformerForSemanticSegmentation:
    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=labels, **fields))
