"""transformers' Depth Anything of one size."""

from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config


def depth_anything(
    width: int = 384,
    heads: int = 6,
    depth: int = 12,
    taps: tuple[int, ...] = (9, 10, 11, 12),
    necks: tuple[int, ...] = (48, 96, 192, 384),
    fusion: int = 64,
    learned: int = 37,
) -> DepthAnythingForDepthEstimation:
    backbone = Dinov2Config(
        hidden_size=width,
        num_attention_heads=heads,
        num_hidden_layers=depth,
        image_size=14 * learned,
        patch_size=14,
        out_indices=list(taps),
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=width,
        neck_hidden_sizes=list(necks),
        fusion_hidden_size=fusion,
    )
    return DepthAnythingForDepthEstimation(config)
