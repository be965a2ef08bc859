"""Networks of torchvision and transformers, small, imported and compared with the originals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
import transformers
from torch import nn

from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.constructed import recording
from trtdsl.importers.module import import_module
from trtdsl.importers.verifying import compared
from trtdsl.syntax import format_text

DECODER: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "use_cache": False,
}
"""What the configurations of small decoders have in common."""


def llama() -> nn.Module:
    return transformers.LlamaModel(transformers.LlamaConfig(num_hidden_layers=3, **DECODER))


def mixtral() -> nn.Module:
    config = transformers.MixtralConfig(num_hidden_layers=2, num_local_experts=4, **DECODER)
    return transformers.MixtralModel(config)


Model = tuple[Callable[[], Any], dict[str, str], dict[str, str], int]

IMAGE = {"x": "float32[N, 3, 64, 64]"}
SMALL = {"N": "1 .. 2 .. 4"}
MODELS: dict[str, Model] = {
    "resnet18": (torchvision.models.resnet18, IMAGE, SMALL, 26),
    "mobilenet_v3_small": (torchvision.models.mobilenet_v3_small, IMAGE, SMALL, 104),
    "mixtral": (mixtral, {"input_ids": "int64[N, S] in 0 .. 63"}, SMALL | {"S": "2 .. 8 .. 60"}, 116),
    "llama": (llama, {"input_ids": "int64[N, S] in 0 .. 63"}, SMALL | {"S": "2 .. 8 .. 60"}, 84),
}


@pytest.mark.parametrize("name", MODELS)
def test_text_is_short_and_equal(name: str) -> None:
    make, inputs, dims, lines = MODELS[name]
    with recording() as constructed:
        module = make()
    imported = import_module(module, inputs, dims, name=name, constructed=constructed)
    assert len(imported.text.splitlines()) <= lines
    assert format_text(imported.text) == imported.text
    (found, *_) = compared(imported, module, is_fixed=True)
    assert found.verification.equal
    assert torch.is_grad_enabled()


def test_a_decoder_that_returns_its_cache_says_how_not_to() -> None:
    module = llama()
    module.config.use_cache = True  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]  # transformers'
    with pytest.raises(DiagnosticError) as caught:
        import_module(module, {"input_ids": "int64[2, 8] in 0 .. 63"})
    told = str(caught.value)
    assert "the module returns a `DynamicCache`, which is not a tensor" in told
    assert "`use_cache=False`" in told and "pytree" not in told
