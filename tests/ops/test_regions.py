"""Maps under boxes: several images, borders, boxes that are small, far away or turned round."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.closeness import expected, require_outputs
from tests.ops.one_node import check_equals_torch, refused, t
from tests.trt.recording import RecordingDialect
from tests.trt.releases import RELEASES, facts, narrowed
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ops.regions import PsRoiAlign, RoiAlign
from trtdsl.trt.lower import lower

NOISE = torch.Generator().manual_seed(0)
MAPS = torch.randn(3, 12, 9, 11, generator=NOISE)
BOXES = torch.tensor(
    [
        [0, 1.3, 2.1, 7.7, 6.2],
        [2, 0, 0, 11, 9],  # the whole map, corners on its borders
        [1, -4, -3, 20, 15],  # far beyond all borders
        [1, 3.2, 3.1, 3.4, 3.2],  # smaller than an element
        [2, 8, 7, 2, 1],  # corners the other way round
        [0, -9, -9, -2, -2],  # wholly outside
        [1, -1, -1, 1, 1],  # from where a point just counts
    ]
)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("size", "ratio"), [(7, 2), ((2, 3), 1), (1, 3), (3, 4)])
def test_roi_align(aligned: bool, scale: float, size: Any, ratio: int) -> None:
    check_equals_torch(RoiAlign(size, scale, ratio, aligned), MAPS, BOXES)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("size", "ratio"), [(2, 2), ((2, 3), 1), (1, 3), ((3, 4), 2)])
def test_ps_roi_align(scale: float, size: Any, ratio: int) -> None:
    check_equals_torch(PsRoiAlign(size, scale, ratio), MAPS, BOXES)


def test_no_boxes() -> None:
    (found,) = check_equals_torch(RoiAlign(2, sampling_ratio=2), MAPS, BOXES[:0])
    assert found.shape == (0, 12, 2, 2)


def test_what_is_beside_the_map_keeps_its_image() -> None:
    """The last row of an image must not read the first of the next."""
    maps = torch.zeros(2, 1, 4, 4)
    maps[1] = 1e6
    edge = torch.tensor([[0, 0.0, 3.0, 4.0, 4.0]])
    (found,) = check_equals_torch(RoiAlign(2, sampling_ratio=2), maps, edge)
    assert not found.any()


@pytest.mark.parametrize("release", RELEASES)
def test_on_every_release(release: str) -> None:
    graph = elaborate_text("""model m() {
  dim N = 1 .. 3 .. 4
  dim H = 4 .. 9 .. 12
  dim K = 1 .. 7 .. 9
  input maps: float32[N, 12, H, 11]
  input boxes: float32[K, 5]
  output y = roi_align(maps, boxes, 3, sampling_ratio = 2)
  output z = ps_roi_align(maps, boxes, 2, sampling_ratio = 2)
}""")
    dialect, inputs = RecordingDialect(facts(release)), {"maps": MAPS, "boxes": BOXES}
    lowered = lower(graph, dialect)
    given = narrowed(inputs) if release == "8.5.3" else inputs
    found = evaluate(dialect.network, given, weights=lowered.weights)
    require_outputs(found, expected(graph, inputs), 1e-5)


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (RoiAlign(2), ("float32[1, 2, 5, 7]", "float32[3, 5]"), "depends on how large each box is"),
        (RoiAlign(2, sampling_ratio=2), ("float32[1, 2, 5, 7]", "float32[3, 4]"), "needs boxes [K, 5]"),
        (RoiAlign(2, sampling_ratio=2), ("float32[1, 2, 5, 7]", "float16[3, 5]"), "must be float32"),
        (RoiAlign(2, sampling_ratio=2), ("float32[1, 2, 0, 7]", "float32[3, 5]"), "needs elements"),
        (RoiAlign((2, 3, 4), sampling_ratio=2), ("float32[1, 2, 5, 7]", "float32[3, 5]"), "not 3"),
        (RoiAlign(2, sampling_ratio=2), ("int32[1, 2, 5, 7]", "int32[3, 5]"), "floating-point"),
        (PsRoiAlign(2, sampling_ratio=2), ("float32[1, 6, 5, 7]", "float32[3, 5]"), "by the 2 * 2 cells"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_refuses(op: Any, types: tuple[str, ...], message: str) -> None:
    assert message in refused(op, *map(t, types))
