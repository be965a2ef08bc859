"""Models for the importer: how each is made, and what it is called with.

Random weights; sizes are cut where a class takes any, so that an import takes seconds.  timm's are drawn with
``random.Random(20261125)`` from its modules, one small model each, and some well-known ones beside them.
Those of :mod:`import_held_out` were drawn after the importer was written, which had seen none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
    group: str = ""
    """of models beside those that the importer was written with: `held out`, `dynamic`, `depth`"""


def models() -> list[Model]:
    """All of them."""
    from import_held_out import held_out

    known = [*_torchvision(), *_timm(), *_transformers(), *_ultralytics(), *_segmentation()]
    return [*known, *held_out(), *_dynamic(), *_deep()]


# --- torchvision ------------------------------------------------------------------------------------------

_CLASSIFIERS = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t"
    " mnasnet1_0 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18"
    " resnet50 resnext50_32x4d shufflenet_v2_x1_0 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vit_b_16"
    " wide_resnet50_2"
)
_SEGMENTERS = "deeplabv3_resnet50 fcn_resnet50 lraspp_mobilenet_v3_large"
_DETECTORS = (
    "fasterrcnn_resnet50_fpn retinanet_resnet50_fpn fcos_resnet50_fpn ssd300_vgg16"
    " ssdlite320_mobilenet_v3_large"
)
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
    return [*found, *(_detection(name) for name in _DETECTORS.split())]


def _detection(name: str) -> Model:
    """Backbone and heads, without what makes boxes of them."""

    def make() -> Any:
        import torchvision
        from import_wrapped import Heads

        found: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        return Heads(found.backbone, found.rpn.head if hasattr(found, "rpn") else found.head)

    size = 300 if name.startswith("ssd300") else 320
    return Model("torchvision", f"{name}-heads", make, {"x": f"float32[N, 3, {size}, {size}]"}, BATCH)


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


_ANY_SIZE = (
    "convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 mnasnet1_0 mobilenet_v2"
    " mobilenet_v3_large regnet_y_400mf resnet18 shufflenet_v2_x1_0 squeezenet1_1 swin_t"
    " deeplabv3_resnet50 fcn_resnet50 lraspp_mobilenet_v3_large"
)


def _dynamic() -> list[Model]:
    """Networks for images of any size, height and width dynamic: those whose heads ask for no size."""
    dims = {**BATCH, "H": "96 .. 192 .. 320", "W": "96 .. 192 .. 320"}
    return [
        Model(
            "torchvision", f"{name}-hw", lambda name=name: _make_vision(name), {"x": _SIZED}, dims, "dynamic"
        )
        for name in _ANY_SIZE.split()
    ]


_SIZED = "float32[N, 3, H, W]"


def _deep() -> list[Model]:
    """Deeper ones of families that are in the list."""
    found = [replace(_vision(name, 224), group="depth") for name in ("resnet152", "densenet201")]
    config = {**DECODER, "num_hidden_layers": 32}
    llama = of_transformers("llama-32-layers", ("LlamaForCausalLM", "LlamaConfig", config), TEXT, SEQUENCE)
    return [*found, replace(llama, group="depth")]


# --- timm -------------------------------------------------------------------------------------------------

_TIMM = (
    "edgenext_xx_small gcvit_xxtiny convnext_atto convnextv2_atto deit_tiny_patch16_224 beit_base_patch16_224"
    " mobilenetv4_conv_small regnety_002 resnest14d sequencer2d_s tnt_s_legacy_patch16_224 volo_d1_224"
    " nf_resnet50 nf_seresnet101 tresnet_m mvitv2_tiny maxvit_tiny_rw_224 coatnet_nano_rw_224 poolformer_s12"
    " mixer_s32_224 dla34 hrnet_w18_small ghostnet_100 levit_128s fastvit_t8 repvgg_a0 efficientformer_l1"
    " xcit_nano_12_p16_224 crossvit_tiny_240 visformer_tiny pit_ti_224 botnet26t_256 twins_pcpvt_small"
    " davit_tiny focalnet_tiny_srf eva02_tiny_patch14_224 hiera_tiny_224 inception_v4 cspresnet50 darknet53"
    " res2net50_26w_4s skresnet18 rexnet_100 selecsls42 tinynet_a ese_vovnet19b_dw mobileone_s0 dpn48b"
    " tf_efficientnet_b0 ghostnetv2_100 seresnet18 cspdarknet53 eca_nfnet_l0 dm_nfnet_f0"
    " swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 vit_tiny_patch16_224 regnetx_002"
)
_TIMM_SIZES = {
    "crossvit_tiny_240": 240,
    "botnet26t_256": 256,
    "inception_v4": 299,
    "swinv2_tiny_window8_256": 256,
}


def _timm() -> list[Model]:
    return [of_timm(name, _TIMM_SIZES.get(name, 224)) for name in _TIMM.split()]


def of_timm(name: str, size: int) -> Model:
    """One of timm's models for square images of a size."""

    def make() -> Any:
        import timm

        return timm.create_model(name, pretrained=False)

    return Model("timm", name, make, {"x": f"float32[N, 3, {size}, {size}]"}, BATCH)


# --- transformers -----------------------------------------------------------------------------------------

SMALL = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
DECODER = {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 128, "use_cache": False}
_TEXTS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "bert": ("BertModel", "BertConfig", SMALL),
    "roberta": ("RobertaModel", "RobertaConfig", {**SMALL, "max_position_embeddings": 130}),
    "electra": ("ElectraModel", "ElectraConfig", {**SMALL, "embedding_size": 32}),
    "albert": ("AlbertModel", "AlbertConfig", {**SMALL, "embedding_size": 32}),
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
    "llama": ("LlamaForCausalLM", "LlamaConfig", DECODER),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**DECODER, "head_dim": 16}),
    "mistral": ("MistralForCausalLM", "MistralConfig", DECODER),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**DECODER, "head_dim": 16}),
    "phi": ("PhiForCausalLM", "PhiConfig", DECODER),
    "clip-text": ("CLIPTextModel", "CLIPTextConfig", {**SMALL, "max_position_embeddings": 128}),
    "t5-encoder": (
        "T5EncoderModel",
        "T5Config",
        {"vocab_size": 100, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 3, "num_heads": 4},
    ),
}
VIT = {
    **{key: value for key, value in SMALL.items() if key != "vocab_size"},
    "image_size": 64,
    "patch_size": 16,
}
_WHISPER = {
    "vocab_size": 100, "d_model": 64, "encoder_layers": 3, "decoder_layers": 3,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128, "max_source_positions": 50, "max_target_positions": 128, "use_cache": False,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1,
}  # fmt: skip
_RESNET = {
    "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1], "embedding_size": 16,
    "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip
_IMAGES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "vit": ("ViTModel", "ViTConfig", VIT),
    "deit": ("DeiTModel", "DeiTConfig", VIT),
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
    "clip-vision": ("CLIPVisionModel", "CLIPVisionConfig", VIT),
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
    "upernet": (
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        {
            "backbone_config": (
                "ResNetConfig",
                {**_RESNET, "out_features": ["stage1", "stage2", "stage3", "stage4"]},
            ),
            "hidden_size": 32,
            "num_labels": 5,
            "pool_scales": [1, 2],
            "auxiliary_in_channels": 64,
        },
    ),
    "detr": (
        "DetrModel",
        "DetrConfig",
        {
            "backbone_config": ("ResNetConfig", {**_RESNET, "out_features": ["stage4"]}),
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "d_model": 64,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 128,
            "decoder_ffn_dim": 128,
            "num_queries": 20,
        },
    ),
    "rt-detr": (
        "RTDetrModel",
        "RTDetrConfig",
        {
            "backbone_config": ("RTDetrResNetConfig", _RESNET),
            "d_model": 64,
            "encoder_hidden_dim": 64,
            "encoder_in_channels": [32, 64, 128],
            "decoder_in_channels": [64, 64, 64],
            "encoder_ffn_dim": 128,
            "decoder_ffn_dim": 128,
            "decoder_layers": 2,
            "num_queries": 10,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
        },
    ),
}


def _transformers() -> list[Model]:
    texts = [of_transformers(name, spec, TEXT, SEQUENCE) for name, spec in _TEXTS.items()]
    images = {"pixel_values": "float32[N, 3, 64, 64]"}
    sounds = {"input_features": "float32[N, 80, 100]", "decoder_input_ids": "int64[N, S]"}
    whisper = ("WhisperModel", "WhisperConfig", _WHISPER)
    return [
        *texts,
        of_transformers("whisper", whisper, sounds, SEQUENCE),
        *(of_transformers(name, spec, images, BATCH) for name, spec in _IMAGES.items()),
    ]


def of_transformers(
    name: str, spec: tuple[str, str, Mapping[str, Any]], inputs: Mapping[str, str], dims: Mapping[str, str]
) -> Model:
    """One of transformers' models: its class, its configuration's class and values."""
    model, config, values = spec

    def make() -> Any:
        import transformers

        # A configuration may hold that of another model: its class and values.
        given = {
            key: getattr(transformers, value[0])(**value[1]) if isinstance(value, tuple) else value
            for key, value in values.items()
        }
        return getattr(transformers, model)(getattr(transformers, config)(**given))

    return Model("transformers", name, make, inputs, dims)


# --- ultralytics and segmentation_models_pytorch ----------------------------------------------------------

_YOLOS = {
    "DetectionModel": "yolov3-tiny yolov5n yolov8n yolov9t yolov10n yolo11n yolo12n yolo26n",
    "SegmentationModel": "yolo11n-seg",
    "PoseModel": "yolo11n-pose",
    "OBBModel": "yolo11n-obb",
    "ClassificationModel": "yolov8n-cls yolo11n-cls",
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
