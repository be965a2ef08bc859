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


class PadsIfNeeded(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pad = (32 - x.shape[2] % 32) % 32
        if pad > 0:
            x = nn.functional.pad(x, (0, 0, 0, pad))
        return x * 2


def test_a_step_is_not_one_that_fits_by_chance() -> None:
    """Multiples of 25 below 800 are none of 32."""
    dims = {"H": "64 .. 225 .. 512", "W": "24 .. 48 .. 64"}
    text = held(PadsIfNeeded(), {"x": "float32[N, 3, H, W]"}, dims).text
    assert "dim H = 64 .. 224 .. 512, step = 32\n" in text
