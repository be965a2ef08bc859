"""PyTorch modules with weights that keep a signal alive from the input to the output.

Fresh weights will not do: a deep network of them may return the same for every input, and then a wrong
layer would make no difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tests.zoo.test_examples import Example, load_oracle, without_values


def calibrated(example: Example, seed: int = 0) -> nn.Module:
    """The oracle in eval mode: matrices scaled by their fan-in, gains and offsets away from 1 and 0, and the
    normalisations' statistics those of a random batch.

    The normalisations' offsets are positive for the most part. With a mean of 0 in front of every ReLU, a
    small difference grows by a fifth in each layer (Yang et al., 2019, "A Mean Field Theory of Batch
    Normalization"): after 150 of them the last bit of float32 would show, as in trained networks it does not.
    """
    module = without_values(example.oracle, **example.arguments).to_empty(device="cpu")
    random = torch.Generator().manual_seed(seed)
    state = module.state_dict()
    for name, tensor in state.items():
        _fill(name, tensor, f"{name.rpartition('.')[0]}.running_mean" in state, random)
    if any(name.endswith("_index") for name in state):
        # Positions in tables are the constructor's.
        made = load_oracle(example.oracle)(**example.arguments).state_dict()
        module.load_state_dict({**state, **{k: v for k, v in made.items() if k.endswith("_index")}})
    return _with_statistics(module, random_inputs(example, 4, seed + 1)).eval()


def random_inputs(example: Example, batch: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Images of a batch that differ from each other, smooth enough for the wide receptive fields."""
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, *shape, generator=random) for name, shape in example.inputs.items()}


def _fill(name: str, tensor: torch.Tensor, is_norm: bool, random: torch.Generator) -> None:
    """Matrices as He et al. (2015) for what a ReLU reads."""
    if not tensor.is_floating_point():
        tensor.zero_()
    elif tensor.dim() > 1:
        tensor.normal_(0, math.sqrt(2 / math.prod(tensor.shape[1:])), generator=random)
    elif name.endswith(".weight"):
        tensor.uniform_(0.5, 1.0, generator=random)
    else:
        tensor.normal_(0.5 if is_norm else 0.0, 0.2, generator=random)


def _with_statistics(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> nn.Module:
    """Run the module once with every normalisation keeping the statistics of what it sees."""
    norms: list[Any] = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    if not norms:
        return module
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        module(*inputs.values())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return module
