"""Ranges that checkpoints have, as ModelOpt and compressed-tensors leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph
from trtdsl.passes import optimize
from trtdsl.precision.layers import quantisable_layers
from trtdsl.precision.pipeline import narrow
from trtdsl.precision.ranges import LayerRange, read_ranges
from trtdsl.precision.stored import stored_ranges
from trtdsl.recipe import Recipe
from trtdsl.reference import random_weights
from trtdsl.types import DType

MODEL = """
model m() {
  input x: float32[4, 16, 8, 8]
  h = x -> conv: Conv2d(32, 3) -> bn: BatchNorm2d -> relu -> permute(0, 2, 3, 1)
  output y = h -> fc1: Linear(32) -> relu -> fc2: Linear(32)
}
"""


@pytest.fixture
def graph() -> Graph:
    return optimize(random_weights(elaborate_text(MODEL), 1))


def checkpoint(folder: Path, **entries: Any) -> Path:
    arrays = {name.replace("__", "."): np.asarray(value, np.float32) for name, value in entries.items()}
    save_file({**arrays, "conv.weight": np.zeros((1, 1), np.float32)}, folder / "m.safetensors")
    return folder / "m.safetensors"


def ends(path: Path, graph: Graph, dtype: DType = DType.INT8) -> dict[str, float]:
    return {label: layer.input for label, layer in stored_ranges(path, graph, dtype).layers.items()}


def test_magnitudes_of_modelopt(graph: Graph, tmp_path: Path) -> None:
    entries = {"conv__input_quantizer___amax": 2.5, "fc1__input_quantizer___amax": [4.0]}
    path = checkpoint(tmp_path, **entries)
    # A label that another was folded into has those of the first.
    assert ends(path, graph) == ends(path, graph, DType.FLOAT8) == {"conv+bn": 2.5, "fc1": 4.0}
    found = narrow(graph, Recipe(precision="int8", scales=path))
    assert [decision.reason for decision in found.decisions] == ["", "", "the checkpoint has no range of it"]


MERGED = """
model m() {
  input x: float32[4, 16, 64]
  q = transpose(reshape(x -> q: Linear(64), (4, 16, 4, 16)), 1, 2)
  k = transpose(reshape(x -> k: Linear(64), (4, 16, 4, 16)), 1, 2)
  v = transpose(reshape(x -> v: Linear(64), (4, 16, 4, 16)), 1, 2)
  output y = scaled_dot_product_attention(q, k, v)
}
"""
COMPOSED = """
model m() {
  input x: float32[4, 4, 8, 8]
  output y = x -> wide: Conv2d(16, 3) -> narrow: Conv2d(2, 1)
}
"""


def test_layers_of_one_input_have_the_largest_range(tmp_path: Path) -> None:
    graph = optimize(random_weights(elaborate_text(MERGED), 1))
    path = checkpoint(
        tmp_path,
        **{f"{name}__input_quantizer___amax": end for name, end in zip("qkv", (2.0, 1.0, 3.0), strict=True)},
    )
    assert [*ends(path, graph).values()] == [3.0]


@pytest.mark.parametrize(("seen", "end"), [({"wide": 2.0, "narrow": 9.0}, [2.0]), ({"narrow": 9.0}, [])])
def test_composed_convolutions_have_the_range_of_the_first(
    seen: dict[str, float], end: list[float], tmp_path: Path
) -> None:
    graph = optimize(random_weights(elaborate_text(COMPOSED), 1))
    entries = {f"{name}__input_quantizer___amax": end for name, end in seen.items()}
    path = checkpoint(tmp_path, wide__weight=np.zeros((16, 4, 3, 3)), **entries)
    if end:
        assert [*ends(path, graph).values()] == end
        return
    with pytest.raises(UsageError, match="no ranges of the layers"):
        ends(path, graph)


BEHIND = """
model m() {
  input x: float32[4, 16, 8, 8]
  output y = x -> bn: BatchNorm2d -> conv: Conv2d(32, 3) -> relu -> conv2: Conv2d(32, 3)
}
"""


def test_what_is_read_behind_a_normalisation_is_another_tensor(tmp_path: Path) -> None:
    """The normalisation is in the convolution's weights, and the range would be of its result."""
    graph = optimize(random_weights(elaborate_text(BEHIND), 1))
    path = checkpoint(tmp_path, conv__input_scale=0.5, conv2__input_scale=0.25)
    assert ends(path, graph) == {"conv2": 31.75}
    found = narrow(graph, Recipe(precision="int8", scales=path))
    assert [each.reason for each in found.decisions] == ["the checkpoint has no range of what `bn` reads", ""]
    (tmp_path / "r.json").write_text('{"format": 1, "layers": {"conv": {"input": 3}, "conv2": {"input": 2}}}')
    with pytest.raises(UsageError, match=r"the input of `bn\+conv` has no range"):
        narrow(graph, Recipe(precision="int8", scales=tmp_path / "r.json"))


def test_a_file_of_ranges_may_name_the_parts_of_layers(tmp_path: Path, graph: Graph) -> None:
    """As one that was calibrated without the pass does that puts them together."""
    bound = random_weights(elaborate_text(MERGED), 1)
    whole, apart = optimize(bound), optimize(bound, skip=["merge_heads"])
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(8, 16, 64)).astype(np.float32))
    written = narrow(apart, Recipe(precision="int8", calibrate=tmp_path / "d.npz")).ranges
    written.write(tmp_path / "r.json")
    (label,) = {layer.label for layer in quantisable_layers(whole)}
    assert label == "q+y+k+v" and label not in written.layers
    found = narrow(whole, Recipe(precision="int8", scales=tmp_path / "r.json")).ranges
    expected = narrow(whole, Recipe(precision="int8", calibrate=tmp_path / "d.npz")).ranges
    expected.write(tmp_path / "whole.json")
    joined, read = (each.layers[label] for each in (found, read_ranges(tmp_path / "whole.json")))
    assert joined == read and len(joined.channels) == 64
    entries = {"k": {"input": 2.0, "max": 9.0}, "q": {"input": 3.0, "infinite": 4}}
    (tmp_path / "r.json").write_text(json.dumps({"format": 1, "layers": entries}))
    assert stored_ranges(tmp_path / "r.json", whole, DType.INT8).layers[label] == LayerRange(3, 9, 3, 4)
    # Of two layers one behind the other, and of a normalisation, the first.
    (tmp_path / "r.json").write_text('{"format": 1, "layers": {"conv": {"input": 3}, "bn": {"input": 7}}}')
    assert ends(tmp_path / "r.json", graph)["conv+bn"] == 3.0


def test_a_checkpoint_of_torch(graph: Graph, tmp_path: Path) -> None:
    torch.save({"fc1.input_quantizer._amax": torch.tensor(4.0)}, tmp_path / "m.pth")
    assert ends(tmp_path / "m.pth", graph) == {"fc1": 4.0}


def test_scales_of_compressed_tensors(graph: Graph, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, fc1__input_scale=[0.5], fc2__input_scale=0.25)
    assert ends(path, graph) == {"fc1": 63.5, "fc2": 31.75}
    assert ends(path, graph, DType.FLOAT8) == {"fc1": 224.0, "fc2": 112.0}


def test_scales_of_nvfp4(graph: Graph, tmp_path: Path) -> None:
    """Either is of the largest block, of 6, by the largest scale, of 448."""
    path = checkpoint(tmp_path, fc1__input_scale=0.5, fc2__input_global_scale=[4.0])
    assert ends(path, graph, DType.FLOAT4) == {"fc1": 1344.0, "fc2": 672.0}


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({}, "has no ranges of the layers of `m`"),
        ({"fc1__input_scale": [1.0, 2.0]}, "`fc1.input_scale` has 2 numbers: the input of a layer has one"),
        ({"fc1__input_global_scale": 0.0}, "`fc1.input_global_scale` gives a range of inf"),
        ({"fc1__input_scale": np.inf}, "`fc1.input_scale` gives a range of inf"),
        ({"fc1__input_quantizer___amax": -1.0}, "`fc1.input_quantizer._amax` gives a range of -1"),
    ],
)
def test_what_is_refused(graph: Graph, tmp_path: Path, entries: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        stored_ranges(checkpoint(tmp_path, **entries), graph, DType.INT8)


def test_a_file_of_ranges_is_told_by_its_text(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"format": 1, "layers": {"fc1": {"input": 3}}}')
    assert ends(tmp_path / "r.json", graph) == {"fc1": 3.0}
    with pytest.raises(UsageError, match="cannot read"):
        stored_ranges(tmp_path / "none.json", graph, DType.INT8)
