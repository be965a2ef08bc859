"""Numbers of sizes, and sizes that a module takes, at other sizes than the example's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import trtdsl
from tests.importers.comparing import SIZES, Calls, held
from tests.importers.modules import PaddedToWindows
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.module import import_exported, import_module

Function = Callable[[torch.Tensor], Any]
X = {"x": "float32[N, S, 6]"}

NUMBERS: dict[str, Function] = {
    "a fraction": lambda x: x * (x.shape[0] / x.shape[1]),
    "a root": lambda x: x / x.shape[1] ** 0.5,
    "its inverse": lambda x: x * x.shape[1] ** -0.5,
    "one over": lambda x: x * (1.0 / x.shape[1]),
    "mixed": lambda x: x * (0.5 * x.shape[1] + 1.5 / x.shape[0] - 2),
    "rounded up": lambda x: x[:, : math.ceil(x.shape[1] / 2)],
    "a remainder": lambda x: functional.pad(x, (0, 0, 0, -x.shape[1] % 4)),
    "counted from a half": lambda x: x * torch.arange(0.5, x.shape[1])[:, None],
    "counted in twos": lambda x: x[:, ::2] + torch.arange(-1.75, x.shape[1] - 2, 2)[:, None],
    "filled": lambda x: x + torch.full((1,), 1 / x.shape[1]),
    "a tensor": lambda x: x / torch.tensor(x.shape[1]),
    "a tensor of several": lambda x: x * torch.tensor([x.shape[1] / 2, x.shape[0], 1, 2, 3, 4.0]),
    "a new tensor": lambda x: x + x.new_tensor([x.shape[1]]),
    "a line": lambda x: x + torch.linspace(-1, 1, x.shape[1])[None, :, None],
    "a line to a size": lambda x: x + torch.linspace(0, x.shape[1] - 1, x.shape[1])[:, None],
    "backwards": lambda x: x[:, torch.arange(x.shape[1] - 1, -1, -1)],
    "backwards by a float": lambda x: x * torch.arange(x.shape[1], -x.shape[1], -1.0)[: x.shape[1], None],
    "the first of many": lambda x: x[:, : min(x.shape[1], 4)],
    "parts": lambda x: x.split([1, x.shape[1] - 1], 1)[1],
    "the second half": lambda x: x[:, x.shape[1] // 2 :],
    "windows": lambda x: x.unfold(1, 2, 1),
    "the length before": lambda x: functional.interpolate(
        functional.max_pool1d(x.mT, 2), size=x.shape[1], mode="linear"
    ),
    "half": lambda x: functional.interpolate(x.mT, scale_factor=0.5),
    "one and a half": lambda x: functional.interpolate(x.mT, scale_factor=1.5, mode="linear"),
    "a pool along one axis": lambda x: functional.adaptive_avg_pool2d(x[:, None], (None, 1)),
    "a pool of nothing": lambda x: functional.adaptive_avg_pool2d(x[:, None], (x.shape[1], None)) * 2,
    "an affine grid": lambda x: functional.affine_grid(x[:, :2, :3], [x.shape[0], 1, x.shape[1], 4], False),
    "an affine grid to the corners": lambda x: functional.affine_grid(
        x[:, :3, :4], [x.shape[0], 1, 3, x.shape[1], 4], True
    ),
    "along a dimension": lambda x: torch.take_along_dim(x, x.argsort(-1)[:, :1], -1),
    "along a length": lambda x: x.take_along_dim((x[..., :1] > 0).long(), dim=1),
    "along all": lambda x: torch.take_along_dim(x, torch.tensor([3, 1])),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_of_sizes(name: str) -> None:
    imported = held(Calls(NUMBERS[name]), X, {"S": "2 .. 8 .. 32"})
    (size,) = [each for each in imported.dims if each.name == "S"]
    assert size.maximum == 32


POOLS: dict[str, Function] = {
    "inside": lambda x: functional.max_pool2d(x, 3, 2, ceil_mode=True),
    "twice": lambda x: functional.max_pool2d(
        functional.max_pool2d(x, 3, 2, ceil_mode=True), 2, ceil_mode=True
    ),
    "a last window left out": lambda x: functional.max_pool2d(x, 2, 3, padding=1, ceil_mode=True),
    "unequal": lambda x: torch.max_pool2d(x, (2, 3), (3, 1), (1, 0), 1, True),
    "an average": lambda x: functional.avg_pool2d(x, 3, 2, 1, True, False),
    "of one row": lambda x: functional.avg_pool1d(x.flatten(1, 2), 3, 2, ceil_mode=True),
    "of a volume": lambda x: functional.max_pool3d(x, 2, ceil_mode=True),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("width", [10, 11, 12])
def test_a_pool_that_rounds_up_takes_any_size(name: str, width: int) -> None:
    dims = {"H": "8 .. 16 .. 64", "W": f"{width} .. 17 .. 64"}
    imported = held(Calls(POOLS[name]), {"x": "float32[N, 4, H, W]"}, dims)
    assert [f"{each.name} {each.minimum} {each.step}" for each in imported.dims if each.name != "N"] == [
        "H 8 1",
        f"W {width} 1",
    ]


@pytest.mark.parametrize(
    ("function", "range"),
    [
        (lambda x: x[:, 1:] * 2, "3 .. 8 .. 32"),
        (lambda x: functional.max_pool1d(x.mT, 4), "8 .. 8 .. 32"),
        (lambda x: x[:, :4] if x.shape[1] > 4 else x, "5 .. 8 .. 32"),
    ],
)
def test_the_range_is_where_the_module_does_the_same(function: Function, range: str) -> None:
    imported = held(Calls(function), X, {"S": "1 .. 8 .. 32"})
    assert f"dim S = {range}\n" in imported.text
    assert any(note.severity == "note" and "`S`" in note.message for note in imported.notes)


PIECES: dict[str, tuple[Function, str]] = {
    "of any size": (lambda x: x.chunk(2, 1)[0] * 2, "4 .. 8 .. 64"),
    "of one size": (lambda x: torch.add(*x.chunk(2, 1)), "4 .. 8 .. 64, step = 2"),
    "of half the size": (lambda x: torch.add(*x.split(x.shape[1] // 2, 1)), "4 .. 8 .. 64, step = 2"),
    "of what was joined": (lambda x: torch.add(*torch.cat([x, -2 * x], 1).chunk(2, 1)), "2 .. 8 .. 64"),
    "as large as what was joined": (
        lambda x: torch.add(*torch.cat([x, -2 * x], 1).split(x.shape[1], 1)),
        "2 .. 8 .. 64",
    ),
    "of four": (lambda x: x.unflatten(1, (-1, 4)).sum(1), "8 .. 8 .. 64, step = 4"),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_of_a_size(name: str) -> None:
    function, range = PIECES[name]
    assert f"dim S = {range}\n" in held(Calls(function), X, {"S": "2 .. 8 .. 64"}).text


def padded_windows(x: torch.Tensor) -> torch.Tensor:
    count, channels, height, width = x.shape
    x = functional.pad(x, (0, -width % 7, 0, -height % 7))
    rows, columns = x.shape[2] // 7, x.shape[3] // 7
    x = x.view(count, channels, rows, 7, columns, 7)
    x = x - x.mean((3, 5), keepdim=True)
    return x.reshape(count, channels, rows * 7, columns * 7)[:, :, :height, :width]


@pytest.mark.parametrize("size", [20, 21])
def test_a_size_that_is_padded_to_a_multiple_may_be_any(size: int) -> None:
    range = f"{size} .. 30 .. 70"
    assert f"dim S = {range}\n" in held(PaddedToWindows(), {"x": "float32[N, S, 8]"}, {"S": range}).text
    dims = {"H": range, "W": "20 .. 40 .. 80"}
    text = held(Calls(padded_windows), {"x": "float32[N, 4, H, W]"}, dims).text
    assert f"dim H = {range}\n" in text


def padded_image(x: torch.Tensor) -> torch.Tensor:
    height, width = x.shape[-2:]
    x = functional.pad(x, (0, (32 - width % 32) % 32, 0, (32 - height % 32) % 32), mode="replicate")
    x = functional.interpolate(functional.avg_pool2d(x, 4), scale_factor=4.0)
    return x[..., :height, :width]


def attends_in_windows(x: torch.Tensor) -> torch.Tensor:
    """What windows are put back into is asserted of a size that the language cannot say."""
    count, height, width, channels = x.shape
    x = functional.pad(x, (0, 0, 0, (7 - width % 7) % 7, 0, (7 - height % 7) % 7))
    rows, columns = x.shape[1] // 7, x.shape[2] // 7
    windows = x.view(count, rows, 7, columns, 7, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 49, channels)
    windows = functional.scaled_dot_product_attention(windows, windows, windows)
    windows = windows.view(count, rows, columns, 7, 7, channels).permute(0, 1, 3, 2, 4, 5)
    return windows.reshape(count, rows * 7, columns * 7, channels)[:, :height, :width]


def one_of_two(x: torch.Tensor) -> torch.Tensor:
    """The height is padded, the width must be a multiple."""
    height = x.shape[2]
    narrow = functional.interpolate(functional.avg_pool2d(x, (1, 4)), scale_factor=(1.0, 4.0))
    x = functional.pad(torch.cat([x, narrow], 1), (0, 0, 0, (32 - height % 32) % 32), mode="replicate")
    x = functional.interpolate(functional.avg_pool2d(x, (4, 1)), scale_factor=(4.0, 1.0))
    return x[:, :, :height]


MULTIPLES: dict[str, tuple[Function, str, dict[str, str], dict[str, str]]] = {
    "an image": (padded_image, "N, 3, H, W", {}, {"H": "64 .. 224 .. 512", "W": "64 .. 224 .. 512"}),
    "an image as it was asked for": (
        padded_image,
        "N, 3, H, W",
        {"H": "40 .. 96 .. 300", "W": "33 .. 64 .. 500"},
        {"H": "40 .. 96 .. 300", "W": "33 .. 64 .. 500"},
    ),
    "windows": (
        attends_in_windows,
        "N, H, W, 8",
        {"H": "14 .. 28 .. 64", "W": "14 .. 49 .. 64"},
        {"H": "14 .. 28 .. 64", "W": "14 .. 49 .. 64"},
    ),
    "one of two": (
        one_of_two,
        "N, 2, H, W",
        {"H": "20 .. 64 .. 90", "W": "20 .. 64 .. 90"},
        {"H": "20 .. 64 .. 90", "W": "20 .. 64 .. 88, step = 4"},
    ),
}


@pytest.mark.parametrize("name", MULTIPLES)
def test_a_size_near_a_multiple_that_is_padded_to_may_be_any(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, shape, given, wanted = MULTIPLES[name]
    monkeypatch.setitem(SIZES, "H", 45)
    text = held(Calls(function), {"x": f"float32[{shape}]"}, given).text
    for dim, range in wanted.items():
        assert f"dim {dim} = {range}\n" in text


def test_distances_of_any_number_of_rows() -> None:
    assert (
        "dim S = 1 .. 8 .. 512\n"
        in held(Calls(lambda x: torch.cdist(x, x + 1)), X, {"S": "1 .. 8 .. 512"}).text
    )


class Truncates(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : int(x.shape[1] * 0.75)]


class TakesRoot(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / math.sqrt(x.shape[1])


@pytest.mark.parametrize(("module", "what"), [(Truncates(), "`int`"), (TakesRoot(), "`math.sqrt`")])
def test_a_size_that_python_makes_a_number_is_refused_with_the_line(module: nn.Module, what: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        import_module(module, X)
    (found,) = error.value.diagnostics
    assert "`S`" in found.message
    assert found.span and found.span.text.startswith("return x")
    assert any(f"{what} makes a number of a size" in each for each in found.help)


@pytest.mark.parametrize("size", ["N - 1", "N + 1", "2 * N", "2 * N - 1"])
def test_an_input_s_size_may_be_calculated(size: str) -> None:
    held(Calls(lambda x: x * 2), {"x": f"float32[{size}, 4]"}, {"N": "2 .. 4 .. 8"})


@pytest.mark.parametrize("size", [20, 28, 33])
def test_windows_that_a_size_is_padded_to(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "S", size)
    held(PaddedToWindows(), {"x": "float32[N, S, 8]"}, {"S": "20 .. 30 .. 70"})


class Tables(nn.Module):
    """With tables of 16 rows: a mask, and positions in one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.mask: torch.Tensor
        self.numbers: torch.Tensor
        self.register_buffer("mask", torch.ones(16, 16).tril(), persistent=False)
        self.register_buffer("numbers", torch.arange(16), persistent=False)
        self.positions = nn.Embedding(16, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[1]
        match self.way:
            case "masked":
                scores = (x @ x.mT).masked_fill(self.mask[:size, :size] == 0, -math.inf)
                return scores.softmax(-1) @ x
            case "attends":
                return functional.scaled_dot_product_attention(
                    x, x, x, attn_mask=self.mask[:size, :size].bool()
                )
            case "sliced":
                return x + self.positions(self.numbers[:size])
            case "counted":
                return x + self.positions(torch.arange(size).unsqueeze(0))
            case "shifted":
                return x + self.positions(torch.arange(1, size + 1) + 2)
            case "indexed":
                return x + self.positions.weight[torch.arange(size)]
            case _:
                return x + self.positions(torch.arange(2 * size))[size:]


@pytest.mark.parametrize(
    ("way", "most"),
    [
        ("masked", 16),
        ("attends", 16),
        ("sliced", 16),
        ("counted", 16),
        ("shifted", 13),
        ("indexed", 16),
        ("twice as many", 8),
    ],
)
def test_a_sequence_is_no_longer_than_the_tables(
    way: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "S", most)
    imported = held(Tables(way), X, {"S": "2 .. 5 .. 40"})
    assert f"dim S = 2 .. 5 .. {most}\n" in imported.text
    assert [each.message for each in imported.notes] == [f"the module takes `S` from 2 .. {most}"]


def test_a_length_that_nobody_gave_is_one_that_the_tables_have() -> None:
    assert "dim S = 1 .. 8 .. 16\n" in import_module(Tables("masked"), X).text
    assert "dim S = 1 .. 16 .. 16\n" in import_module(Tables("counted"), X).text
    with pytest.raises(DiagnosticError, match="the module itself fails"):
        import_module(Tables("masked"), X, {"S": "1 .. 128 .. 512"})


def test_the_tables_of_a_program_limit_it_too() -> None:
    shapes = ({0: torch.export.Dim("N_"), 1: torch.export.Dim("S_")},)
    program = torch.export.export(Tables("counted"), (torch.zeros(2, 5, 6),), dynamic_shapes=shapes)
    assert "dim S = 1 .. 16 .. 16\n" in import_exported(program).text


def test_an_affine_grid_of_one_row() -> None:
    """The only one is in the middle, where others begin at a corner."""
    module = Calls(lambda x: functional.affine_grid(x[:, :2, :3], [x.shape[0], 1, x.shape[0], 4], True))
    imported = import_module(module, {"x": "float32[N, 4, 4]"}, {"N": "1 .. 2 .. 8"})
    assert imported.graph
    assert all(trtdsl.verify(imported.graph, against=module, at={"N": size}).equal for size in (1, 3))
