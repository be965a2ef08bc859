"""Let a language model write on: one engine reads the prompt, then writes one token after the other.

    python examples/llama/generate.py FOLDER "The capital of France is" --tokens 40 --precision float16

FOLDER is a checkpoint as transformers saves it, of a Llama, Mistral, Qwen2, Qwen3, Gemma or GPT-2:
config.json, model.safetensors or its shards, and tokenizer.json. Without a tokenizer the prompt is numbers,
"17 4 230". The text has a profile for each of the two, `default` for prompts and `decode` for one token.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import trtdsl

Array = npt.NDArray[Any]
EXAMPLES = Path(__file__).resolve().parents[1]

SIZES = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "hidden": "intermediate_size",
}
"""The parameters of llama.trtnet, and what a configuration calls them."""
GPT2_SIZES = {
    "vocabulary": "vocab_size",
    "width": "n_embd",
    "depth": "n_layer",
    "heads": "n_head",
    "positions": "n_positions",
}


class Writer:
    """A network of llama.trtnet, qwen3.trtnet, gemma.trtnet or gpt2.trtnet, and the cache it goes on from.

    A token sees itself and those before it, in a `window` of so many where there is one.
    """

    def __init__(self, network: trtdsl.Runner, window: int | None = None) -> None:
        self.network = network
        self.window = window
        inputs = {binding.name: binding for binding in network.inputs}
        self._names = inputs.keys()
        self._cache_shape = inputs["past"].shape
        self._most = network.manifest.profiles[0].dims["S"][2]
        self.forget()

    def forget(self, batch: int = 1) -> None:
        """Begin new texts."""
        sizes = {"N": batch, "P": 0}
        shape = [size if isinstance(size, int) else sizes[size] for size in self._cache_shape]
        self._past = np.zeros(shape, np.float32)

    def read(self, tokens: Array) -> Array:
        """The logits, float32[N, vocabulary], of what follows all that was read and `tokens`, int64[N, S]."""
        *pieces, last = np.split(tokens, range(self._most, tokens.shape[1], self._most), axis=1)
        for piece in pieces:
            self._read(piece)
        return self._read(last)

    def _read(self, piece: Array) -> Array:
        found = self.network.run(self.inputs(piece))
        self._past = found["cache"]
        return found["logits"]

    def inputs(self, tokens: Array) -> dict[str, Array]:
        """Of those that the network has; the tokens stand behind the ones that were read."""
        batch, count = tokens.shape
        past = self._past.shape[4]
        positions = np.arange(past, past + count)
        distance = positions[:, None] - np.arange(past + count)
        sees = (distance >= 0) & (distance < (self.window or np.inf))
        every = {
            "tokens": tokens,
            "positions": np.ascontiguousarray(np.broadcast_to(positions, (batch, count))),
            "past": self._past,
            "mask": np.ascontiguousarray(np.broadcast_to(sees, (batch, 1, *sees.shape))),
        }
        return {name: every[name] for name in self._names}

    def write(self, prompt: Array, count: int) -> Iterator[Array]:
        """The likeliest token of each text, int64[N], `count` times."""
        self.forget(len(prompt))
        tokens = prompt
        for _ in range(count):
            tokens = self.read(tokens).argmax(-1)[:, None]
            yield tokens[:, 0]


def load(folder: Path, **choices: Any) -> Writer:
    """The writer of a checkpoint; `choices` are those of `trtdsl.load`."""
    config = json.loads((folder / "config.json").read_text())
    text, model, parameters = described(config)
    shards = folder / "model.safetensors.index.json"
    weights = shards if shards.exists() else folder / "model.safetensors"
    # Checkpoints are often in bfloat16; the text is in float32, and the precision is chosen apart.
    check = trtdsl.CheckOptions(model=model, defines=parameters, weights_dtype="model")
    if any(key.startswith("transformer.") for key in trtdsl.load_weights(weights)):  # some of GPT-2
        check = replace(check, weights_prefix="transformer.")
    network = trtdsl.load(EXAMPLES / text, weights, check=check, **choices)
    return Writer(network, config.get("sliding_window") if config.get("use_sliding_window", True) else None)


def described(config: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The text, the model in it, and its parameters for the configuration of a checkpoint."""
    kind = config["model_type"]
    if kind == "gpt2":
        return "gpt2/gpt2.trtnet", "gpt2", {ours: config[name] for ours, name in GPT2_SIZES.items()}
    sizes: dict[str, Any] = {ours: config[name] for ours, name in SIZES.items()}
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    scaling = rotary.get("rope_type", "default")
    if scaling not in ("default", "llama3"):
        raise SystemExit(f"the texts do not have rotary embedding of the type `{scaling}`")
    theta = {"theta": rotary.get("rope_theta") or config["rope_theta"]}
    tied = {"tied": config.get("tie_word_embeddings", False)}
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    if kind in ("llama", "mistral"):
        factor = {"factor": rotary["factor"] if scaling == "llama3" else None, "eps": config["rms_norm_eps"]}
        return "llama/llama.trtnet", "llama", sizes | theta | tied | factor
    if kind in ("qwen2", "qwen3"):
        kinds = {"head_width": width, "head_norm": kind == "qwen3", "bias": kind == "qwen2"}
        return "qwen3/qwen3.trtnet", "qwen3", sizes | theta | tied | kinds
    if kind == "gemma":
        return "gemma/gemma.trtnet", "gemma", sizes | {"head_width": width}
    raise SystemExit(f"there is no text for a `{kind}`")


def spoken(folder: Path, prompt: str) -> tuple[Sequence[int], Any]:
    """The tokens of a prompt, and the tokenizer, where there is one."""
    if not (folder / "tokenizer.json").exists():
        words = prompt.split()
        if not all(map(str.isdecimal, words)):
            raise SystemExit(
                f"{folder} has no tokenizer.json: give the prompt as numbers of tokens, '17 4 230'"
            )
        return [int(word) for word in words], None
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return tokenizer.encode(prompt).ids, tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("--tokens", type=int, default=40, help="how many to write, by default 40")
    parser.add_argument("--precision", help="float32, float16, int8-weights or int4")
    parser.add_argument("--device", choices=["gpu", "cpu"], help="by default the GPU, where there is one")
    given = parser.parse_args()

    options = trtdsl.CompileOptions(precision=given.precision)
    writer = load(given.folder, device=given.device, options=options)
    prompt, tokenizer = spoken(given.folder, given.prompt)
    begin, written, times = time.perf_counter(), list(prompt), []
    for token in writer.write(np.array([prompt], np.int64), given.tokens):
        written.append(int(token[0]))
        times.append(time.perf_counter())
    print(tokenizer.decode(written) if tokenizer else " ".join(map(str, written)))
    first, each = times[0] - begin, (times[-1] - times[0]) / max(1, len(times) - 1)
    print(f"{len(prompt)} tokens read in {1e3 * first:.0f} ms, then {1e3 * each:.1f} ms a token", end="")
    print(f" on {writer.network.place}")


if __name__ == "__main__":
    main()
