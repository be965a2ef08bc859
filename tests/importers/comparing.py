"""A module held against its imported text, at sizes that it was not exported with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from trtdsl.importers.module import Imported, import_module
from trtdsl.reference import run, to_numpy
from trtdsl.types import TensorType, ValueRange, evaluate_shape

SIZES = {"N": 3, "S": 5, "M": 4, "H": 6, "W": 10}


class Calls(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def held(
    module: nn.Module,
    inputs: Mapping[str, str],
    dims: Mapping[str, str] = {},
    *,
    is_flat: bool = False,
    tolerance: float = 1e-5,
) -> Imported:
    """The module's text, after the values and dtypes of both were found equal."""
    imported = import_module(module, inputs, dims, is_flat=is_flat)
    assert imported.graph
    sizes = {each.name: _size(each.minimum, each.maximum, each.step, each.name) for each in imported.dims}
    given = {
        value.name: _example(value.type, sizes, imported.graph.ranges.get(value.name))
        for value in imported.graph.inputs
    }
    found = [*run(imported.graph, {name: to_numpy(each) for name, each in given.items()}).values()]
    with torch.no_grad():
        result = module.eval()(**{name: each.clone() for name, each in given.items()})
    expected = [each for each in pytree.tree_leaves(result) if isinstance(each, torch.Tensor)]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        _compare(ours, theirs, tolerance)
    return imported


def _size(minimum: int, maximum: int, step: int, name: str) -> int:
    wanted = SIZES.get(name, minimum) // step * step
    return min(max(wanted, minimum), maximum)


def _example(type: TensorType, sizes: Mapping[str, int], values: ValueRange | None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape, dtype = evaluate_shape(type.shape, sizes), getattr(torch, type.dtype.value)
    if type.dtype.is_floating:
        return torch.randn(shape, generator=generator).to(dtype)
    if type.dtype.is_bool:
        return torch.rand(shape, generator=generator) > 0.5
    low, high = (int(values.low), int(values.high)) if values else (-3, 3)
    return torch.randint(low, high + 1, shape, generator=generator).to(dtype)


def _compare(ours: Any, theirs: torch.Tensor, tolerance: float) -> None:
    assert str(ours.dtype).removeprefix("torch.") == str(theirs.dtype).removeprefix("torch.")
    found = ours if isinstance(ours, torch.Tensor) else torch.as_tensor(np.asarray(ours))
    torch.testing.assert_close(
        found.double(), theirs.double(), rtol=tolerance, atol=tolerance, equal_nan=True
    )
