"""`verify` on what it is given: inputs, stored outputs, numbers, and what to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trtdsl
from tests.command import trtdsl as main
from trtdsl.diagnostics import UsageError
from trtdsl.ir import Graph

PAIR = """model pair() {
  dim N = 1 .. 3 .. 8
  input left: float32[N, 2]
  input right: float32[N, 2]
  output y = left + right
}
"""


class Sum(nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left + right


def graph_of(text: str) -> Graph:
    return trtdsl.elaborate_text(text, "given.trtnet")


def floats(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pair.trtnet").write_text(PAIR)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments: str) -> int:
    return main("verify", "pair.trtnet", *arguments)


# --- Sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "size"),
    [("min", 1), ("max", 8), ("N=5", 5), (" N = 7 ", 7), ({"N": np.int64(4)}, 4)],
)
def test_made_up_inputs_have_the_sizes_that_are_chosen(at: Any, size: int) -> None:
    assert trtdsl.verify(graph_of(PAIR), against=Sum(), at=at).sizes == {"N": size}


def test_a_chosen_size_is_that_of_given_inputs() -> None:
    given = {"left": floats(4, 2)}
    assert trtdsl.verify(graph_of(PAIR), against=Sum(), inputs=given, at={"N": 4}).sizes == {"N": 4}
    with pytest.raises(UsageError, match=r"`--at N=3`: `N` is 4 in the given inputs"):
        trtdsl.verify(graph_of(PAIR), against=Sum(), inputs=given, at={"N": 3})


# --- Stored outputs ---------------------------------------------------------------------------------------


def test_stored_outputs_are_of_given_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = floats(2, 2), 2 * floats(2, 2)
    np.save("right.npy", right)
    np.savez("ref.npz", left=left, y=left + right)
    assert command("--outputs", "ref.npz") == 2
    assert capsys.readouterr().err == (
        "error: `ref.npz` holds no input `right`: the expected outputs were computed from inputs that must be"
        " in the file or given by `--input`\n"
    )
    assert command("--outputs", "ref.npz", "--input", "right=right.npy") == 0
    np.savez("ref.npz", y=left + right)
    with pytest.raises(UsageError, match=r"`ref.npz` holds no inputs `left`, `right`: the expected"):
        trtdsl.verify("pair.trtnet", outputs="ref.npz")


def test_stored_outputs_of_a_model_without_inputs(folder: Path) -> None:
    graph = graph_of("model m() {\n  output y = zeros(3) + 2.0\n}\n")
    np.savez("ref.npz", y=np.full(3, 2, np.float32))
    assert trtdsl.verify(graph, outputs="ref.npz").equal


@pytest.mark.parametrize(
    ("names", "further", "note"),
    [
        ("y", ["mask"], "`ref.npz` holds `mask`, which is neither an input nor an output of the model"),
        ("y", ["a", "b"], "`ref.npz` holds `a`, `b`, which are neither inputs nor outputs of the model"),
        # Outputs are taken by position where not all have their names there.
        ("z", ["a"], "`ref.npz` holds `a`, which is neither an input nor an output of the model"),
        ("y", [], None),
    ],
)
def test_further_arrays_are_noted(folder: Path, names: str, further: list[str], note: str | None) -> None:
    left = floats(2, 2)
    arrays: dict[str, Any] = {names: left + left, **dict.fromkeys(further, left)}
    np.savez("ref.npz", left=left, right=left, **arrays)
    found = trtdsl.verify("pair.trtnet", outputs="ref.npz")
    assert found.equal
    assert found.notes == ((note,) if note else ())


@pytest.mark.parametrize(
    ("output", "array", "note"),
    [
        ("x > 0.0", np.ones(3, np.float32), "the expected output `y` is float32 in `ref.npz`, but bool[3]"),
        ("x * 2.0", np.full(3, 2), "the expected output `y` is int64 in `ref.npz`, but float32[3]"),
        ("x * 2.0", np.full(3, 2.0), None),
        ("argmax(x, 0)", np.array(0, np.int32), None),
    ],
)
def test_outputs_of_another_kind_are_noted(folder: Path, output: str, array: Any, note: str | None) -> None:
    np.savez("ref.npz", x=np.ones(3, np.float32), y=array)
    graph = graph_of(f"model m() {{\n  input x: float32[3]\n  output y = {output}\n}}\n")
    found = trtdsl.verify(graph, outputs="ref.npz")
    assert found.equal
    assert found.notes == ((f"{note} in the model",) if note else ())


# --- Inputs that do not fit -------------------------------------------------------------------------------

MISFITS = {
    "fixed": ({"left": (3, 5)}, "input `left`: dimension 1 must be 2, not 5"),
    "two inputs": (
        {"left": (2, 2), "right": (4, 2)},
        "input `right`: dimension 0 is 4, but `N` is 2 by input `left`",
    ),
    "given in another order": (
        {"right": (4, 2), "left": (2, 2)},
        "input `right`: dimension 0 is 4, but `N` is 2 by input `left`",
    ),
    "out of range": ({"left": (9, 2)}, "`N` is 9, outside of 1 .. 8"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_inputs_that_do_not_fit(name: str) -> None:
    shapes, says = MISFITS[name]
    with pytest.raises(UsageError) as caught:
        trtdsl.verify(graph_of(PAIR), None, Sum(), inputs={k: floats(*shape) for k, shape in shapes.items()})
    assert [each.message for each in caught.value.diagnostics] == [says]


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (
            {"a": (2, 3), "b": (5,)},
            "input `b`: dimension 0 is 5, but `N * M` is 6 by input `a`",
        ),
        ({"c": (5,)}, "input `c`: dimension 0 is 5, but no N from 1 to 4 makes `2 * N` that"),
        ({"b": (6,)}, "the given inputs do not say what `M` and `N` are in `N * M`"),
        ({"a": (2, 3), "c": (2,)}, "input `c`: dimension 0 is 2, but `2 * N` is 4 by input `a`"),
        (
            {"b": (5,), "c": (4,), "d": (7,)},
            "input `b`: dimension 0 is 5, but `N * M` is 6 by input `c` and `d`",
        ),
    ],
)
def test_computed_dimensions_that_do_not_fit(shapes: dict[str, tuple[int, ...]], says: str) -> None:
    graph = graph_of(
        "model m() {\n  dim N = 1 .. 2 .. 4\n  dim M = 1 .. 2 .. 4\n  input a: float32[N, M]\n"
        "  input b: float32[N * M]\n  input c: float32[2 * N]\n  input d: float32[2 * M + 1]\n"
        "  output y = a\n}\n"
    )
    with pytest.raises(UsageError) as caught:
        trtdsl.verify(graph, None, nn.Identity(), inputs={k: floats(*each) for k, each in shapes.items()})
    assert [each.message for each in caught.value.diagnostics] == [says]


def test_byte_order_is_no_matter(folder: Path) -> None:
    left, right = floats(2, 2), 2 * floats(2, 2)
    np.save("left.npy", left.astype(">f4"))
    np.savez("ref.npz", right=right.astype(">f4"), y=(left + right).astype(">f4"))
    assert command("--outputs", "ref.npz", "--input", "left=left.npy") == 0


# --- Numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--tolerance", "-1", "`--tolerance` is -1, but must be a number that is 0 or more"),
        ("--tolerance", "nan", "`--tolerance` is nan, but must be a number that is 0 or more"),
        ("--tolerance", "inf", "`--tolerance` is inf, but must be a number that is 0 or more"),
        ("--seed", "-1", "`--seed` is -1, but must be 0 or more"),
    ],
)
def test_numbers_that_mean_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, says: str
) -> None:
    assert command("--against", f"{__file__}:Sum", option, value) == 2
    assert capsys.readouterr().err == f"error: {says}\n"


def test_no_tolerance_at_all() -> None:
    assert trtdsl.verify(graph_of(PAIR), None, Sum(), tolerance=0.0).equal


# --- What to compare with ---------------------------------------------------------------------------------


def test_what_to_compare_with_is_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 2
    assert capsys.readouterr().err == (
        "error: one of `--against` (against=), `--onnx` (onnx=), `--outputs` (outputs=) says what to compare"
        " with\n"
    )
    assert command("--onnx", "x.onnx", "--outputs", "ref.npz") == 2
    assert capsys.readouterr().err == (
        "error: `--onnx` (onnx=) and `--outputs` (outputs=) are given, but only one may say what to compare"
        " with\n"
    )
