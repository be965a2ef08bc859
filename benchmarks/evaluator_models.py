"""The published models that the evaluator is held against, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A model: its library, how to make it, inputs for a batch size, and whether tracing can export it."""

    library: str
    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Inputs]
    traced: bool = True


class Flat(nn.Module):
    """A model whose outputs are a tuple of tensors, whatever container it returns them in."""

    def __init__(self, model: nn.Module, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(self.names, inputs, strict=True)) if self.names else {}
        return tuple(_tensors(self.model(**named) if named else self.model(*inputs)))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each)


def image(size: int, channels: int = 3) -> Callable[[int], Inputs]:
    return lambda batch: (torch.randn(batch, channels, size, size),)


def video(frames: int, size: int) -> Callable[[int], Inputs]:
    return lambda batch: (torch.randn(batch, 3, frames, size, size),)


def tokens(length: int = 16, vocabulary: int = 99) -> Callable[[int], Inputs]:
    """Token numbers, and an attention mask that hides the end of the first sequence."""

    def make(batch: int) -> Inputs:
        mask = torch.ones(batch, length, dtype=torch.int64)
        mask[0, length - 3 :] = 0
        return torch.randint(1, vocabulary, (batch, length)), mask

    return make


def torchvision_case(name: str, size: int = 64, *, traced: bool = True, **options: Any) -> Case:
    def build() -> nn.Module:
        import torchvision

        return Flat(torchvision.models.get_model(name, weights=None, **options))

    return Case("torchvision", name, build, image(size), traced)


def segmentation_case(name: str, size: int = 64) -> Case:
    return torchvision_case(name, size, weights_backbone=None)


def timm_case(name: str, size: int = 64, *, traced: bool = True, **options: Any) -> Case:
    def build() -> nn.Module:
        import timm

        return Flat(timm.create_model(name, pretrained=False, **options))

    return Case("timm", name, build, image(size), traced)


def transformers_case(
    name: str,
    model: str,
    inputs: Callable[[int], Inputs],
    names: Sequence[str] = ("input_ids", "attention_mask"),
    **config: Any,
) -> Case:
    """A small configuration of a transformers architecture; ``model`` is the class without ``Model``."""

    def build() -> nn.Module:
        import transformers

        settings = getattr(transformers, f"{model.removesuffix('Encoder')}Config")(**config)
        settings._attn_implementation = "eager"
        if hasattr(settings, "use_cache"):
            settings.use_cache = False
        cls = getattr(transformers, f"{model}Model")
        return Flat(cls(settings), names)

    return Case("transformers", name, build, inputs, traced=False)


SMALL = {
    "vocab_size": 99,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
PIXELS = ("pixel_values",)
VISION = {k: v for k, v in SMALL.items() if k != "vocab_size"} | {"image_size": 64, "patch_size": 16}

CASES: tuple[Case, ...] = (
    torchvision_case("alexnet", 96, traced=False),
    torchvision_case("vgg11_bn", traced=False),
    torchvision_case("resnet18"),
    torchvision_case("resnet50"),
    torchvision_case("resnext50_32x4d"),
    torchvision_case("wide_resnet50_2"),
    torchvision_case("densenet121"),
    torchvision_case("squeezenet1_1"),
    torchvision_case("googlenet", 64, aux_logits=False, init_weights=False),
    torchvision_case("inception_v3", 96, aux_logits=False, init_weights=False),
    torchvision_case("mobilenet_v2"),
    torchvision_case("mobilenet_v3_small"),
    torchvision_case("mobilenet_v3_large"),
    torchvision_case("mnasnet0_5"),
    torchvision_case("shufflenet_v2_x0_5"),
    torchvision_case("efficientnet_b0"),
    torchvision_case("efficientnet_v2_s"),
    torchvision_case("regnet_x_400mf"),
    torchvision_case("regnet_y_400mf"),
    torchvision_case("convnext_tiny"),
    torchvision_case("vit_b_16", 64, image_size=64),
    torchvision_case("swin_t"),
    torchvision_case("swin_v2_t"),
    segmentation_case("fcn_resnet50"),
    segmentation_case("deeplabv3_mobilenet_v3_large"),
    segmentation_case("lraspp_mobilenet_v3_large"),
    Case("torchvision", "r3d_18", lambda: torchvision_case("r3d_18").build(), video(8, 32)),
    Case("torchvision", "s3d", lambda: torchvision_case("s3d").build(), video(14, 224)),
    timm_case("mobilenetv4_conv_small"),
    timm_case("ghostnet_100"),
    timm_case("tf_efficientnet_lite0"),
    timm_case("lcnet_050"),
    timm_case("repvgg_a0"),
    timm_case("dla34"),
    timm_case("hrnet_w18_small"),
    timm_case("res2net50_14w_8s"),
    timm_case("skresnet18"),
    timm_case("nf_resnet26", traced=False),
    timm_case("cspresnet50"),
    timm_case("edgenext_xx_small"),
    timm_case("mobilevit_xxs"),
    timm_case("fastvit_t8"),
    timm_case("efficientformer_l1", 224),
    timm_case("levit_128s", 224),
    timm_case("poolformer_s12"),
    timm_case("mixer_s32_224", 224),
    timm_case("resmlp_12_224", 224),
    timm_case("gmixer_12_224", 224),
    timm_case("vit_tiny_patch16_224", 64, img_size=64),
    timm_case("deit_tiny_distilled_patch16_224", 64, img_size=64),
    timm_case("cait_xxs24_224", 64, img_size=64),
    timm_case("beit_base_patch16_224", 64, img_size=64, depth=4),
    timm_case("eva02_tiny_patch14_224", 56, img_size=56),
    timm_case("xcit_nano_12_p16_224"),
    timm_case("pvt_v2_b0"),
    timm_case("twins_svt_small", 224),
    timm_case("coat_lite_tiny", 64, img_size=64),
    transformers_case("bert", "Bert", tokens(), **SMALL),
    transformers_case("roberta", "Roberta", tokens(), **SMALL),
    transformers_case("electra", "Electra", tokens(), embedding_size=32, **SMALL),
    transformers_case("albert", "Albert", tokens(), embedding_size=32, **SMALL),
    transformers_case("mpnet", "MPNet", tokens(), **SMALL),
    transformers_case(
        "distilbert", "DistilBert", tokens(), vocab_size=99, dim=64, n_layers=3, n_heads=4, hidden_dim=128
    ),
    transformers_case("gpt2", "GPT2", tokens(), vocab_size=99, n_embd=64, n_layer=3, n_head=4),
    transformers_case("opt", "OPT", tokens(), ffn_dim=128, word_embed_proj_dim=64, **SMALL),
    transformers_case("llama", "Llama", tokens(), num_key_value_heads=2, **SMALL),
    transformers_case("mistral", "Mistral", tokens(), num_key_value_heads=2, sliding_window=4, **SMALL),
    transformers_case("qwen2", "Qwen2", tokens(), num_key_value_heads=2, **SMALL),
    transformers_case("gemma", "Gemma", tokens(), num_key_value_heads=1, head_dim=16, **SMALL),
    transformers_case("phi", "Phi", tokens(), **SMALL),
    transformers_case(
        "t5-encoder",
        "T5Encoder",
        tokens(),
        vocab_size=99,
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=3,
        num_heads=4,
    ),
    transformers_case("vit", "ViT", image(64), PIXELS, **VISION),
    transformers_case("dinov2", "Dinov2", image(64), PIXELS, **VISION),
    transformers_case("clip-vision", "CLIPVision", image(64), PIXELS, **VISION),
    transformers_case(
        "segformer", "Segformer", image(64), PIXELS, depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 64, 128]
    ),
    transformers_case("mobilenet-v2", "MobileNetV2", image(64), PIXELS),
)
