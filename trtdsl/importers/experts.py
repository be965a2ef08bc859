"""Mixtures of experts of ``transformers``, written so that ``torch.export`` can follow them.

In: a module whose experts ``transformers`` computes by one of its own implementations.  Out: the same, in
which each token passes every expert and keeps what the router chose for it. The others sort the tokens by
expert, which asks at run time how many each gets, or copy an expert's weights for every token; a network that
is built ahead reads the weights of all experts once in either case.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

_MODULE = "transformers.integrations.moe"
_NAME = "every_expert"
_OWN = ("eager", "grouped_mm", "batched_mm", None)
"""The implementations that are the same function; the others need kernels of their own."""


@contextmanager
def every_expert(module: nn.Module) -> Generator[None]:
    """In the meantime each token passes every expert of a module."""
    interface: Any = getattr(sys.modules.get(_MODULE), "ALL_EXPERTS_FUNCTIONS", None)
    configs = _configs(module)
    if interface is None or not configs:
        yield
        return
    before = [config._experts_implementation for config in configs]
    interface[_NAME] = _every_expert
    try:
        for config in configs:
            config._experts_implementation = _NAME
        yield
    finally:
        for config, implementation in zip(configs, before, strict=True):
            config._experts_implementation = implementation
        del interface[_NAME]


def _configs(module: nn.Module) -> list[Any]:
    """The configurations that say how experts are computed, each once."""
    found: dict[int, Any] = {}
    for each in module.modules():
        config = getattr(each, "config", None)
        has_experts = hasattr(each, "has_gate") and hasattr(each, "num_experts")
        if has_experts and getattr(config, "_experts_implementation", "") in _OWN:
            found[id(config)] = config
    return list(found.values())


def _every_expert(
    experts: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """What ``transformers`` computes for tokens [T, C], of which each chose experts [T, K]."""
    import torch

    numbers = torch.arange(experts.num_experts, device=hidden_states.device)
    is_chosen = top_k_index.unsqueeze(-1) == numbers
    routing = (top_k_weights.unsqueeze(-1) * is_chosen).sum(1)
    name = "gate_up_proj" if experts.has_gate else "up_proj"
    states = _projected(experts, name, hidden_states.unsqueeze(0))
    states = experts._apply_gate(states) if experts.has_gate else experts.act_fn(states)
    states = _projected(experts, "down_proj", states)
    if experts.has_post_expert_norm:
        states = experts.post_expert_norm(states)
    weighted = states * routing.transpose(0, 1).unsqueeze(-1)
    return weighted.sum(0).to(hidden_states.dtype)


def _projected(experts: Any, name: str, states: torch.Tensor) -> torch.Tensor:
    """Tokens [E, T, C] or [1, T, C] by the weights of each expert."""
    weight = getattr(experts, name)
    states = states @ (weight if experts.is_transposed else weight.transpose(1, 2))
    bias = getattr(experts, f"{name}_bias") if experts.has_bias else None
    return states if bias is None else states + bias.unsqueeze(1)
