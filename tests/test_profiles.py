"""Profiles that are chosen when a model is compiled: their sizes, where they end up, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trtdsl
from tests.command import trtdsl as command
from trtdsl.compile import optimize_graph
from trtdsl.diagnostics import UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, Profile, require_valid
from trtdsl.ir.profiles import with_fixed_sizes, with_profiles
from trtdsl.options import CompileOptions
from trtdsl.reference import run

TEXT = """model m {
  dim N = 1 .. 8 .. 64
  dim H = 32 .. 64 .. 128, step = 32
  profile large { N = 64 .. 64 .. 64 }
  input x: float32[N, 3, H, H]
  output y = relu(x)
}
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "m.trtnet"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("N=8", {"N": (8, 8, 8), "H": (32, 64, 128)}),
        (" N = 1 .. 2 .. 4 , H=64", {"N": (1, 2, 4), "H": (64, 64, 64)}),
        ({"H": [32, 32, 96], "N": np.int64(64)}, {"N": (64, 64, 64), "H": (32, 32, 96)}),
    ],
)
def test_sizes_that_are_not_named_stay_those_of_the_text(given: Any, expected: object) -> None:
    (profile,) = with_profiles(elaborate_text(TEXT), CompileOptions(profiles=given).profiles).profiles
    assert profile.ranges == expected


def test_an_engine_has_the_profiles_in_their_order(text: Path) -> None:
    engine = text.with_suffix(".engine")
    words = ("--profile", "N=1", "--profile", "N=8,H=64")
    assert command("compile", text, "-o", engine, *words) == 0
    manifest = json.loads(Path(f"{engine}.json").read_text())
    assert [each["name"] for each in manifest["profiles"]] == ["N_1", "N_8_H_64"]
    shapes = [each["inputs"]["x"] for each in manifest["profiles"]]
    assert shapes == [[[1, 3, 32, 32], [1, 3, 64, 64], [1, 3, 128, 128]], [[8, 3, 64, 64]] * 3]
    assert tuple(manifest["command"][-4:]) == words


def test_a_script_has_them_too(text: Path) -> None:
    script = text.with_name("build.py")
    assert command("export", "--to", "tensorrt", text, "-o", script, "--profile", "N=8, H=64") == 0
    written = script.read_text()
    assert "(8, 3, 64, 64)" in written
    assert command("export", "--to", "tensorrt", text, "-o", script, "--profile", "N=8") == 0
    assert '"x": ((8, 3, 32, 32), (8, 3, 64, 64), (8, 3, 128, 128))' in script.read_text()


FIXED = """model m {
  dim N = 1 .. 2 .. 8
  dim S = 3 .. 4 .. 8
  dim H = 32 .. 64 .. 128, step = 32
  input x: float32[N, S, H]
  angle = cos(arange(S) / S)[:, none] + arange(H // 32)
  output y = sum(reshape(x, N, S, H // 32, 32), 3) * angle
  output z = reshape(x, N * S, H)
}
"""


def fixed(*given: str) -> Graph:
    graph = with_fixed_sizes(with_profiles(elaborate_text(FIXED), CompileOptions(profiles=given).profiles))
    require_valid(graph)
    return graph


def test_a_dimension_of_one_size_is_that_size() -> None:
    graph = fixed("N=1, S=4", "N=8, S=4")
    assert [symbol.name for symbol in graph.symbols] == ["N", "H"]
    assert [dict(profile.ranges) for profile in graph.profiles] == [
        {"N": (1, 1, 1), "H": (32, 64, 128)},
        {"N": (8, 8, 8), "H": (32, 64, 128)},
    ]
    assert str(graph.inputs[0].type) == "float32[N, 4, H]"
    assert [str(output.value.type) for output in graph.outputs] == [
        "float32[N, 4, H // 32]",
        "float32[4 * N, H]",
    ]


def test_without_dynamic_dimensions_there_are_no_profiles() -> None:
    graph = fixed("N=2, S=4, H=64")
    assert (graph.symbols, graph.profiles) == ((), ())
    assert [str(output.value.type) for output in graph.outputs] == ["float32[2, 4, 2]", "float32[8, 64]"]
    given = elaborate_text(FIXED)
    twice = given.replace(profiles=(*fixed_profiles(given), *fixed_profiles(given)))
    assert with_fixed_sizes(twice) is twice  # the engine would have one, its manifest two


def fixed_profiles(graph: Graph) -> tuple[Profile, ...]:
    return with_profiles(graph, "N=2, S=4, H=64").profiles


def test_what_depends_on_it_alone_is_computed_now() -> None:
    options = CompileOptions(profiles="N=1..2..8, S=4, H=64")
    optimized = optimize_graph(elaborate_text(FIXED), options)
    kinds = [node.op.name for node in optimized.graph.nodes]
    assert "arange" not in kinds and "cos" not in kinds
    assert [value.type for value in optimized.taken.inputs] == [elaborate_text(FIXED).inputs[0].type]


def test_an_engine_takes_what_the_profile_says(tmp_path: Path) -> None:
    """And tells so by the text's names, whatever TensorRT was told."""
    path = tmp_path / "m.trtnet"
    path.write_text(FIXED)
    runner = trtdsl.load(path, device="cpu", options=CompileOptions(profiles="N=2, S=4, H=64"))
    assert runner.manifest.inputs[0].shape == ("N", "S", "H")
    x = np.random.default_rng(0).random((2, 4, 64), np.float32)
    found, expected = runner(x=x), run(elaborate_text(FIXED), {"x": x})
    for name in ("y", "z"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    with pytest.raises(UsageError, match="the model does not accept"):
        runner(x=x[:1])


def test_the_cpu_takes_the_same_sizes(text: Path) -> None:
    runner = trtdsl.load(text, device="cpu", options=CompileOptions(profiles=["N=1", {"N": 8}]))
    for count in (1, 8):
        assert runner(x=np.ones((count, 3, 32, 32), "f4"))["y"].shape == (count, 3, 32, 32)
    with pytest.raises(UsageError, match="no profile of the model accepts"):
        runner(x=np.ones((2, 3, 32, 32), "f4"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("n=8", "`n`, which is not a dynamic dimension, did you mean `N`"),
        ("M=8", "the model's dynamic dimensions: `N`, `H`"),
        ("N=65", "`N` to 65, which the model does not take"),
        ("N=0..1..2", "its text has N from 1 to 64"),
        ("H=40", "the nearest sizes are 32 and 64"),
        ("N=8, N=8", "sets `N` twice"),
        ("N=8..4..2", "not `min .. opt .. max`: 8 .. 4 .. 2"),
        ("N", "write `N=8`, or"),
        ("N=1..8", "is not sizes by dimension"),
        ("", "is not sizes by dimension"),
        ({"N": "8"}, "is not sizes by dimension"),
        ({"N": (1, 8)}, "is not sizes by dimension"),
        ({"N": True}, "is not sizes by dimension"),
        ({"N": (True, 8, 32)}, "is not sizes by dimension"),
        ({"N": b"\x01\x08\x20"}, "is not sizes by dimension"),
        ({"N": {1, 8, 32}}, "is not sizes by dimension"),
        ({"N=1,H": 32}, "is not sizes by dimension"),
        ({1: 8}, "is not sizes by dimension"),
        ("N=" + "1" * 5000, "sets `N` to a size of more than 18 digits"),
        ({"N": 10**5000}, "sets `N` to a size of more than 18 digits"),
        ({}, "is not sizes by dimension"),
        (8, "is not sizes by dimension"),
        (["N=8", {"N": 8}], "is given twice"),
    ],
)
def test_sizes_that_no_profile_can_have(given: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_profiles(elaborate_text(TEXT), CompileOptions(profiles=given).profiles)
    assert message in str(caught.value)


def test_a_model_of_fixed_sizes_has_no_profiles() -> None:
    graph = elaborate_text("model s { input x: float32[2] output y = relu(x) }")
    with pytest.raises(UsageError, match="`s` has no dynamic dimensions"):
        with_profiles(graph, ["N=8"])
