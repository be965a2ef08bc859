"""Every example has exactly the weights of the PyTorch module it stands for, and computes the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from benchmarks.zoo_entries import EXAMPLES, Entry
from tests.zoo.entries import ZOO, elaborate, is_read, parameters, shape_of, state_read, without_values
from trtdsl.elaborate import elaborate as elaborate_text
from trtdsl.elaborate import elaborate_file
from trtdsl.ir import Graph
from trtdsl.syntax import format_text
from trtdsl.weights import bind
from trtdsl.weights.entries import keys_read

ROOT = Path(__file__).resolve().parents[2]
MODEL = re.compile(r"^model (\w+)", re.MULTILINE)
TEXTS = sorted([*EXAMPLES.glob("*/*.trtnet"), *ROOT.glob("trtdsl/std/*.trtnet")])


TASKS = ("digits/digits.trtnet", "mtcnn/mtcnn.trtnet", "silero_vad/silero_vad.trtnet", "video/watch.trtnet")
"""Examples with weights that do work: tests/tasks holds them against the packages that the weights are of."""

IMPORTED = ("yolo/common.trtnet", "yolo/head.trtnet")
"""What examples beside it import; there is no model in it."""


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


@pytest.mark.parametrize("entry", parameters(ZOO, "quick"))
def test_weights_and_inputs_are_the_oracles(entry: Entry) -> None:
    graph, module = elaborate(entry), without_values(entry.oracle, **entry.arguments)
    state = state_read(entry, module)
    if any(weight.stored for weight in graph.weights):
        checkpoint = zeros(state)
        assert {*keys_read(graph, checkpoint)} == {*state}
        bind(graph, checkpoint)  # and of the shapes that its layers need
    else:
        assert {weight.key: weight.type.shape for weight in graph.weights} == shapes(state)
    assert {name: each.shape for name, each in entry.inputs.items()} == {
        value.name: shape_of(value) for value in graph.inputs
    }
    assert {name: each.type for name, each in entry.inputs.items()} == {
        value.name: value.type.dtype.value for value in graph.inputs
    }
    require_same_epsilons(graph, module)


def require_same_epsilons(graph: Graph, module: nn.Module) -> None:
    """Of normalisations with weights, whose keys lead to their modules: no shape tells an epsilon, and only
    `make zoo` computes the larger networks."""
    modules = dict(module.named_modules())
    for node in graph.nodes:
        for weight in node.weights.values():
            ours: Any = node.op
            theirs: Any = modules.get(weight.key.rpartition(".")[0])
            if hasattr(ours, "eps") and hasattr(theirs, "eps"):
                assert ours.eps == theirs.eps, weight.key


@pytest.mark.parametrize(("file", "model", "oracle"), LARGE)
def test_large_models_have_the_originals_weights(file: str, model: str, oracle: str) -> None:
    graph = elaborate_file(EXAMPLES / file, model)
    module = without_values(f"{oracle}:{model}", num_classes=1000)
    found = {weight.key: weight.type.shape for weight in graph.weights}
    assert found == shapes({key: x for key, x in module.state_dict().items() if is_read(key)})
    require_same_epsilons(graph, module)


def sizes_of_timm() -> list[tuple[str, str]]:
    """The file and name of each model of a file with originals of timm that timm has and the zoo has not."""
    files = sorted({entry.file for entry in ZOO if entry.oracle.startswith("timm.models:")})
    named = [(file, name) for file in files for name in MODEL.findall((EXAMPLES / file).read_text())]
    compared = {entry.model for entry in ZOO}
    return [(file, name) for file, name in named if name not in compared and timm.is_model(name)]


@pytest.mark.zoo
@pytest.mark.parametrize(("file", "model"), sizes_of_timm())
def test_each_size_has_the_weights_of_timm(file: str, model: str) -> None:
    found = {weight.key: weight.type.shape for weight in elaborate_file(EXAMPLES / file, model).weights}
    state = without_values(f"timm.models:{model}").state_dict()
    assert found == shapes({key: x for key, x in state.items() if is_read(key)})


def shapes(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def zeros(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """A checkpoint of these keys, shapes and dtypes that takes no memory."""
    return {
        key: np.broadcast_to(torch.zeros((), dtype=value.dtype).numpy(), tuple(value.shape))
        for key, value in state.items()
    }


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
    assert files == {entry.file for entry in ZOO} | {
        *IMPORTED,
        *TASKS,
    }
