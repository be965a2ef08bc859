"""Encoders of texts read the state dicts of transformers' models and compute what those do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.zoo_entries import EXAMPLES
from tests.closeness import distance
from trtdsl import reference
from trtdsl.elaborate import elaborate_file
from trtdsl.evaluate import evaluate
from trtdsl.options import CompileOptions
from trtdsl.passes import optimize
from trtdsl.reference import to_numpy
from trtdsl.trt.build import build
from trtdsl.trt.lower import LoweredNetwork, lower
from trtdsl.weights import bind
from trtdsl.weights.entries import keys_read

BERT = EXAMPLES / "bert" / "bert.trtnet"
T5 = EXAMPLES / "t5" / "t5.trtnet"
LIMIT = 3e-6
SMALL = {"width": 32, "depth": 2, "heads": 2}
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
TINY_T5 = {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_kv": 8, "d_ff": 48}
SMALL_T5 = {"width": 32, "depth": 2, "heads": 2, "head_width": 8, "hidden": 48}
PAD = 1
ROBERTA = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": PAD,
}


def original(kind: str, **config: Any) -> Any:
    """transformers' model of a configuration."""
    transformers = pytest.importorskip("transformers")
    module = getattr(transformers, "T5EncoderModel" if kind == "T5" else f"{kind}Model")
    return module(getattr(transformers, f"{kind}Config")(**config)).eval()


def keys_of(module: Any) -> set[str]:
    """Of a module's state, less T5's second name for its words."""
    return {*module.state_dict()} - {"encoder.embed_tokens.weight"}


@dataclass(frozen=True)
class Case:
    """One small model, ours and the original."""

    model: str
    kind: str
    config: dict[str, Any]
    path: Path = BERT
    sizes: dict[str, int] = field(default_factory=lambda: SMALL)


CASES = [
    Case("bert", "Bert", TINY),
    Case("roberta", "Roberta", TINY | ROBERTA),
    Case("distilbert", "DistilBert", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 128}),
    Case("t5", "T5", TINY_T5 | {"feed_forward_proj": "relu"}, T5, SMALL_T5),
    Case("t5_v1_1", "T5", TINY_T5 | {"feed_forward_proj": "gated-gelu"}, T5, SMALL_T5),
]


@dataclass(frozen=True)
class Both:
    """The original, our graph with its weights, and the network of it."""

    module: Any
    graph: Any
    lowered: LoweredNetwork

    def require_equal(self, inputs: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            wanted = self.module(**inputs)
        found = evaluate(self.lowered.network, inputs, weights=self.lowered.weights)
        meant = reference.run(self.graph, inputs)
        for name in found:
            assert distance(meant[name], wanted[name]) < LIMIT, name
            assert distance(found[name], wanted[name]) < LIMIT, name


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.model)
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    case = request.param
    torch.manual_seed(0)
    module = original(case.kind, **case.config)
    for name, parameter in module.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "norm" in name.lower() else 0.0, 0.2)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    graph = elaborate_file(case.path, case.model, case.sizes)
    assert {*keys_read(graph, state)} == keys_of(module)
    graph = bind(graph, state).graph
    yield Both(module, graph, lower(optimize(graph)))


def texts(graph: Any, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Random tokens, of each text some at the end padding, and all its inputs have."""
    noise = torch.Generator().manual_seed(batch + length)
    lengths = torch.randint(1, length + 1, (batch, 1), generator=noise)
    mask = (torch.arange(length) < lengths).long()
    ids = torch.randint(2, 50, (batch, length), generator=noise) * mask + PAD * (1 - mask)
    types = torch.randint(0, 2, (batch, length), generator=noise)
    made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return {value.name: made[value.name] for value in graph.inputs}


@pytest.mark.parametrize("point", [0, 1, 2], ids=["min", "opt", "max"])
def test_equals_transformers(both: Both, point: int) -> None:
    ranges = both.graph.profiles[0].ranges
    both.require_equal(texts(both.graph, ranges["N"][point], ranges["S"][point]))


def test_is_built(both: Both) -> None:
    assert len(build(both.lowered, CompileOptions(targets=("sm89",)))) > 0


def test_a_mask_that_is_not_looked_at_is_seen(both: Both) -> None:
    inputs = texts(both.graph, 4, 20)
    with torch.no_grad():
        wanted = both.module(**inputs).last_hidden_state
    inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
    found = reference.run(both.graph, inputs)["last_hidden_state"]
    assert distance(found, wanted) > 100 * LIMIT


def test_embeddings_of_sentences() -> None:
    """Means over the tokens, of length 1, as sentence transformers pools."""
    module = original("Bert", **TINY)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    graph = bind(elaborate_file(BERT, "bert", {**SMALL, "sentences": True}), state).graph
    assert not any(weight.key.startswith("pooler") for weight in graph.weights)
    inputs = texts(graph, 3, 9)
    with torch.no_grad():
        states = module(**inputs).last_hidden_state
    means = [x[mask == 1].mean(0) for x, mask in zip(states, inputs["attention_mask"], strict=True)]
    wanted = torch.nn.functional.normalize(torch.stack(means))
    lowered = lower(optimize(graph))
    found = evaluate(lowered.network, inputs, weights=lowered.weights)["sentence_embedding"]
    assert distance(found, wanted) < LIMIT


LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


T5_SIZES = [
    ("t5_small", "relu", 512, 6, 8, 2048, 64),
    ("t5_base", "relu", 768, 12, 12, 3072, 64),
    ("t5_large", "relu", 1024, 24, 16, 4096, 64),
    ("t5_3b", "relu", 1024, 24, 32, 16384, 128),
    ("flan_t5_small", "gated-gelu", 512, 8, 6, 1024, 64),
    ("flan_t5_base", "gated-gelu", 768, 12, 12, 2048, 64),
    ("flan_t5_large", "gated-gelu", 1024, 24, 16, 2816, 64),
    ("flan_t5_xl", "gated-gelu", 2048, 24, 32, 5120, 64),
]
T5_NAMES = ("feed_forward_proj", "d_model", "num_layers", "num_heads", "d_ff", "d_kv")


@pytest.mark.parametrize(
    ("path", "model", "kind", "config"),
    [
        (BERT, "bert_base_uncased", "Bert", {}),
        (BERT, "bert_base_multilingual_cased", "Bert", {"vocab_size": 119547}),
        (BERT, "bert_large_uncased", "Bert", LARGE),
        (BERT, "roberta_base", "Roberta", ROBERTA),
        (BERT, "roberta_large", "Roberta", ROBERTA | LARGE),
        (BERT, "distilbert_base_uncased", "DistilBert", {}),
        *((T5, model, "T5", dict(zip(T5_NAMES, sizes, strict=True))) for model, *sizes in T5_SIZES),
    ],
)
def test_published_sizes_have_the_originals_weights(
    path: Path, model: str, kind: str, config: dict[str, Any]
) -> None:
    with torch.device("meta"):
        module = original(kind, **config)
    state = {key: np.broadcast_to(np.float32(0), x.shape) for key, x in module.state_dict().items()}
    graph = elaborate_file(path, model)
    assert {*keys_read(graph, state)} == keys_of(module)
    bind(graph, state)  # and of the shapes that its layers need
