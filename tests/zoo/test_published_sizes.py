"""Of families whose smaller models are in the zoo, the larger ones have their originals' weights too."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

from benchmarks.zoo_entries import EXAMPLES
from tests.zoo.entries import is_read, without_values
from trtdsl.elaborate import elaborate_file

SAM = ("sam/sam.trtnet", "sam/sam.py:sam_encoder", ())
SEGFORMER = ("segformer/segformer.trtnet", "segformer/segformer.py:segformer", ())
DEPTH = (
    "depth_anything/depth_anything.trtnet",
    "depth_anything/depth_anything.py:depth_anything",
    ("*mask_token", "*.layers.0.residual_layer1.*"),
)
ESRGAN = ("esrgan/esrgan.trtnet", "esrgan/esrgan.py:RRDBNet", ())
COMPACT = ("esrgan/esrgan.trtnet", "esrgan/esrgan.py:SRVGGNetCompact", ())

WIDE = {"hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768}
BASE = {"width": 768, "heads": 12, "necks": [96, 192, 384, 768], "fusion": 128}
LARGE = {"width": 1024, "heads": 16, "depth": 24, "necks": [256, 512, 1024, 1024], "fusion": 256}

MODELS: list[tuple[tuple[str, str, tuple[str, ...]], str, dict[str, Any]]] = [
    (SAM, "sam_vit_b", {}),
    (
        SAM,
        "sam_vit_l",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "global_attn_indexes": [5, 11, 17, 23],
        },
    ),
    (
        SAM,
        "sam_vit_h",
        {
            "hidden_size": 1280,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "global_attn_indexes": [7, 15, 23, 31],
        },
    ),
    (SEGFORMER, "segformer_b3", {**WIDE, "depths": [3, 4, 18, 3]}),
    (SEGFORMER, "segformer_b4", {**WIDE, "depths": [3, 8, 27, 3]}),
    (SEGFORMER, "segformer_b5", {**WIDE, "depths": [3, 6, 40, 3]}),
    (DEPTH, "depth_anything_base", BASE),
    (DEPTH, "depth_anything_large", {**LARGE, "taps": [21, 22, 23, 24]}),
    (DEPTH, "depth_anything_v2_small", {"taps": [3, 6, 9, 12]}),
    (DEPTH, "depth_anything_v2_base", {**BASE, "taps": [3, 6, 9, 12]}),
    (DEPTH, "depth_anything_v2_large", {**LARGE, "taps": [5, 12, 18, 24]}),
    (ESRGAN, "realesrgan_x2plus", {"scale": 2}),
    (ESRGAN, "realesrgan_x4plus_anime_6b", {"blocks": 6}),
    (COMPACT, "realesr_general_x4v3", {"layers": 32}),
]


@pytest.mark.parametrize(("family", "model", "arguments"), MODELS, ids=[model for _, model, _ in MODELS])
def test_larger_models_have_the_originals_weights(
    family: tuple[str, str, tuple[str, ...]], model: str, arguments: dict[str, Any]
) -> None:
    file, oracle, unread = family
    found = {weight.key: weight.type.shape for weight in elaborate_file(EXAMPLES / file, model).weights}
    assert found == {
        key: tuple(value.shape)
        for key, value in without_values(oracle, **arguments).state_dict().items()
        if is_read(key) and not any(fnmatchcase(key, pattern) for pattern in unread)
    }
