"""Models to export, with random weights, and scripts brought to life in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from trtdsl.elaborate import elaborate_file, elaborate_text
from trtdsl.exporters.script import Exported
from trtdsl.ir import Graph
from trtdsl.reference import random_weights
from trtdsl.trt.dialect import load_runtime

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

ENCODER = """
import "std/transformer.trtnet" as t

model encoder(vocabulary = 50, width = 32, depth = 2, batch = 2, length = 6) {
  dim N = 1 .. batch .. 2 * batch
  dim T = 1 .. length .. 2 * length
  input ids: int64[N, T] in 0 .. vocabulary - 1
  input padding: bool[N, T]
  x = ids -> tokens: Embedding(vocabulary, width)
  x = x + (arange(T) -> positions: Embedding(2 * length, width))
  for i in range(depth) {
    x = (x, none, padding)
        -> "layers.{i}": t.TransformerEncoderLayer(4, dim_feedforward = 2 * width, batch_first = true)
  }
  output y = x[:, 0] -> head: Linear(width // 4)
  output longest = argmax(y, 1)
}
"""

CHOICE = """
block Refine()(x) {
  return x -> second: Linear(16) -> tanh
}

model choice() {
  dim N = 1 .. 4 .. 8
  input x: float32[N, 16]
  input flag: bool[]
  y = x -> first: Linear(16) -> relu
  output z = cond(flag, refine: Refine(), neg, (y,))
}
"""

FILES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "cnn": ("cnn/cnn.trtnet", "cnn", {}),
    "resnet18": ("resnet/resnet.trtnet", "resnet18", {}),
    "mobilenet_v2": ("mobilenet_v2/mobilenet_v2.trtnet", "mobilenet_v2", {"width": 0.35}),
    "vit": ("vit/vit.trtnet", "vit_tiny_patch16_224", {"depth": 2}),
    "lstm": ("lstm/lstm.trtnet", "language_model", {"vocabulary": 30, "hidden": 16}),
    "scan": ("lstm/lstm.trtnet", "recurrence", {"vocabulary": 30, "hidden": 16, "bidirectional": True}),
}
TEXTS = {"encoder": ENCODER, "choice": CHOICE}
MODELS = (*FILES, *TEXTS)


def model(name: str, **sizes: Any) -> Graph:
    """One of :data:`MODELS`, in its own sizes but for those that are given."""
    if name in TEXTS:
        return random_weights(elaborate_text(TEXTS[name], defines=sizes))
    file, which, small = FILES[name]
    return random_weights(elaborate_file(EXAMPLES / file, model=which, defines={**small, **sizes}))


def of_one_batch(name: str, batch: int = 8) -> Graph:
    """One of :data:`FILES` that has no dynamic dimension but the batch, with a number in its place."""
    file, which, small = FILES[name]
    lines = (EXAMPLES / file).read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("  dim N ="))
    text = text.replace("float32[N,", f"float32[{batch},")
    return random_weights(elaborate_text(text, str(EXAMPLES / file), model=which, defines=small))


def alive(exported: Exported) -> Any:
    """The script as a module, its TensorRT and its weights loaded."""
    script: Any = ModuleType("script")
    exec(compile(exported.text, "script.py", "exec"), vars(script))
    script.trt = load_runtime("tensorrt_rtx").trt
    script.stored = exported.arrays
    return script


def defined(script: Any) -> Any:
    """The network that a script defines; it lives as long as the script."""
    script.builder = load_runtime("tensorrt_rtx").create_builder()
    return script.create_network(script.builder)
