"""Models of text, speech and images beside text have the weights of transformers' in every size."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.zoo_entries import EXAMPLES
from trtdsl.elaborate import elaborate_file
from trtdsl.weights import bind
from trtdsl.weights.entries import keys_read

LLAMA = {
    "vocab_size": "vocabulary",
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "intermediate_size": "hidden",
}


def decoder(kind: str, *sizes: int, **more: Any) -> tuple[str, dict[str, Any]]:
    """The class and the configuration of a decoder with these sizes."""
    return f"{kind}ForCausalLM", dict(zip(LLAMA, sizes, strict=True)) | more


def whisper(width: int, depth: int, heads: int, **more: Any) -> tuple[str, dict[str, Any]]:
    sizes = {"layers": depth, "attention_heads": heads, "ffn_dim": 4 * width}
    every = {f"{part}_{name}": size for part in ("encoder", "decoder") for name, size in sizes.items()}
    return "WhisperForConditionalGeneration", {"d_model": width, "vocab_size": 51865} | every | more


def clip(
    width: int, depth: int, heads: int, patch: int, text_width: int, text_heads: int, size: int = 224
) -> tuple[str, dict[str, Any]]:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    text = dict(zip(names, (text_width, 4 * text_width, 12, text_heads), strict=True))
    image = dict(zip(names, (width, 4 * width, depth, heads), strict=True))
    image |= {"patch_size": patch, "image_size": size}
    return "CLIPModel", {"text_config": text, "vision_config": image, "projection_dim": text_width}


def albert(width: int, depth: int, heads: int) -> dict[str, Any]:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    return dict(zip(names, (width, depth, heads, 4 * width), strict=True))


def t5(width: int, depth: int, heads: int, hidden: int, *, gated: bool) -> tuple[str, dict[str, Any]]:
    names = ("d_model", "num_layers", "num_heads", "d_ff")
    kind = {"feed_forward_proj": "gated-gelu" if gated else "relu", "tie_word_embeddings": not gated}
    return "T5ForConditionalGeneration", dict(zip(names, (width, depth, heads, hidden), strict=True)) | kind


T5 = [
    ("t5_small", *t5(512, 6, 8, 2048, gated=False)),
    ("t5_base", *t5(768, 12, 12, 3072, gated=False)),
    ("t5_large", *t5(1024, 24, 16, 4096, gated=False)),
    ("flan_t5_small", *t5(512, 8, 6, 1024, gated=True)),
    ("flan_t5_base", *t5(768, 12, 12, 2048, gated=True)),
    ("flan_t5_large", *t5(1024, 24, 16, 2816, gated=True)),
]
WAV2VEC2_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
TIED = {"tie_word_embeddings": True}
HEAD = {"head_dim": 128}
PUBLISHED = [
    ("llama", "llama3_1_8b", *decoder("Llama", 128256, 4096, 32, 32, 8, 14336)),
    ("llama", "llama3_2_1b", *decoder("Llama", 128256, 2048, 16, 32, 8, 8192, **TIED)),
    ("llama", "llama3_2_3b", *decoder("Llama", 128256, 3072, 28, 24, 8, 8192, **TIED)),
    ("llama", "mistral_7b_v0_1", *decoder("Mistral", 32000, 4096, 32, 32, 8, 14336)),
    ("llama", "mistral_7b_v0_3", *decoder("Mistral", 32768, 4096, 32, 32, 8, 14336)),
    ("llama", "smollm2_135m", *decoder("Llama", 49152, 576, 30, 9, 3, 1536, **TIED)),
    ("llama", "smollm2_360m", *decoder("Llama", 49152, 960, 32, 15, 5, 2560, **TIED)),
    ("qwen3", "qwen3_0_6b", *decoder("Qwen3", 151936, 1024, 28, 16, 8, 3072, **TIED, **HEAD)),
    ("qwen3", "qwen3_1_7b", *decoder("Qwen3", 151936, 2048, 28, 16, 8, 6144, **TIED, **HEAD)),
    ("qwen3", "qwen3_4b", *decoder("Qwen3", 151936, 2560, 36, 32, 8, 9728, **TIED, **HEAD)),
    ("qwen3", "qwen3_8b", *decoder("Qwen3", 151936, 4096, 36, 32, 8, 12288, **HEAD)),
    ("qwen3", "qwen3_14b", *decoder("Qwen3", 151936, 5120, 40, 40, 8, 17408, **HEAD)),
    ("qwen3", "qwen3_32b", *decoder("Qwen3", 151936, 5120, 64, 64, 8, 25600, **HEAD)),
    ("qwen3", "qwen2_5_0_5b", *decoder("Qwen2", 151936, 896, 24, 14, 2, 4864, **TIED)),
    ("qwen3", "qwen2_5_1_5b", *decoder("Qwen2", 151936, 1536, 28, 12, 2, 8960, **TIED)),
    ("qwen3", "qwen2_5_3b", *decoder("Qwen2", 151936, 2048, 36, 16, 2, 11008, **TIED)),
    ("qwen3", "qwen2_5_7b", *decoder("Qwen2", 152064, 3584, 28, 28, 4, 18944)),
    ("gemma", "gemma_2b", *decoder("Gemma", 256000, 2048, 18, 8, 1, 16384)),
    ("gemma", "gemma_7b", *decoder("Gemma", 256000, 3072, 28, 16, 16, 24576)),
    ("whisper", "whisper_tiny", *whisper(384, 4, 6)),
    ("whisper", "whisper_base", *whisper(512, 6, 8)),
    ("whisper", "whisper_small", *whisper(768, 12, 12)),
    ("whisper", "whisper_medium", *whisper(1024, 24, 16)),
    ("whisper", "whisper_large_v3", *whisper(1280, 32, 20, vocab_size=51866, num_mel_bins=128)),
    (
        *("whisper", "whisper_large_v3_turbo"),
        *whisper(1280, 32, 20, decoder_layers=4, vocab_size=51866, num_mel_bins=128),
    ),
    ("clip", "clip_vit_base_patch32", *clip(768, 12, 12, 32, 512, 8)),
    ("clip", "clip_vit_base_patch16", *clip(768, 12, 12, 16, 512, 8)),
    ("clip", "clip_vit_large_patch14", *clip(1024, 24, 16, 14, 768, 12)),
    ("clip", "clip_vit_large_patch14_336", *clip(1024, 24, 16, 14, 768, 12, size=336)),
    *(("t5", *sizes) for sizes in T5),
    ("wav2vec2", "wav2vec2_base_960h", "Wav2Vec2ForCTC", {}),
    ("wav2vec2", "wav2vec2_large_960h", "Wav2Vec2ForCTC", WAV2VEC2_LARGE),
    ("wav2vec2", "wav2vec2_large_960h_lv60", "Wav2Vec2ForCTC", WAV2VEC2_LARGE | STABLE),
    ("albert", "albert_base_v2", "AlbertModel", albert(768, 12, 12)),
    ("albert", "albert_large_v2", "AlbertModel", albert(1024, 24, 16)),
    ("albert", "albert_xlarge_v2", "AlbertModel", albert(2048, 24, 16)),
    ("albert", "albert_xxlarge_v2", "AlbertModel", albert(4096, 12, 64)),
]
UNREAD = ("wav2vec2.masked_spec_embed", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""What training alone reads, and second names of tied weights."""
PARTS = {"whisper": ("_encoder", "_decoder"), "t5": ("", "_decoder")}
"""What stands behind a name where several models read a checkpoint."""


@pytest.mark.parametrize(
    ("family", "model", "kind", "config"), PUBLISHED, ids=[model for _, model, *_ in PUBLISHED]
)
def test_published_sizes_have_the_originals_weights(
    family: str, model: str, kind: str, config: dict[str, Any]
) -> None:
    transformers = pytest.importorskip("transformers")
    module_class = getattr(transformers, kind)
    with torch.device("meta"):
        module = module_class(module_class.config_class(**config))
    # transformers says of every T5 that its head is tied, and its configuration whether it is.
    is_tied = config.get("tie_word_embeddings", True)
    tied: Any = getattr(module, "all_tied_weights_keys", {}) if is_tied else {}
    state = {
        key: np.broadcast_to(np.float32(0), value.shape)
        for key, value in module.state_dict().items()
        if not any(fnmatchcase(key, pattern) for pattern in (*UNREAD, *tied))
    }
    read: set[str] = set()
    for part in PARTS.get(family, ("",)):
        defines = {"decoder_depth": config["num_layers"]} if (family, part) == ("t5", "") else {}
        graph = elaborate_file(EXAMPLES / family / f"{family}.trtnet", model + part, defines)
        read |= {*keys_read(graph, state)}
        bind(graph, state)  # and of the shapes that its layers need
    assert read == {*state}
