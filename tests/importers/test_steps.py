"""Dimensions in steps: sizes that a module halves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.importers.comparing import held


class Halves(nn.Module):
    """Down by a convolution and up again, beside what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 3, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.down(x), scale_factor=2.0) + x


@pytest.mark.parametrize("step", [2, 4, 8])
def test_the_step_is_the_one_given(step: int) -> None:
    dims = {"N": "1 .. 2 .. 8", "H": f"16 .. 32 .. 64, step = {step}", "W": f"24 .. 48 .. 64, step = {step}"}
    imported = held(Halves(), {"x": "float32[N, 3, H, W]"}, dims)
    assert f"dim H = 16 .. 32 .. 64, step = {step}\n" in imported.text
    assert f"dim W = 24 .. 48 .. 64, step = {step}\n" in imported.text
