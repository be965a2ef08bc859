"""The defs of std/detection.trtnet against torchvision.ops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision import ops
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from benchmarks.zoo_entries import EXAMPLES
from tests.closeness import require_close
from trtdsl import reference
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.options import CompileOptions
from trtdsl.passes import remove_dead_nodes
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower
from trtdsl.weights import bind

IMPORT = 'import "std/detection.trtnet" as d\n'


def boxes(*shape: int, seed: int = 0, spread: float = 60.0) -> torch.Tensor:
    noise = torch.Generator().manual_seed(seed)
    corner, size = (torch.rand(*shape, 2, generator=noise) for _ in range(2))
    return torch.cat([corner * spread, corner * spread + size * 30 + 0.5], -1)


def computed(call: str, **inputs: torch.Tensor) -> torch.Tensor:
    declared = [
        f"  input {name}: {str(x.dtype).removeprefix('torch.')}[{', '.join(map(str, x.shape))}]"
        for name, x in inputs.items()
    ]
    text = "\n".join([IMPORT, "model m() {", *declared, f"  output found = {call}", "}"])
    lowered = lower(elaborate_text(text))
    return evaluate(lowered.network, inputs, weights=lowered.weights)["found"]


FORMATS = ["xyxy", "xywh", "cxcywh"]


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("wanted", FORMATS)
def test_box_convert(given: str, wanted: str) -> None:
    x = boxes(5)
    found = computed(f'd.box_convert(x, "{given}", "{wanted}")', x=x)
    require_close(found, ops.box_convert(x, given, wanted))


def test_areas_and_clipping() -> None:
    x = boxes(7) - 20
    require_close(computed("d.box_area(x)", x=x), ops.box_area(x))
    require_close(computed("d.clip_boxes_to_image(x, (30, 40))", x=x), ops.clip_boxes_to_image(x, (30, 40)))


@pytest.mark.parametrize("columns", [1, 3, 5, 8])
@pytest.mark.parametrize(
    "call",
    [
        'd.box_convert(x, "xyxy", "xywh")',
        'd.box_convert(x, "xyxy", "xyxy")',
        "d.clip_boxes_to_image(x, (3, 4))",
        "d.decode_boxes(x, y)",
        "d.decode_boxes(y, x)",
    ],
)
def test_what_is_not_a_box_is_refused(call: str, columns: int) -> None:
    with pytest.raises(DiagnosticError, match=f"do not add up to {columns}"):
        computed(call, x=torch.ones(6, columns), y=boxes(6))


@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou"])
def test_intersection_over_union(name: str) -> None:
    x, y = boxes(5), boxes(7, seed=1)
    require_close(computed(f"d.{name}(x, y)", x=x, y=y), getattr(ops, name)(x, y))


def padded(kept: torch.Tensor, count: int) -> list[int]:
    return (kept.tolist() + [-1] * count)[:count]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("count", [5, 50])
def test_nms_is_torchvisions(threshold: float, count: int) -> None:
    x, scores = boxes(2, 40), torch.rand(2, 40, generator=torch.Generator().manual_seed(3))
    # Of no area, twice: they suppress nothing, not even each other.
    x[0, 3, 2:], x[0, 9] = x[0, 3, :2], x[0, 3]
    found = computed(f"d.nms_padded(x, s, {threshold}, {count})", x=x, s=scores)
    wanted = [padded(ops.nms(x[i], scores[i], threshold), count) for i in range(2)]
    assert found.tolist() == wanted


def test_nms_of_classes_and_scores() -> None:
    x, noise = boxes(2, 40, spread=20), torch.Generator().manual_seed(3)
    scores, classes = torch.rand(2, 40, generator=noise), torch.randint(0, 3, (2, 40), generator=noise)
    call = "d.nms_padded(x, s, 0.4, 40, score_threshold = 0.25, classes = c)"
    found = computed(call, x=x, s=scores, c=classes)
    for i in range(2):
        passing = (scores[i] > 0.25).nonzero().flatten()
        kept = ops.batched_nms(x[i][passing], scores[i][passing], classes[i][passing], 0.4)
        assert found[i].tolist() == padded(passing[kept], 40)
    # Or classes and the score would make no difference here.
    assert found.tolist() != computed("d.nms_padded(x, s, 0.4, 40)", x=x, s=scores).tolist()


def test_suppressed_boxes_are_those_of_batched_nms() -> None:
    x, noise = boxes(2, 40, spread=20), torch.Generator().manual_seed(3)
    scores = torch.rand(2, 40, 3, generator=noise)
    graph = elaborate_text(f"""{IMPORT}model m() {{
  dim N = 1 .. 2 .. 4
  input x: float32[N, 40, 4]
  input s: float32[N, 40, 3]
  count, box, score, kind = (x, s) -> _: d.EfficientNMS(30, 0.4)
  output count, box, score, kind
}}""")
    lowered = lower(graph)
    found = evaluate(lowered.network, {"x": x, "s": scores}, weights=lowered.weights)
    for i in range(2):
        passing = (scores[i] > 0.25).nonzero()
        candidates = x[i][passing[:, 0]], scores[i][scores[i] > 0.25], passing[:, 1]
        kept = ops.batched_nms(*candidates, 0.4)[:30]
        count = len(kept)
        assert found["count"][i].tolist() == [count]
        for name, every in zip(("box", "score", "kind"), candidates, strict=True):
            assert torch.equal(found[name][i, :count], every[kept].to(found[name].dtype))
            assert not found[name][i, count:].any()


def test_nms_of_as_many_boxes_as_there_are() -> None:
    graph = elaborate_text(f"""{IMPORT}model m() {{
  dim N = 1 .. 2 .. 4
  dim A = 5 .. 40 .. 100
  input boxes: float32[N, A, 4]
  input scores: float32[N, A]
  output kept = d.nms_padded(boxes, scores, 0.5, 10)
}}""")
    lowered = lower(graph)
    for count in (5, 70):
        x, scores = boxes(3, count), torch.rand(3, count, generator=torch.Generator().manual_seed(count))
        inputs = {"boxes": x, "scores": scores}
        found = evaluate(lowered.network, inputs, weights=lowered.weights)["kept"]
        assert found.tolist() == [padded(ops.nms(x[i], scores[i], 0.5), 10) for i in range(3)]
    assert len(build(lower(graph), CompileOptions(targets=("sm89",)))) > 0


def test_boxes_are_decoded_as_torchvision_decodes_them() -> None:
    codes = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0)) * 3
    codes[0, 0, 2] = 50.0  # as large as no box may become
    wanted = [BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(each, boxes(9)) for each in codes]
    require_close(
        computed("d.decode_boxes(codes, x, [10, 10, 5, 5])", codes=codes, x=boxes(9)), torch.stack(wanted)
    )


def test_anchors_are_torchvisions() -> None:
    maps = torch.zeros(2, 8, 5, 7)
    generator = AnchorGenerator(((40, 101),), ((0.5, 1.0, 2.0),))
    (wanted,) = generator.grid_anchors([[5, 7]], [[torch.tensor(16), torch.tensor(24)]])
    found = computed("d.grid_anchors(x, [16, 24], [40, 101], [0.5, 1.0, 2.0])", x=maps)
    assert len(found) == 5 * 7 * 6
    require_close(found, wanted)


def test_retinanets_anchors_fit_sizes_that_its_coarsest_maps_do_not_divide() -> None:
    """96 x 160 has maps of 2 x 3 and 1 x 2 at the end, with elements 48 x 53 and 96 x 80 pixels apart."""
    text = (EXAMPLES / "retinanet" / "retinanet.trtnet").read_text(encoding="utf-8")
    head = text[: text.index("  codes = ")].replace("128 ..", "64 ..").replace("step = 128", "step = 32")
    model = f"{head}  output boxes = cat(anchors)\n}}\nmodel small = retinanet(layers = [1, 1, 1, 1])\n"
    graph = remove_dead_nodes(elaborate_text(model, "small"))
    image = torch.zeros(1, 3, 96, 160)
    sizes = [[int(size * 2 ** (third / 3)) for third in range(3)] for size in (32, 64, 128, 256, 512)]
    generator = AnchorGenerator(tuple(map(tuple, sizes)), ((0.5, 1.0, 2.0),) * 5)
    maps = [torch.zeros(1, 8, -(-96 // stride), -(-160 // stride)) for stride in (8, 16, 32, 64, 128)]
    (wanted,) = generator(ImageList(image, [(96, 160)]), maps)
    require_close(reference.run(graph, {"image": image})["boxes"], wanted)


def test_default_boxes_are_torchvisions() -> None:
    """The third would be wider than the image, the last one higher."""
    maps = torch.zeros(2, 8, 5, 5)
    generator = DefaultBoxGenerator([[4]], scales=[0.6, 0.9], steps=[60])
    wanted = generator(ImageList(torch.zeros(2, 3, 300, 300), [(300, 300)] * 2), [maps])[0]
    square = (0.6 * 0.9) ** 0.5
    shapes = f"[(0.6, 0.6), ({square}, {square}), (1.2, 0.3), (0.3, 1.2)]"
    found = computed(f"d.default_boxes(x, 300, 60, {shapes})", x=maps)
    assert len(found) == 5 * 5 * 4
    require_close(found, wanted)


def test_rows_of_anchors() -> None:
    x = torch.randn(2, 12, 5, 7)
    wanted = x.view(2, 3, 4, 5, 7).permute(0, 3, 4, 1, 2).reshape(2, -1, 4)
    assert torch.equal(computed("d.anchor_rows(x, 4)", x=x), wanted)


def test_feature_pyramid() -> None:
    torch.manual_seed(0)
    module = ops.FeaturePyramidNetwork([6, 8, 10], 4)
    maps = {str(i): torch.randn(2, c, s, s + 1) for i, (c, s) in enumerate([(6, 20), (8, 9), (10, 5)])}
    graph = elaborate_text(f"""{IMPORT}model m() {{
  input a: float32[2, 6, 20, 21]
  input b: float32[2, 8, 9, 10]
  input c: float32[2, 10, 5, 6]
  x, y, z = [a, b, c] -> fpn: d.FeaturePyramidNetwork(4)
  output x, y, z
}}""")
    state = {f"fpn.{key}": value.detach().numpy() for key, value in module.state_dict().items()}
    assert {weight.key for weight in graph.weights} == {*state}
    lowered = lower(bind(graph, state).graph)
    inputs = dict(zip("abc", maps.values(), strict=True))
    found = evaluate(lowered.network, inputs, weights=lowered.weights)
    with torch.no_grad():
        for each, wanted in zip(found.values(), module(maps).values(), strict=True):
            require_close(each, wanted)


def test_frozen_batch_norm() -> None:
    module: Any = ops.FrozenBatchNorm2d(3)
    noise = torch.Generator().manual_seed(0)
    state = {name: torch.rand(3, generator=noise) + 0.5 for name in module.state_dict()}
    module.load_state_dict(state)
    x = torch.randn(2, 3, 4, 5, generator=noise)
    graph = elaborate_text(f"""{IMPORT}model m() {{
  input x: float32[2, 3, 4, 5]
  output y = x -> bn: d.FrozenBatchNorm2d()
}}""")
    bound = bind(graph, {f"bn.{name}": value.numpy() for name, value in state.items()}).graph
    lowered = lower(bound)
    require_close(evaluate(lowered.network, {"x": x}, weights=lowered.weights)["y"], module(x))
