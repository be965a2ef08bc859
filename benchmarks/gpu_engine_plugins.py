"""Plugins on a GPU: TensorRT's own, by name, held against what numpy makes of the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gpu_engine_bench import Bench, NotHere, refused
from gpu_engine_machine import build_and_compare
from gpu_engine_models import Case

import trtdsl
from trtdsl.compile import compile_graph
from trtdsl.options import CompileOptions

NMS = """\
import "std/detection.trtnet" as d

model nms() {
  dim N = 1 .. 2 .. 4
  input boxes: float32[N, 60, 4]
  input scores: float32[N, 60, 3]
  n, b, s, k = (boxes * 2.0, scores) -> _: d.EfficientNMS(25, iou_threshold = 0.4)
  output count = n
  output box = b * 0.5
  output score = s
  output kind = k
}
"""


def _nms() -> Case:
    random = np.random.default_rng(5)
    corners = random.uniform(0, 8, (2, 60, 2))
    boxes = np.concatenate([corners, corners + random.uniform(2, 6, (2, 60, 2))], -1).astype("f4")
    scores = random.random((2, 60, 3), dtype=np.float32)
    found = [_suppressed(*pair) for pair in zip(boxes, scores, strict=True)]
    expected = {name: np.stack([each[name] for each in found]) for name in found[0]}
    return Case(NMS, {"boxes": boxes, "scores": scores}, expected, limit=1e-6)


def _suppressed(boxes: Any, scores: Any) -> Mapping[str, Any]:
    """Of one image: greedily, from the highest score of any class down."""
    wide = boxes.astype("f8")
    kept: list[tuple[int, int]] = []
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        box, kind = divmod(int(flat), scores.shape[1])
        above = scores[box, kind] > 0.25
        if above and all(k != kind or _overlap(wide[box], wide[b]) <= 0.4 for b, k in kept):
            kept.append((box, kind))
    kept = kept[:25]
    places = np.array([box for box, _ in kept])
    kinds = np.array([kind for _, kind in kept])

    def padded(rows: Any) -> Any:
        return np.concatenate([rows, np.zeros((25 - len(rows), *rows.shape[1:]), rows.dtype)])

    return {
        "count": np.array([len(kept)]),
        "box": padded(boxes[places]),
        "score": padded(scores[places, kinds]),
        "kind": padded(kinds),
    }


def _overlap(one: Any, other: Any) -> float:
    size = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return size.prod() / (sum(areas) - size.prod())


GELU = """\
def tanh_gelu(x) {{
  return gelu(x, approximate = "tanh")
}}

model gelu_{dtype}() {{
  dim N = 1 .. 2 .. 4
  input x: float32[N, 16, 64]
  y = plugin(
    "CustomGeluPluginDynamic",
    outputs = [({dtype}, [N, 16, 64])],
    type_id = {type_id},
    reference = tanh_gelu,
  )(to(x - 0.5, {dtype}))
  output y = to(y, float32) * 2.0
}}
"""


def _gelu(dtype: str, type_id: int, limit: float) -> Case:
    x = np.random.default_rng(6).standard_normal((2, 16, 64)).astype("f4")
    given = (x - np.float32(0.5)).astype(dtype).astype("f8")
    y = given * (1 + np.tanh(math.sqrt(2 / math.pi) * (given + 0.044715 * given**3)))
    return Case(GELU.format(dtype=dtype, type_id=type_id), {"x": x}, {"y": y}, limit=limit)


CASES: Mapping[str, Case] = {
    "nms": _nms(),
    "gelu": _gelu("float32", 0, 1e-5),
    "gelu in float16": _gelu("float16", 1, 2e-3),
}


def _require_plugins(bench: Bench) -> None:
    if not bench.engine.dialect.places_plugins:
        raise NotHere(f"{bench.engine.dialect} cannot place plugins")


def plugin_of_several_outputs(bench: Bench) -> str:
    """the plugin EfficientNMS_TRT: four outputs, layers before and after it, named in the manifest"""
    _require_plugins(bench)
    found = build_and_compare(bench, CASES["nms"])
    path, inputs = bench.folder / "nms.engine", bench.folder / "nms.npz"
    np.savez(inputs, **CASES["nms"].inputs)
    # In a process of its own nothing has been registered before.
    given = [f"--input={name}={inputs}" for name in CASES["nms"].inputs]
    bench.command(0, "run", path, *given, "--output", bench.folder / "found.npz")
    with np.load(bench.folder / "found.npz") as again:
        CASES["nms"].error_of(dict(again))
    assert "EfficientNMS_TRT version 1" in bench.command(0, "inspect", path)
    return found


def plugin_of_each_float(bench: Bench) -> str:
    """the plugin CustomGeluPluginDynamic, whose field says its type, in float32 and in float16"""
    _require_plugins(bench)
    return "; ".join(build_and_compare(bench, CASES[name]) for name in ("gelu", "gelu in float16"))


def plugin_mistakes(bench: Bench) -> None:
    """plugins, fields and outputs that are not there are told at their places in the text"""
    _require_plugins(bench)
    right = CASES["gelu"].text
    for before, after, words in (
        ("CustomGeluPluginDynamic", "CustomGeluPluginDynamics", "did you mean `CustomGeluPluginDynamic`?"),
        ("type_id = 0,", 'type_id = 0,\n    version = "9",', "`CustomGeluPluginDynamic` version 9, but"),
        ("type_id = 0", "type_idd = 0", "has no field `type_idd`, did you mean `type_id`?"),
        ("type_id = 0", "type_id = 77", "`CustomGeluPluginDynamic` cannot be made with these fields"),
        ("type_id = 0", "type_id = 0.5", "the field `type_id` is int32, which cannot be 0.5"),
    ):
        assert before in right
        with refused(words):
            _compile(bench, right.replace(before, after))
    wrong = right.replace("[N, 16, 64])],", "[N, 16, 32])],").replace("    reference = tanh_gelu,\n", "")
    with refused("the plugin makes float32[?, 16, 64] of output 0", "`outputs` says float32[N, 16, 32]"):
        _compile(bench, wrong)


def _compile(bench: Bench, text: str) -> None:
    options = CompileOptions(runtime=bench.runtime, tf32=False)
    compile_graph(trtdsl.elaborate_text(text), bench.folder / "wrong.engine", options)
