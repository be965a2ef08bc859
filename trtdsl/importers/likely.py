"""What type an input of a module is likely to have, as an example that the user may change.

In: a module and the name of an argument.  Out: ``float32[N, 3, 224, 224]`` of a network that begins with a
convolution of images, ``int64[N, S] in 0 .. 30521`` of one that begins with a table of words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_TYPES: Mapping[str, Callable[[Any], str]] = {
    "Embedding": lambda layer: f"int64[N, S] in 0 .. {layer.num_embeddings - 1}",
    "Conv1d": lambda layer: f"float32[N, {layer.in_channels}, S]",
    "Conv2d": lambda layer: f"float32[N, {layer.in_channels}, 224, 224]",
    "Conv3d": lambda layer: f"float32[N, {layer.in_channels}, 16, 112, 112]",
    "LSTM": lambda layer: f"float32[N, S, {layer.input_size}]",
    "GRU": lambda layer: f"float32[N, S, {layer.input_size}]",
    "Linear": lambda layer: f"float32[N, {layer.in_features}]",
}
"""By the name of torch's layer that reads it."""

_WORDS = {"ids": "Embedding", "tokens": "Embedding", "image": "Conv2d", "pixel": "Conv2d"}
"""Layers that read arguments with these words in their names, in a module with several."""

_IMAGE = "float32[N, 3, 224, 224]"


def likely_type(module: nn.Module, name: str) -> str:
    """The type of the argument of that name."""
    if "mask" in name:
        return "int64[N, S]"
    layers = [(type(each).__name__, each) for each in module.modules() if type(each).__name__ in _TYPES]
    wanted = {kind for word, kind in _WORDS.items() if word in name}
    readers = [each for each in layers if each[0] in wanted] or layers
    return next((_TYPES[kind](layer) for kind, layer in readers), _IMAGE)
