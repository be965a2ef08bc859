"""PyTorch modules with weights that keep a signal alive from the input to the output.

Fresh weights will not do: a deep network of them may return the same for every input, and then a wrong
layer would make no difference.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from benchmarks.zoo_entries import BATCH, Entry
from tests.closeness import Expected
from tests.zoo.entries import elaborate, original, points, random_inputs, tensors_of
from trtdsl.ir import Graph

STATISTICS = ("running_mean", "running_var")


def calibrated(entry: Entry, graph: Graph | None = None, seed: int = 0) -> nn.Module:
    """The oracle in eval mode: matrices scaled by their fan-in, gains and offsets away from 1 and 0, and the
    normalisations' statistics those of a random batch.

    The normalisations' offsets are positive for the most part. With a mean of 0 in front of every ReLU, a
    small difference grows by a fifth in each layer (Yang et al., 2019, "A Mean Field Theory of Batch
    Normalization"): after 150 of them the last bit of float32 would show, as in trained networks it does not.

    Tables are the constructor's: buffers but for statistics, integers, and parameters that it has frozen or
    the entry keeps.
    """
    graph = graph or elaborate(entry)
    module = original(entry).eval()
    random = torch.Generator().manual_seed(seed)
    for name, tensor in learned(module).items():
        if not any(fnmatchcase(name, pattern) for pattern in entry.keep):
            _fill(name, tensor, _is_normalised(module.get_submodule(name.rpartition(".")[0])), random)
    sizes = {**points(entry, graph)[:2][-1], BATCH: 4}
    return _with_statistics(module, random_inputs(entry, graph, sizes, seed + 1))


def learned(module: nn.Module) -> dict[str, torch.Tensor]:
    """The floating tensors that training gives their values: parameters that are not frozen, and what a
    frozen normalisation has of buffers."""
    found = {
        name: parameter.data
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and parameter.is_floating_point()
    }
    for prefix, each in module.named_modules():
        if _is_normalised(each):
            found |= {
                f"{prefix}.{name}".lstrip("."): buffer
                for name, buffer in each.named_buffers(recurse=False)
                if name in ("weight", "bias")
            }
    return found


def expected(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> list[Expected]:
    """What the module returns, each output in its own dtype and in float64."""
    exact: list[list[torch.Tensor]] = []

    def in_float64(index: int) -> torch.Tensor:
        if not exact:
            exact.append(_in_float64(module, inputs))
        return exact[0][index]

    with torch.inference_mode():
        own = tensors_of(module(*inputs.values()))
    return [Expected(each, lambda i=i: in_float64(i)) for i, each in enumerate(own)]


def _in_float64(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    wide = [value.double() if value.is_floating_point() else value for value in inputs.values()]
    with torch.inference_mode(), default_dtype(torch.float64):
        return tensors_of(copy.deepcopy(module).double()(*wide))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Generator[None]:
    """That of the tensors which a forward makes without saying theirs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _is_normalised(module: nn.Module) -> bool:
    """Whether it normalises by statistics that it keeps."""
    return all(isinstance(getattr(module, name, None), torch.Tensor) for name in STATISTICS)


def _fill(name: str, tensor: torch.Tensor, is_norm: bool, random: torch.Generator) -> None:
    """Matrices as He et al. (2015) for what a ReLU reads; what scales each channel, in whatever shape, as a
    gain."""
    if name.endswith(("attention_biases", "bias_table")):
        tensor.normal_(0, 4.0, generator=random)  # so that a place attends to few: means of all are all alike
    elif math.prod(tensor.shape[1:]) > 1:
        tensor.normal_(0, math.sqrt(2 / math.prod(tensor.shape[1:])), generator=random)
    elif name.endswith((".weight", ".gain")):
        tensor.uniform_(0.5, 1.0, generator=random)
    else:
        tensor.normal_(0.5 if is_norm else 0.0, 0.2, generator=random)


def _with_statistics(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> nn.Module:
    """Run the module once with every normalisation given the statistics of what it sees."""
    norms = [each for each in module.modules() if _is_normalised(each)]
    if norms:
        hooks = [norm.register_forward_pre_hook(_observe) for norm in norms]
        with torch.inference_mode():
            module(*inputs.values())
        for hook in hooks:
            hook.remove()
    return module


def _observe(norm: Any, arguments: tuple[torch.Tensor, ...]) -> None:
    """Set a normalisation's statistics by its input, before it runs."""
    x = arguments[0].transpose(0, 1).flatten(1)
    norm.running_mean.copy_(x.mean(1))
    norm.running_var.copy_(x.var(1))
