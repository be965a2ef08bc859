"""Models for the importer: how each is made, and what it is called with.

Random weights; sizes are cut where a class takes any, so that an import takes seconds.  timm's are drawn with
``random.Random(20261125)`` from its modules, one small model each, and some well-known ones beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

IMAGE = {"x": "float32[N, 3, 224, 224]"}
TEXT = {"input_ids": "int64[N, S]", "attention_mask": "int64[N, S]"}
SEQUENCE = {"N": "1 .. 2 .. 16", "S": "2 .. 12 .. 128"}
BATCH = {"N": "1 .. 2 .. 16"}


@dataclass(frozen=True)
class Model:
    """A model to import; ``make`` imports its package, so that a list of names needs none."""

    family: str
    name: str
    make: Callable[[], Any]
    inputs: Mapping[str, str]
    dims: Mapping[str, str]


def models() -> list[Model]:
    """All of them."""
    return [*_torchvision(), *_timm(), *_transformers(), *_ultralytics(), *_segmentation()]


# --- torchvision ------------------------------------------------------------------------------------------

_CLASSIFIERS = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t"
    " mnasnet1_0 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18"
    " resnet50 resnext50_32x4d shufflenet_v2_x1_0 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vit_b_16"
    " wide_resnet50_2"
)
_SEGMENTERS = "deeplabv3_resnet50 fcn_resnet50 lraspp_mobilenet_v3_large"
_VIDEOS = {
    "r3d_18": (8, 112),
    "mc3_18": (8, 112),
    "r2plus1d_18": (8, 112),
    "s3d": (16, 224),
    "mvit_v2_s": (16, 224),
    "swin3d_t": (8, 112),
}


def _torchvision() -> list[Model]:
    found = [_vision(name, _size(name)) for name in [*_CLASSIFIERS.split(), *_SEGMENTERS.split()]]
    for name, (frames, size) in _VIDEOS.items():
        inputs = {"x": f"float32[N, 3, {frames}, {size}, {size}]"}
        found.append(Model("torchvision", name, lambda name=name: _make_vision(name), inputs, BATCH))
    return found


def _size(name: str) -> int:
    return {"inception_v3": 299, "swin_v2_t": 256}.get(name, 224)


def _vision(name: str, size: int) -> Model:
    # Segmentation models call their input as the language calls its own.
    inputs = {"x": f"float32[N, 3, {size}, {size}]"}
    return Model("torchvision", name, lambda: _make_vision(name), inputs, BATCH)


def _make_vision(name: str) -> Any:
    import torchvision

    others: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        others = {"aux_logits": False, "init_weights": False}
    elif name in _SEGMENTERS.split():
        others = {"weights_backbone": None}
    return torchvision.models.get_model(name, weights=None, **others)


# --- timm -------------------------------------------------------------------------------------------------

_TIMM = (
    "edgenext_xx_small gcvit_xxtiny convnext_atto convnextv2_atto deit_tiny_patch16_224 beit_base_patch16_224"
    " mobilenetv4_conv_small regnety_002 resnest14d sequencer2d_s tnt_s_legacy_patch16_224 volo_d1_224"
    " nf_resnet50 nf_seresnet101 tresnet_m mvitv2_tiny maxvit_tiny_rw_224 coatnet_nano_rw_224 poolformer_s12"
    " mixer_s32_224 dla34 hrnet_w18_small ghostnet_100 levit_128s fastvit_t8 repvgg_a0 efficientformer_l1"
    " xcit_nano_12_p16_224 crossvit_tiny_240 visformer_tiny pit_ti_224 botnet26t_256 twins_pcpvt_small"
    " davit_tiny focalnet_tiny_srf eva02_tiny_patch14_224 hiera_tiny_224 inception_v4 cspresnet50 darknet53"
    " res2net50_26w_4s skresnet18 rexnet_100 selecsls42 tinynet_a ese_vovnet19b_dw"
)
_TIMM_SIZES = {"crossvit_tiny_240": 240, "botnet26t_256": 256, "inception_v4": 299, "sequencer2d_s": 224}


def _timm() -> list[Model]:
    return [_of_timm(name) for name in _TIMM.split()]


def _of_timm(name: str) -> Model:
    size = _TIMM_SIZES.get(name, 224)

    def make() -> Any:
        import timm

        return timm.create_model(name, pretrained=False)

    return Model("timm", name, make, {"x": f"float32[N, 3, {size}, {size}]"}, BATCH)


# --- transformers -----------------------------------------------------------------------------------------

_SMALL = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
_DECODER = {**_SMALL, "num_key_value_heads": 2, "max_position_embeddings": 128, "use_cache": False}
_TEXTS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "bert": ("BertModel", "BertConfig", _SMALL),
    "roberta": ("RobertaModel", "RobertaConfig", {**_SMALL, "max_position_embeddings": 130}),
    "electra": ("ElectraModel", "ElectraConfig", {**_SMALL, "embedding_size": 32}),
    "albert": ("AlbertModel", "AlbertConfig", {**_SMALL, "embedding_size": 32}),
    "distilbert": (
        "DistilBertModel",
        "DistilBertConfig",
        {"vocab_size": 100, "dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": 100, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128, "use_cache": False},
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _DECODER),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_DECODER, "head_dim": 16}),
    "mistral": ("MistralForCausalLM", "MistralConfig", _DECODER),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**_DECODER, "head_dim": 16}),
    "phi": ("PhiForCausalLM", "PhiConfig", _DECODER),
    "t5-encoder": (
        "T5EncoderModel",
        "T5Config",
        {"vocab_size": 100, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 3, "num_heads": 4},
    ),
}
_VIT = {
    **{key: value for key, value in _SMALL.items() if key != "vocab_size"},
    "image_size": 64,
    "patch_size": 16,
}
_IMAGES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "vit": ("ViTModel", "ViTConfig", _VIT),
    "deit": ("DeiTModel", "DeiTConfig", _VIT),
    "dinov2": (
        "Dinov2Model",
        "Dinov2Config",
        {
            "image_size": 64,
            "patch_size": 16,
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
        },
    ),
    "clip-vision": ("CLIPVisionModel", "CLIPVisionConfig", _VIT),
    "segformer": (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1], "decoder_hidden_size": 32},
    ),
    "convnextv2": (
        "ConvNextV2Model",
        "ConvNextV2Config",
        {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 2, 1]},
    ),
}


def _transformers() -> list[Model]:
    texts = [_of_transformers(name, spec, TEXT, SEQUENCE) for name, spec in _TEXTS.items()]
    images = {"pixel_values": "float32[N, 3, 64, 64]"}
    return [*texts, *(_of_transformers(name, spec, images, BATCH) for name, spec in _IMAGES.items())]


def _of_transformers(
    name: str, spec: tuple[str, str, Mapping[str, Any]], inputs: Mapping[str, str], dims: Mapping[str, str]
) -> Model:
    model, config, values = spec

    def make() -> Any:
        import transformers

        return getattr(transformers, model)(getattr(transformers, config)(**values))

    return Model("transformers", name, make, inputs, dims)


# --- ultralytics and segmentation_models_pytorch ----------------------------------------------------------

_YOLOS = {
    "DetectionModel": "yolov5n yolov8n yolov9t yolov10n yolo11n yolo12n yolo26n",
    "SegmentationModel": "yolo11n-seg",
    "PoseModel": "yolo11n-pose",
    "OBBModel": "yolo11n-obb",
    "ClassificationModel": "yolov8n-cls",
}
_SEGMENTATION = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet DeepLabV3 DeepLabV3Plus PAN UPerNet Segformer"


def _ultralytics() -> list[Model]:
    return [_of_ultralytics(kind, name) for kind, names in _YOLOS.items() for name in names.split()]


def _of_ultralytics(kind: str, name: str) -> Model:
    def make() -> Any:
        from ultralytics.nn import tasks  # pyright: ignore[reportMissingImports]

        return getattr(tasks, kind)(f"{name}.yaml", verbose=False)

    return Model("ultralytics", name, make, {"x": "float32[N, 3, 320, 320]"}, BATCH)


def _segmentation() -> list[Model]:
    return [_of_segmentation(name) for name in _SEGMENTATION.split()]


def _of_segmentation(name: str) -> Model:
    def make() -> Any:
        import segmentation_models_pytorch as smp  # pyright: ignore[reportMissingImports]

        return getattr(smp, name)("resnet18", encoder_weights=None)

    return Model("smp", f"smp-{name}", make, {"x": "float32[N, 3, 128, 128]"}, BATCH)
