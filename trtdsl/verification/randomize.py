"""Weights that let every layer be seen, in place of those that a module has.

In: a module, and a call of it.  Out: the same module with random weights: no gain, scale or head is near 0,
no offset hides what it is added to, and neither products nor sums vanish or explode over many layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trtdsl.verification.returned import tensors_of

if TYPE_CHECKING:
    import torch
    from torch import nn

OFFSET = 0.2
"""The deviation of biases and running means: seen beside values of about 1, and hiding none of them."""

TOKEN = 0.5
"""That of tables and tokens that are added to such values."""

GAIN = 2.0
"""He's gain: of a product followed by a relu, which halves the mean square."""


STATISTICS = ("running_mean", "running_var")
"""The buffers of a norm that normalises by what it saw in training."""


def randomize(module: nn.Module, seed: int, call: Callable[[], object]) -> None:
    """Replace the weights and running statistics of a module; buffers that are constants stay.

    ``call`` runs the module on the inputs of the comparison: what a norm reads there says of which size its
    statistics are. A norm that does not make sums of many branches small again would let them grow without
    bound, as no trained network does. The weights of a frozen norm are buffers, too.
    """
    import torch

    random = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    for owner in module.modules():
        own = [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]
        for name, tensor in own:
            is_weight = isinstance(tensor, torch.nn.Parameter) or _has_statistics(owner)
            if is_weight and tensor.is_floating_point() and id(tensor) not in done:
                done.add(id(tensor))
                values = _values(owner, name, tensor, random)
                tensor.data = values.to(tensor.dtype)
    _fit_statistics(module, call)


def _fit_statistics(module: nn.Module, call: Callable[[], object]) -> None:
    """Give running statistics the size of what their module reads when it is called first."""
    norms = [each for each in module.modules() if _has_statistics(each)]
    fitted: set[nn.Module] = set()

    def fit(norm: nn.Module, arguments: tuple[Any, ...]) -> None:
        read = next(tensors_of(arguments), None)
        if norm in fitted or read is None:
            return
        fitted.add(norm)
        mean_square = float(read.detach().double().square().mean())
        if 0 < mean_square < math.inf:
            mean, variance = (norm.get_buffer(name) for name in STATISTICS)
            mean.mul_(math.sqrt(mean_square))
            variance.mul_(mean_square)

    handles = [norm.register_forward_pre_hook(fit) for norm in norms]
    try:
        if norms:
            call()
    finally:
        for handle in handles:
            handle.remove()


def _has_statistics(module: nn.Module) -> bool:
    return {*STATISTICS} <= {name for name, _ in module.named_buffers(recurse=False)}


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
