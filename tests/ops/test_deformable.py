"""Deformable convolutions: offsets beyond the borders, groups of channels, masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.closeness import expected, require_outputs
from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect
from tests.trt.releases import RELEASES, facts
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ops.deformable import DeformConv2d
from trtdsl.trt.lower import lower
from trtdsl.types import evaluate as evaluate_dim

NOISE = torch.Generator().manual_seed(0)


def noise(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=NOISE) * scale


@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
    ],
    ids=str,
)
@pytest.mark.parametrize(("groups", "moved"), [(1, 1), (2, 1), (1, 2), (2, 4), (4, 2)])
@pytest.mark.parametrize("masked", [False, True])
# Within the map, and far beyond its borders.
@pytest.mark.parametrize("reach", [0.0, 1.0, 8.0])
def test_computes_what_torchvision_does(
    window: dict[str, Any], groups: int, moved: int, masked: bool, reach: float
) -> None:
    op = DeformConv2d(4, groups=groups, **window)
    input, weight = noise(2, 4, 6, 7), noise(4, 4 // groups, *op.window.kernel)
    each, places = op.elements, [evaluate_dim(size, {}) for size in op.window.sizes((6, 7))]
    offset = noise(2, 2 * moved * each, *places, scale=reach)
    mask = torch.rand(2, moved * each, *places, generator=NOISE) if masked else None
    check_equals_torch(op, input, offset, mask, weights={"weight": weight, "bias": noise(4)})


def test_without_offsets_it_is_a_convolution() -> None:
    input, weight = noise(2, 4, 6, 7), noise(3, 4, 3, 3)
    op = DeformConv2d(3, 3, padding=1, bias=False)
    (found,) = check_equals_torch(op, input, torch.zeros(2, 18, 6, 7), weights={"weight": weight})
    wanted = torch.nn.functional.conv2d(input, weight, padding=1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("release", RELEASES)
def test_on_every_release(release: str) -> None:
    graph = elaborate_text("""model m() {
  dim N = 1 .. 2 .. 3
  input x: float32[N, 4, 6, 7]
  input offset: float32[N, 18, 6, 7]
  input w: float32[3, 4, 3, 3]
  output y = deform_conv2d(x, offset, w, padding = 1)
}""")
    inputs = {"x": noise(2, 4, 6, 7), "offset": noise(2, 18, 6, 7), "w": noise(3, 4, 3, 3)}
    dialect = RecordingDialect(facts(release))
    lowered = lower(graph, dialect)
    found = evaluate(dialect.network, inputs, weights=lowered.weights)
    require_outputs(found, expected(graph, inputs), 1e-5)


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (DeformConv2d(4, 3), ("float32[1, 4, 6, 7]", "float32[1, 17, 4, 5]"), "the offset has 17 channels"),
        (DeformConv2d(4, 3), ("float32[1, 4, 6, 7]", "float32[1, 54, 4, 5]"), "3 groups do not divide 4"),
        (
            DeformConv2d(4, 3),
            ("float32[1, 4, 6, 7]", "float32[1, 18, 6, 7]"),
            "the offset must be float32[1, 18, 4, 5]",
        ),
        (
            DeformConv2d(4, 3),
            ("float32[1, 4, 6, 7]", "float32[1, 18, 4, 5]", "float32[1, 18, 4, 5]"),
            "the mask must be float32[1, 9, 4, 5]",
        ),
        (
            DeformConv2d(4, 3, groups=3),
            ("float32[1, 4, 6, 7]", "float32[1, 18, 4, 5]"),
            "3 groups do not divide",
        ),
        (DeformConv2d(4, 9), ("float32[1, 4, 6, 7]", "float32[1, 18, 4, 5]"), "does not fit into 6"),
        (DeformConv2d(4, 3), ("float32[4, 6, 7]", "float32[18, 4, 5]"), "rank 4"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_refuses(op: Any, types: tuple[str, ...], message: str) -> None:
    assert message in refused(op, *map(t, types))
