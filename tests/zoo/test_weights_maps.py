"""Examples take checkpoints of other packages by the maps beside them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer

from benchmarks.zoo_entries import EXAMPLES
from tests.closeness import require_close
from tests.zoo.entries import BY_NAME, ZOO, original, random_inputs
from tests.zoo.test_examples import LARGE
from trtdsl import reference
from trtdsl.diagnostics import Source
from trtdsl.elaborate import elaborate
from trtdsl.ir import Graph
from trtdsl.reference import to_numpy
from trtdsl.weights import bind
from trtdsl.weights.entries import keys_read

VIT = EXAMPLES / "vit" / "vit.trtnet"


def mapped(path: Path, lines: str, model: str, **defines: Any) -> Graph:
    source = Source(lines, (path.parent / lines).read_text())
    return elaborate(path.read_text(), str(path), model, defines, weights_map=source).graph


NAMES = {
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
    "vit_h_14": "vit_huge_patch14_224",
}


def test_no_classifier_of_torchvision_is_missing() -> None:
    written = {example.name for example in ZOO} | {model for _, model, _ in LARGE} | {*NAMES}
    assert {*models.list_models(models)} <= written


@pytest.mark.parametrize(("original", "model"), NAMES.items())
def test_torchvisions_vision_transformers_have_each_weight(original: str, model: str) -> None:
    with torch.device("meta"):
        state = models.get_model(original).state_dict()
    assert {*keys_read(mapped(VIT, "torchvision.map", model), state)} == {*state}


def test_torchvisions_vision_transformers_compute_the_same() -> None:
    module = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=64, num_classes=10)
    noise = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3, generator=noise)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    sizes = {"classes": 10, "size": 32, "patch": 8, "depth": 2, "heads": 2, "width": 16}
    graph = bind(mapped(VIT, "torchvision.map", "vit", **sizes), state).graph
    image = torch.randn(3, 3, 32, 32, generator=noise)
    with torch.no_grad():
        wanted = module.eval()(image)
    require_close(reference.run(graph, {"image": image})["logits"], wanted)


def test_depth_anything_is_read_as_transformers_saves_it(tmp_path: Path) -> None:
    entry = BY_NAME["depth_anything_tiny"]
    module: Any = original(entry)
    module.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    graph = mapped(entry.path, "hub.map", entry.model, **entry.defines)
    unread = {key for key in state if any(fnmatchcase(key, pattern) for pattern in entry.unread)}
    assert {*keys_read(graph, state)} == {*state} - unread
    bound = bind(graph, state).graph
    sizes = {symbol.name: symbol.minimum for symbol in graph.symbols}
    inputs = random_inputs(entry, graph, sizes)
    (found,) = reference.run(bound, inputs).values()
    with torch.no_grad():
        require_close(found, module.eval()(*inputs.values()).predicted_depth)
