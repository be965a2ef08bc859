"""What returns its input unchanged goes away, and nothing else does."""

from __future__ import annotations

import pytest
import torch

from tests.passes.texts import names
from trtdsl.elaborate import elaborate_text
from trtdsl.passes import remove_identities
from trtdsl.reference import random_inputs, run


def removed(expression: str) -> bool:
    """Whether the pass removes it; found to compute the same to the bit."""
    graph = elaborate_text(
        f"model m() {{ dim N = 1 .. 2 .. 4 input x: float32[N, 3, 5, 6] output y = {expression} + 1 }}"
    )
    changed = remove_identities(graph)
    inputs = random_inputs(graph)
    torch.testing.assert_close(run(changed, inputs), run(graph, inputs), rtol=0, atol=0)
    return "interpolate" not in names(changed)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_an_image_that_keeps_its_size_is_not_resampled(mode: str) -> None:
    assert removed(f'interpolate(x, size = (5, 6), mode = "{mode}")')
    assert not removed(f'interpolate(x, size = (5, 7), mode = "{mode}")')


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("size = (5, 6), align_corners = true", True),
        ("size = (5, 6), antialias = true", True),
        ("scale_factor = 1.1, recompute_scale_factor = true", True),
        ("scale_factor = 1.1", False),
    ],
)
def test_coordinates_that_stay_where_they_are(more: str, expected: bool) -> None:
    assert removed(f'interpolate(x, mode = "bicubic", {more})') == expected
