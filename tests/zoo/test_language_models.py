"""Language models compute what transformers does, token by token with a cache of keys and values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.zoo_entries import EXAMPLES
from tests.closeness import distance
from trtdsl import reference
from trtdsl.elaborate import elaborate_file
from trtdsl.evaluate import evaluate
from trtdsl.passes import optimize
from trtdsl.reference import to_numpy
from trtdsl.trt.lower import LoweredNetwork, lower
from trtdsl.weights import bind

LIMIT = 3e-6
SIZES = {"vocabulary": 50, "width": 32, "depth": 2, "heads": 4, "kv_heads": 2, "hidden": 48}


def small_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.2)
    return model


@pytest.fixture(scope="module")
def llama() -> tuple[Any, Any, LoweredNetwork]:
    """The original, our graph with its weights, and the network of it."""
    module = small_llama()
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    graph = bind(elaborate_file(EXAMPLES / "llama" / "llama.trtnet", defines=SIZES), state).graph
    assert {weight.key for weight in graph.weights} == set(state)
    return module, graph, lower(optimize(graph))


def step(tokens: torch.Tensor, cache: torch.Tensor) -> dict[str, torch.Tensor]:
    """The inputs for tokens that follow what the cache holds."""
    batch, count = tokens.shape
    past = cache.shape[4]
    positions = torch.arange(past, past + count).expand(batch, count)
    mask = torch.ones(count, past + count, dtype=torch.bool).tril(past).expand(batch, 1, -1, -1)
    return {"tokens": tokens, "positions": positions, "past": cache, "mask": mask}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("counts", [(6,), (1, 1, 1), (4, 1, 1), (3, 2)])
def test_llama_goes_on_from_its_cache(llama: Any, batch: int, counts: tuple[int, ...]) -> None:
    module, graph, lowered = llama
    tokens = torch.randint(0, 50, (batch, sum(counts)), generator=torch.Generator().manual_seed(batch))
    with torch.no_grad():
        wanted = module(tokens, use_cache=False).logits
    cache, done = torch.zeros(2, 2, batch, 2, 0, 8), 0
    for count in counts:
        inputs = step(tokens[:, done : done + count], cache)
        done += count
        meant = reference.run(graph, inputs)
        found = evaluate(lowered.network, inputs, weights=lowered.weights)
        for outputs in (meant, found):
            assert distance(outputs["logits"], wanted[:, done - 1]) < LIMIT
        assert distance(found["cache"], meant["cache"]) < LIMIT
        cache = found["cache"]
    assert cache.shape == (2, 2, batch, 2, sum(counts), 8)


def test_llamas_cache_is_the_originals(llama: Any) -> None:
    module, _, lowered = llama
    tokens = torch.randint(0, 50, (2, 5), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        layers = module(tokens, use_cache=True).past_key_values.layers
    wanted = torch.stack([torch.stack([layer.keys, layer.values]) for layer in layers])
    inputs = step(tokens, torch.zeros(2, 2, 2, 2, 0, 8))
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    assert distance(found["cache"], wanted) < LIMIT


def test_llama_that_sees_what_follows_is_seen(llama: Any) -> None:
    """A wrong mask is far beyond what rounding does."""
    module, graph, _ = llama
    tokens = torch.randint(0, 50, (2, 5), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = module(tokens, use_cache=False).logits
    inputs = step(tokens, torch.zeros(2, 2, 2, 2, 0, 8))
    inputs["mask"] = torch.ones_like(inputs["mask"])
    assert distance(reference.run(graph, inputs)["logits"], wanted[:, -1]) > 100 * LIMIT


@pytest.mark.parametrize(
    ("name", "vocabulary", "width", "depth", "heads", "kv_heads", "hidden"),
    [
        ("llama2_7b", 32000, 4096, 32, 32, 32, 11008),
        ("tinyllama", 32000, 2048, 22, 32, 4, 5632),
        ("llama3_8b", 128256, 4096, 32, 32, 8, 14336),
        ("llama3_70b", 128256, 8192, 80, 64, 8, 28672),
    ],
)
def test_published_sizes_have_the_originals_weights(
    name: str, vocabulary: int, width: int, depth: int, heads: int, kv_heads: int, hidden: int
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=hidden,
    )
    with torch.device("meta"):
        state = LlamaForCausalLM(config).state_dict()
    graph = elaborate_file(EXAMPLES / "llama" / "llama.trtnet", name)
    assert {weight.key: weight.type.shape for weight in graph.weights} == {
        key: tuple(value.shape) for key, value in state.items()
    }
