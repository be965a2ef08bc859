"""Language models write what transformers' `generate` writes, token for token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tasks.scripts import script
from trtdsl.runtime.binding import choose_profile

generate: Any = script("llama/generate.py")

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 20000,
}
STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
NO_END = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
CASES = {
    "llama": ("Llama", SMALL | {"tie_word_embeddings": False}),
    "llama3_2": ("Llama", SMALL | {"tie_word_embeddings": True, "rope_parameters": STRETCHED}),
    "mistral": ("Mistral", SMALL | {"sliding_window": 9}),
    "qwen2_5": ("Qwen2", SMALL | {"use_sliding_window": False}),
    "qwen3": ("Qwen3", SMALL | {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3_8b": ("Qwen3", SMALL | {"head_dim": 16, "tie_word_embeddings": False}),
    "gemma": ("Gemma", SMALL | {"head_dim": 16}),
    "gpt2": ("GPT2", {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4}),
}


@pytest.fixture(scope="module", params=CASES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A small model of transformers, and the writer of its checkpoint."""
    kind, config = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    module = original(kind, **config)
    module.save_pretrained(folder)
    return module, generate.load(folder, device="cpu")


def original(kind: str, **config: Any) -> Any:
    """With weights of which no text repeats itself soon."""
    transformers = pytest.importorskip("transformers")
    name = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    module = getattr(transformers, name)(getattr(transformers, f"{kind}Config")(**config, **NO_END)).eval()
    torch.manual_seed(3)
    for name, parameter in module.named_parameters():
        is_gain = parameter.dim() == 1 and name.endswith("weight") and kind != "Gemma"
        torch.nn.init.normal_(parameter, 1.0 if is_gain else 0.0, 0.6)
    return module


def prompts(batch: int, length: int) -> torch.Tensor:
    return torch.randint(0, 97, (batch, length), generator=torch.Generator().manual_seed(length))


def test_a_prompt_without_a_tokenizer(tmp_path: Path) -> None:
    assert generate.spoken(tmp_path, "17 4") == ([17, 4], None)
    with pytest.raises(SystemExit, match=r"has no tokenizer\.json: give the prompt as numbers"):
        generate.spoken(tmp_path, "hello")


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (2, 7)])
def test_writes_what_transformers_generates(both: tuple[Any, Any], batch: int, length: int) -> None:
    module, writer = both
    prompt = prompts(batch, length)
    wanted = module.generate(prompt, max_new_tokens=24, do_sample=False, pad_token_id=0)[:, length:]
    found = np.stack(list(writer.write(prompt.numpy(), 24)), 1)
    assert found.tolist() == wanted.tolist()
    if batch == 2:
        assert found[0].tolist() != found[1].tolist()  # or a model that looks at nothing would do


def test_a_prompt_may_come_in_pieces(both: tuple[Any, Any]) -> None:
    _, writer = both
    prompt = prompts(2, 11).numpy()
    writer.forget(2)
    whole = writer.read(prompt)
    writer.forget(2)
    found = [writer.read(piece) for piece in np.split(prompt, [4, 5, 9], axis=1)]
    np.testing.assert_allclose(found[-1], whole, rtol=1e-4, atol=1e-4)


def test_prompt_and_token_have_a_profile_each(both: tuple[Any, Any]) -> None:
    _, writer = both
    manifest = writer.network.manifest
    assert [profile.name for profile in manifest.profiles] == ["default", "decode"]
    writer.forget()
    for count, profile in ((300, 0), (1, 1), (1, 1)):
        tokens = np.zeros((1, count), np.int64)
        inputs = writer.inputs(tokens)
        assert choose_profile(manifest, {name: array.shape for name, array in inputs.items()}) == profile
        writer.read(tokens)


def test_a_window_that_is_not_looked_through_is_seen(tmp_path: Path) -> None:
    module = original("Mistral", **CASES["mistral"][1])
    module.save_pretrained(tmp_path)
    writer = generate.load(tmp_path, device="cpu")
    writer.window = None
    prompt = prompts(1, 12)
    wanted = module.generate(prompt, max_new_tokens=24, do_sample=False, pad_token_id=0)[:, 12:]
    assert np.stack(list(writer.write(prompt.numpy(), 24)), 1).tolist() != wanted.tolist()
