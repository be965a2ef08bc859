"""Detectors have the keys of their originals and find the same boxes, at several image sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.ops import batched_nms, box_convert

from benchmarks.zoo_entries import EXAMPLES
from tests.closeness import distance
from tests.zoo.yolov8 import DetectionModel
from trtdsl import reference
from trtdsl.elaborate import elaborate_file, elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.options import CompileOptions
from trtdsl.passes import optimize
from trtdsl.reference import to_numpy
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower
from trtdsl.weights import bind

YOLO = EXAMPLES / "yolo" / "yolov8.trtnet"
LIMIT = 5e-6


def original(**sizes: Any) -> DetectionModel:
    """With statistics and weights that keep the signal alive through all layers."""
    torch.manual_seed(0)
    module = DetectionModel(**sizes).eval()
    for name, value in module.state_dict().items():
        if name.endswith(("running_var", "bn.weight")):
            torch.nn.init.uniform_(value, 0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            torch.nn.init.normal_(value, 0.0, 0.3)
        elif name.endswith("conv.weight") and "dfl" not in name:
            torch.nn.init.kaiming_normal_(value)
    return module


def test_yolov8n_is_the_original() -> None:
    module = original(depth=0.33, width=0.25)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    graph = bind(elaborate_file(YOLO, model="yolov8n"), state).graph
    read = {weight.key for weight in graph.weights}
    assert read == {key for key in state if not key.endswith("num_batches_tracked")}
    lowered = lower(optimize(graph))
    noise = torch.Generator().manual_seed(1)
    for batch, height, width in ((1, 320, 320), (2, 320, 416)):
        image = torch.rand(batch, 3, height, width, generator=noise)
        with torch.no_grad():
            wanted = module(image)
        # Boxes are counted in pixels, scores from 0 to 1.
        (meant,) = reference.run(graph, {"image": image}).values()
        (found,) = evaluate(lowered.network, {"image": image}, weights=lowered.weights).values()
        for part in (slice(0, 4), slice(4, None)):
            assert distance(meant[:, part], wanted[:, part]) < LIMIT
            assert distance(found[:, part], wanted[:, part]) < LIMIT
    assert len(build(lowered, CompileOptions(targets=("sm89",)))) > 0


@pytest.mark.parametrize(
    ("name", "depth", "width", "most"),
    [("s", 0.33, 0.5, 1024), ("m", 0.67, 0.75, 768), ("l", 1, 1, 512), ("x", 1, 1.25, 512)],
)
def test_the_family_has_the_originals_keys(name: str, depth: float, width: float, most: int) -> None:
    with torch.device("meta"):
        state = DetectionModel(depth, width, most).state_dict()
    graph = elaborate_file(YOLO, model=f"yolov8{name}")
    found = {weight.key: weight.type.shape for weight in graph.weights}
    assert found == {
        key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")
    }


def found_by(call: str, detections: torch.Tensor) -> torch.Tensor:
    """What a def of the YOLO heads makes of the detections of four classes."""
    cells = detections.shape[2]
    lowered = lower(
        elaborate_text(f"""import "{EXAMPLES}/yolo/head.trtnet"
model m {{
  dim N = 1 .. 2 .. 4
  input detections: float32[N, {detections.shape[1]}, {cells}]
  output found = {call}
}}""")
    )
    return evaluate(lowered.network, {"detections": detections}, weights=lowered.weights)["found"]


def test_best_boxes_are_those_that_suppression_leaves() -> None:
    """Each cell has one class, each class is by itself, and what else a cell says comes along."""
    noise = torch.Generator().manual_seed(0)
    place = torch.rand(2, 2, 60, generator=noise) * 20
    size, scores, more = (torch.rand(2, n, 60, generator=noise) for n in (2, 4, 3))
    found = found_by(
        "best_boxes(detections, 4, 50, 0.4, 0.6)", torch.cat([place, 20 * size + 5, scores, more], 1)
    )
    assert found.shape == (2, 50, 9)
    for i in range(2):
        boxes = box_convert(torch.cat([place[i], 20 * size[i] + 5]).T, "cxcywh", "xyxy")
        best, kind = scores[i].max(0)
        passing = (best > 0.6).nonzero().flatten()
        kept = passing[batched_nms(boxes[passing], best[passing], kind[passing], 0.4)]
        assert 5 < len(kept) < min(50, len(passing))
        rows = torch.cat([boxes, best[:, None], kind[:, None].float(), more[i].T], 1)
        torch.testing.assert_close(found[i, : len(kept)], rows[kept])
        assert not found[i, len(kept) :].any()


def test_highest_scores_are_those_of_all_cells_and_classes() -> None:
    """What else a cell says comes along, and is no score."""
    noise = torch.Generator().manual_seed(0)
    boxes, scores, more = (torch.rand(2, n, 60, generator=noise) for n in (4, 4, 3))
    found = found_by("highest_scores(detections, 4, 20)", torch.cat([boxes, scores, 1 + more], 1))
    wanted, at = scores.transpose(1, 2).flatten(1).topk(20)
    assert found.shape == (2, 20, 9)
    assert torch.equal(found[..., 4], wanted)
    assert torch.equal(found[..., 5], (at % 4).float())
    for i in range(2):
        assert torch.equal(found[i, :, :4], boxes[i].T[at[i] // 4])
        assert torch.equal(found[i, :, 6:], 1 + more[i].T[at[i] // 4])
    assert len(set((at[0] // 4).tolist())) < 20  # or a cell twice would not be tried
