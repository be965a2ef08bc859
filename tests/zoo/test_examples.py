"""Every example has exactly the weights of the PyTorch module it stands for, and computes the same."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torchvision.models.regnet import BlockParams

from trtdsl.elaborate import elaborate as elaborate_text
from trtdsl.elaborate import elaborate_file
from trtdsl.ir import Graph
from trtdsl.syntax import format_text
from trtdsl.weights.entries import keys_read

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
TEXTS = sorted([*EXAMPLES.glob("*/*.trtnet"), *ROOT.glob("trtdsl/std/*.trtnet")])


LANGUAGE_MODELS = ("llama/llama.trtnet", "gpt2/gpt2.trtnet")
"""Examples whose inputs are not images: tests/zoo/test_language_models.py and test_gpt2.py hold them against
transformers."""

TEXT_ENCODERS = ("bert/bert.trtnet", "t5/t5.trtnet")
"""Likewise: tests/zoo/test_text_encoders.py holds them against transformers."""

TASKS = ("digits/digits.trtnet", "mtcnn/mtcnn.trtnet", "silero_vad/silero_vad.trtnet", "video/watch.trtnet")
"""Examples with weights that do work: tests/tasks holds them against the packages that the weights are of."""

RECURRENT = ("lstm/lstm.trtnet",)
"""Examples over sequences: tests/zoo/test_recurrent_examples.py holds them against PyTorch."""

DETECTORS = ("yolo/yolov8.trtnet",)
"""Examples whose originals no package of ours has: tests/zoo/test_detectors.py has them itself."""


TORCHVISION = {
    "convnext": ("convnext_small", "convnext_base", "convnext_large"),
    "efficientnet": ("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"),
    "regnet": (
        *(
            "regnet_x_400mf",
            "regnet_x_800mf",
            "regnet_x_1_6gf",
            "regnet_x_3_2gf",
            "regnet_x_8gf",
            "regnet_x_16gf",
        ),
        *("regnet_x_32gf", "regnet_y_800mf", "regnet_y_1_6gf", "regnet_y_3_2gf", "regnet_y_8gf"),
        *("regnet_y_16gf", "regnet_y_32gf", "regnet_y_128gf"),
    ),
    "swin": ("swin_t", "swin_s", "swin_b", "swin_v2_s", "swin_v2_b"),
}
TIMM = {
    "vit": (
        *("vit_small_patch32_224", "vit_small_patch16_224", "vit_base_patch8_224", "vit_large_patch32_224"),
        *("vit_large_patch16_224", "vit_huge_patch14_224", "vit_base_patch32_384", "vit_base_patch16_384"),
        "vit_large_patch16_384",
    ),
}
LARGE = [
    *(
        (f"{x}/{x}.trtnet", model, "torchvision.models")
        for x, family in TORCHVISION.items()
        for model in family
    ),
    *(
        (f"{x}/{x}.trtnet", model, "timm.models.vision_transformer")
        for x, family in TIMM.items()
        for model in family
    ),
]
"""Of families whose smaller models are in the zoo: they add no layer to those, and take long to compute."""


@dataclass(frozen=True)
class Example:
    """One line of ``examples/zoo.json``."""

    name: str
    file: str
    model: str
    defines: dict[str, Any]
    oracle: str
    arguments: dict[str, Any]
    inputs: dict[str, list[int]]


ZOO = [Example(**entry) for entry in json.loads((EXAMPLES / "zoo.json").read_text())]


def load_oracle(oracle: str) -> Callable[..., nn.Module]:
    """The callable that ``module:name``, or ``path.py:name`` under ``examples/``, stands for."""
    module_name, _, name = oracle.partition(":")
    if not module_name.endswith(".py"):
        return getattr(importlib.import_module(module_name), name)
    spec = importlib.util.spec_from_file_location(Path(module_name).stem, EXAMPLES / module_name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def oracle_shapes(example: Example) -> dict[str, tuple[int, ...]]:
    """Key and shape of everything that the oracle's eval-mode forward reads."""
    return shapes(without_values(example.oracle, **example.arguments))


def without_values(oracle: str, **arguments: Any) -> nn.Module:
    """The oracle on the meta device."""
    sizes = BlockParams.from_init_params

    def with_values(*given: Any, **named: Any) -> BlockParams:
        with torch.device("cpu"):  # RegNet computes its sizes by tensors
            return sizes(*given, **named)

    with torch.device("meta"), patch.object(BlockParams, "from_init_params", with_values):
        return load_oracle(oracle)(**arguments)


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of all of a module's state that its eval-mode forward reads."""
    state = module.state_dict()
    return {
        key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")
    }


def elaborate(example: Example) -> Graph:
    return elaborate_file(EXAMPLES / example.file, model=example.model, defines=example.defines)


@pytest.mark.parametrize("example", ZOO, ids=lambda example: example.name)
def test_weights_and_inputs_are_the_oracles(example: Example) -> None:
    graph = elaborate(example)
    if any(weight.stored for weight in graph.weights):
        state = load_oracle(example.oracle)(**example.arguments).state_dict()
        assert {*keys_read(graph, state)} == {*state}
    else:
        assert {weight.key: weight.type.shape for weight in graph.weights} == oracle_shapes(example)
    assert {value.name: list(value.type.shape[1:]) for value in graph.inputs} == example.inputs


@pytest.mark.parametrize(("file", "model", "oracle"), LARGE)
def test_large_models_have_the_originals_weights(file: str, model: str, oracle: str) -> None:
    found = {weight.key: weight.type.shape for weight in elaborate_file(EXAMPLES / file, model).weights}
    assert found == shapes(without_values(f"{oracle}:{model}", num_classes=1000))


def test_the_article_warns_that_the_batch_grows() -> None:
    path = EXAMPLES / "cnn" / "article.trtnet"
    (warning,) = elaborate_text(path.read_text(), str(path)).warnings
    assert warning.severity == "warning"
    assert "`N` is now `4 * N`" in warning.message


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_examples_and_standard_blocks_are_formatted(path: Path) -> None:
    text = path.read_text()
    assert format_text(text, str(path)) == text


def test_every_example_is_in_the_zoo() -> None:
    files = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.glob("*/*.trtnet")}
    assert files == {example.file for example in ZOO} | {
        *LANGUAGE_MODELS,
        *TEXT_ENCODERS,
        *RECURRENT,
        *DETECTORS,
        *TASKS,
    }
