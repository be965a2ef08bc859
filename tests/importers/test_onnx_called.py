"""What files of PyTorch's exporter say in other words than the source: calls of modules, copies, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.importers.exported import Exported
from trtdsl.importers.onnx_import import import_onnx
from trtdsl.importers.onnx_lines import as_written
from trtdsl.importers.onnx_scopes import numbered_calls, placed_calls
from trtdsl.importers.program import Call, Frame, Operation, Program, Ref
from trtdsl.importers.simplify import simplify
from trtdsl.types import DType, Symbol, TensorType

DIMS = {"N": Symbol("N", 1, 2, 16)}


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(x).relu()
        return self.down(y) + x


class Again(nn.Module):
    """One layer three times, then a mean of two."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Layer()

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.layer.down(x.relu().repeat(1, 2))) / 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = self.layer(x)
        return torch.where(x.to(torch.int32) == 3, self.mean(x), x)


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu()


class Parts(nn.Module):
    """Pieces that are read far from each other, in and behind the calls of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([Part(), Part(), Part()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pieces = x.chunk(4, 1)
        found = [self.parts[0](pieces[0])]
        found.append(self.parts[1](found[-1] + pieces[1]))
        found.append(self.parts[2](found[-1] + pieces[2]))
        return torch.cat([*found, pieces[3]], 1)


class Tables(nn.Module):
    """Constants and weights that a file has moved: a buffer that no state dict has, a transposed table."""

    places: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(40, 4))
        self.keys = nn.Parameter(torch.randn(20, 8))
        self.register_buffer("places", torch.arange(36) * 7 % 40, persistent=False)
        self.waves = torch.randn(6, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sin, cos = self.waves.repeat(1, 2).chunk(2, -1)
        x = x * cos + x.roll((0, 2), (0, 1)) * sin
        scores = x @ self.keys.transpose(-1, -2)
        bias = self.table[self.places].view(6, 24).permute(1, 0)
        written = scores.clone()
        written[:, :3] += bias[:3, :1].reshape(1, 3, 1)
        written[:, :] = written * 2
        return written


MODULES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "again": (Again, (2, 8)),
    "parts": (Parts, (2, 8, 6, 4)),
    "tables": (Tables, (2, 6, 8)),
}


@pytest.mark.parametrize("name", list(MODULES))
def test_a_file_gives_the_text_of_the_module(name: str, tmp_path: Path) -> None:
    make, shape = MODULES[name]
    each = Exported(lambda: (make().eval(), (torch.randn(shape),), ({0: "N"},)), tmp_path)
    assert import_onnx(each.path(), DIMS, name="net").text == each.wanted.text


# --- Calls of modules -------------------------------------------------------------------------------------

NET, PART = "lib.net.Net", "lib.net.Part"
LINEAR = "torch.nn.modules.linear.Linear"


def step(name: str, path: str, *lines: tuple[str, int], kinds: tuple[str, ...] = (PART, LINEAR)) -> Operation:
    """An operation in the modules of a path, with the lines of ``forward`` that led to it."""
    parts = path.split(".") if path else []
    calls = tuple(
        Call(".".join(parts[: depth + 1]), kind)
        for depth, kind in zip(range(len(parts)), kinds, strict=False)
    )
    frames = tuple(Frame(f"/site/{file}.py", line, "forward") for file, line in lines)
    return Operation(name, {"self": Ref("x")}, ("y",), calls, frames)


def numbers(operations: list[Operation]) -> list[list[int]]:
    return [[call.number for call in each.calls] for each in numbered_calls(operations)]


CALLED = ("lib/net", 9)


def test_a_module_is_called_again_where_all_that_it_does_is_done_again() -> None:
    part = [step("linear", "part", CALLED, ("lib/net", 3)), step("relu", "part", CALLED, ("lib/net", 4))]
    assert numbers([*part, *part, *part]) == [[0], [0], [1], [1], [2], [2]]
    # What it does in a loop of its own, among other things, is one call.
    first = step("add", "part", CALLED, ("lib/net", 2))
    assert numbers([first, *part, *part]) == [[0]] * 5
    # So are equal operations on one line.
    assert numbers([part[0], part[0]]) == [[0], [0]]


def test_a_module_within_one_that_is_called_again_is_in_its_call() -> None:
    inner = step("linear", "part.fc", CALLED, ("lib/net", 3), ("torch/nn/modules/linear", 1))
    outer = step("relu", "part", CALLED, ("lib/net", 4))
    assert numbers([inner, outer, inner, outer]) == [[0, 0], [0], [1, 0], [1]]


def test_an_operation_that_its_call_did_not_lead_to_is_in_the_one_that_still_runs() -> None:
    ran = step("conv2d", "part", CALLED, ("lib/net", 20))
    behind = step("view", "next.fc", CALLED, ("lib/net", 21))
    inside = step("linear", "next.fc", CALLED, ("lib/net", 5), ("torch/nn/modules/linear", 1))
    found = placed_calls([ran, behind, inside])
    assert [[call.path for call in each.calls] for each in found] == [["part"], ["part"], ["next", "next.fc"]]


def test_an_operation_between_calls_is_in_none_of_a_container() -> None:
    kinds = ("torch.nn.modules.container.Sequential", LINEAR)
    behind = step("view", "parts.0", ("lib/net", 9), kinds=kinds)
    inside = step("linear", "parts.0", ("lib/net", 9), ("torch/nn/modules/linear", 1), kinds=kinds)
    assert [len(each.calls) for each in placed_calls([behind, inside])] == [0, 2]


# --- Lines ------------------------------------------------------------------------------------------------

N = Symbol("N", 1, 2, 16)


@pytest.mark.parametrize(
    ("line", "shape", "sizes", "found"),
    [
        ("y = x.flatten(0, 1)", (2, 6, 4), (12, 4), (0, 1)),
        ("y = torch.flatten(x, 1)", (2, 6, 4), (2, 24), (1, -1)),
        ("y = f(x.flatten(start_dim=1, end_dim=2).relu())", (2, 6, 4, 5), (2, 24, 5), (1, 2)),
        ("return input.flatten(self.start_dim, self.end_dim)", (2, 6, 4), (2, 24), (1, -1)),
        ("y = self.helper(x)", (2, 6, 4), (48,), (0, -1)),
        ("y = self.helper(x)", (2, 6, 4, 5), (2, 120), (1, -1)),
        ("y = self.helper(x)", (2, 6, 4, 5), (2, 6, 20), None),
        ("y = self.helper(x)", (2, 6, 4), (12, 4), None),
        ("y = self.helper(x)", (2, 6, 4), (2, -1), None),
        ("y = x.view(2, 24)", (2, 6, 4), (2, 24), None),
        ("y = x.flatten(0, 1).view(2, 24)", (2, 6, 4), (2, 3, 8), None),
    ],
)
def test_dimensions_are_made_one_as_on_the_line(
    line: str, shape: tuple[int, ...], sizes: tuple[int, ...], found: tuple[int, int] | None
) -> None:
    frames = (Frame("net.py", 3, "forward", line),)
    operation = Operation("view", {"self": Ref("x"), "size": sizes}, ("y",), (), frames)
    result = tuple(each if each > 0 else 24 for each in sizes)
    types = {"x": TensorType(DType.FLOAT32, shape), "y": TensorType(DType.FLOAT32, result)}
    written = as_written(operation, types).arguments
    assert (written.get("start_dim"), written.get("end_dim")) == (found or (None, None))


# --- Whole tensors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "kept"), [(4, []), (2, ["slice_scatter"])])
def test_what_is_written_over_the_whole_of_a_tensor_stands_for_it(rows: int, kept: list[str]) -> None:
    types = {
        "x": TensorType(DType.FLOAT32, (4, 3)),
        "part": TensorType(DType.FLOAT32, (rows, 3)),
        "y": TensorType(DType.FLOAT32, (4, 3)),
    }
    written = Operation(
        "slice_scatter", {"self": Ref("x"), "src": Ref("part"), "dim": 0, "start": 0, "end": rows}, ("y",)
    )
    program = Program(
        "net", (), {"x": types["x"], "part": types["part"]}, {}, {}, (written,), (("y", Ref("y")),), types
    )
    assert [each.name for each in simplify(program).operations] == kept
