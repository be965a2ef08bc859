"""Models that the importer was not written for.

timm's fifteen families were drawn with ``random.Random(20261126)`` from its modules that :mod:`import_models`
has no model of; the others are well-known ones of packages that it knows, and two of diffusers, which it does
not.  The result of each on the day on which the list was made is kept as the first one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from import_models import BATCH, DECODER, SEQUENCE, SMALL, TEXT, VIT, Model, of_timm, of_transformers

_TIMM: Mapping[str, int] = {
    "convit_tiny": 224,
    "csatv2": 512,
    "cspnext_tiny": 224,
    "efficientformerv2_s0": 224,
    "hardcorenas_a": 224,
    "hgnetv2_b0": 224,
    "inception_next_atto": 224,
    "lcnetv2_small": 224,
    "mambaout_femto": 224,
    "nasnetalarge": 224,
    "nextvit_small": 224,
    "pvt_v2_b0": 224,
    "swinv2_cr_tiny_224": 224,
    "tiny_vit_5m_224": 224,
    "vit_relpos_small_patch16_224": 224,
}
_IDS = {"input_ids": "int64[N, S]"}
_PIXELS = {"pixel_values": "float32[N, 3, 64, 64]"}
_TEXTS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "opt": (
        "OPTModel",
        "OPTConfig",
        {
            **SMALL,
            "ffn_dim": 128,
            "max_position_embeddings": 128,
            "word_embed_proj_dim": 64,
            "use_cache": False,
        },
    ),
    "bloom": (
        "BloomModel",
        "BloomConfig",
        {"vocab_size": 100, "hidden_size": 64, "n_layer": 3, "n_head": 4, "use_cache": False},
    ),
    "falcon": ("FalconModel", "FalconConfig", {**SMALL, "use_cache": False}),
    "mobilebert": (
        "MobileBertModel",
        "MobileBertConfig",
        {**SMALL, "embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    ),
    "deberta-v2": (
        "DebertaV2Model",
        "DebertaV2Config",
        {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 32},
    ),
    "xlm": ("XLMModel", "XLMConfig", {"vocab_size": 100, "emb_dim": 64, "n_layers": 3, "n_heads": 4}),
    "mixtral": ("MixtralModel", "MixtralConfig", {**DECODER, "num_local_experts": 4}),
    "siglip-text": ("SiglipTextModel", "SiglipTextConfig", {**SMALL, "max_position_embeddings": 128}),
}
_ONLY_IDS = ("mamba", "mixtral")
_IMAGES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "siglip-vision": ("SiglipVisionModel", "SiglipVisionConfig", VIT),
    "blip-vision": ("BlipVisionModel", "BlipVisionConfig", VIT),
    "yolos": (
        "YolosModel",
        "YolosConfig",
        {**VIT, "image_size": [64, 64], "num_detection_tokens": 10, "use_mid_position_embeddings": False},
    ),
    "dpt": (
        "DPTForDepthEstimation",
        "DPTConfig",
        {
            **VIT,
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [16, 32, 48, 64],
            "fusion_hidden_size": 32,
        },
    ),
}
_MAMBA = (
    "MambaModel",
    "MambaConfig",
    {"vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2, "use_cache": False},
)


def held_out() -> list[Model]:
    """All thirty."""
    return [replace(each, group="held out") for each in _all()]


def _all() -> Iterator[Model]:
    yield from (of_timm(name, size) for name, size in _TIMM.items())
    for name, spec in _TEXTS.items():
        yield of_transformers(name, spec, _IDS if name in _ONLY_IDS else TEXT, SEQUENCE)
    yield from (of_transformers(name, spec, _PIXELS, BATCH) for name, spec in _IMAGES.items())
    yield of_transformers("mamba", _MAMBA, _IDS, SEQUENCE)
    sample = {"sample": "float32[N, 4, 32, 32]", "timestep": "float32[N]"}
    yield Model("diffusers", "unet2d", _unet, sample, BATCH)
    yield Model("diffusers", "autoencoder-decoder", _decoder, {"x": "float32[N, 4, 8, 8]"}, BATCH)


def _unet() -> Any:
    import diffusers  # pyright: ignore[reportMissingImports]

    return diffusers.UNet2DModel(
        sample_size=32, in_channels=4, out_channels=4, block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )  # fmt: skip


def _decoder() -> Any:
    import diffusers  # pyright: ignore[reportMissingImports]
    from import_wrapped import Decoder

    autoencoder = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32), norm_num_groups=8,
    )  # fmt: skip
    return Decoder(autoencoder)
