"""Weights that let every layer be seen, in place of those that a module has.

In: a module.  Out: the same module with random weights: no gain, scale or head is near 0, no offset hides
what it is added to, and products neither vanish nor explode over many layers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

OFFSET = 0.2
"""The deviation of biases and running means: seen beside values of about 1, and hiding none of them."""

TOKEN = 0.5
"""That of tables and tokens that are added to such values."""

GAIN = 2.0
"""He's gain: of a product followed by a relu, which halves the mean square."""


def randomize(module: nn.Module, seed: int) -> None:
    """Replace the weights and running statistics of a module; other buffers, which are constants, stay."""
    import torch

    random = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    for owner in module.modules():
        own = [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]
        for name, tensor in own:
            is_statistic = name in ("running_mean", "running_var")
            is_weight = isinstance(tensor, torch.nn.Parameter) and tensor.is_floating_point()
            if (is_weight or is_statistic) and id(tensor) not in done:
                done.add(id(tensor))
                values = _values(owner, name, tensor, random)
                tensor.data = values.to(tensor.dtype)


def _values(owner: nn.Module, name: str, tensor: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    import torch
    from torch import nn

    shape = tensor.shape
    if "bias" in name or name == "running_mean":
        return OFFSET * torch.randn(shape, generator=random)
    if tensor.numel() == max(shape, default=1):
        # Gains, scales of layers, variances: one for each channel.
        return torch.rand(shape, generator=random) + 0.5
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return torch.randn(shape, generator=random)
    if "weight" not in name:
        return TOKEN * torch.randn(shape, generator=random)
    outputs = shape[1] if getattr(owner, "transposed", False) else shape[0]
    fan_in = max(1, tensor.numel() // max(1, outputs))
    return math.sqrt(GAIN / fan_in) * torch.randn(shape, generator=random)
