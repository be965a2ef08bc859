"""GPT-2 computes what transformers does, token by token with a cache of keys and values."""

from __future__ import annotations

from typing import Any

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

GPT2 = EXAMPLES / "gpt2" / "gpt2.trtnet"
LIMIT = 3e-6


def original(**sizes: Any) -> Any:
    """The model with its tied head."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)).eval()


@pytest.fixture(scope="module")
def gpt2() -> tuple[Any, Any, LoweredNetwork]:
    """The original, our graph with its weights, and the network of it."""
    torch.manual_seed(0)
    module = original(vocab_size=50, n_embd=32, n_layer=2, n_head=4)
    for name, parameter in module.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "ln_" in name else 0.0, 0.2)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    sizes = {"vocabulary": 50, "width": 32, "depth": 2, "heads": 4}
    graph = elaborate_file(GPT2, "gpt2", sizes)
    graph = bind(graph, state, prefix="transformer.").graph
    return module, graph, lower(optimize(graph))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("counts", [(6,), (1, 1, 1), (4, 1, 1), (3, 2)])
def test_goes_on_from_its_cache(gpt2: Any, batch: int, counts: tuple[int, ...]) -> None:
    module, graph, lowered = gpt2
    tokens = torch.randint(0, 50, (batch, sum(counts)), generator=torch.Generator().manual_seed(batch))
    with torch.no_grad():
        wanted = module(tokens, use_cache=True)
    cache, done = torch.zeros(2, 2, batch, 4, 0, 8), 0
    for count in counts:
        inputs = {"tokens": tokens[:, done : done + count], "past": cache}
        done += count
        meant = reference.run(graph, inputs)
        found = evaluate(lowered.network, inputs, weights=lowered.weights)
        for outputs in (meant, found):
            assert distance(outputs["logits"], wanted.logits[:, done - 1]) < LIMIT
        cache = found["cache"]
    layers = wanted.past_key_values.layers
    assert distance(cache, torch.stack([torch.stack([x.keys, x.values]) for x in layers])) < LIMIT


def test_as_many_tokens_as_there_are_positions(gpt2: Any) -> None:
    module, _, lowered = gpt2
    tokens = torch.randint(0, 50, (2, 1024), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        wanted = module(tokens, use_cache=False).logits[:, -1]
    first, second = tokens.chunk(2, 1)
    inputs = {"tokens": first, "past": torch.zeros(2, 2, 2, 4, 0, 8)}
    cache = evaluate(lowered.network, inputs, weights=lowered.weights)["cache"]
    inputs = {"tokens": second, "past": cache}
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    assert distance(found["logits"], wanted) < LIMIT


def test_is_built(gpt2: Any) -> None:
    _, _, lowered = gpt2
    assert len(build(lowered, CompileOptions(targets=("sm89",)))) > 0


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("gpt2", {}),
        ("gpt2_medium", {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
        ("gpt2_large", {"n_embd": 1280, "n_layer": 36, "n_head": 20}),
        ("gpt2_xl", {"n_embd": 1600, "n_layer": 48, "n_head": 25}),
        ("distilgpt2", {"n_layer": 6}),
    ],
)
def test_published_sizes_have_the_originals_weights(model: str, sizes: dict[str, int]) -> None:
    with torch.device("meta"):
        module = original(**sizes)
    found = {weight.key: weight.type.shape for weight in elaborate_file(GPT2, model).weights}
    # A Conv1D keeps its matrix the other way around.
    assert found == {
        key: tuple(value.shape)[:: -1 if ".c_" in key else 1]
        for key, value in module.transformer.state_dict().items()
    }
