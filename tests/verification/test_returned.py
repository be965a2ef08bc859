"""What a reference returns beside real tensors, and rows that say why they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.networks import graph_of
from trtdsl.verification import show_verification
from trtdsl.verification.result import measure

TEXT = "model m() {\n  input x: float32[4, 8]\n  output y = EXPRESSION\n}\n"


class Returning(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def verify_returned(function: Callable[[torch.Tensor], Any], output: str = "x") -> trtdsl.Verification:
    return trtdsl.verify(graph_of(TEXT.replace("EXPRESSION", output)), None, Returning(function))


# --- What is not a tensor ---------------------------------------------------------------------------------


@dataclass
class Fields:
    y: torch.Tensor
    name: str
    nothing: torch.Tensor | None
    unset: torch.Tensor | None = None


NOT_TENSORS: dict[str, tuple[Callable[[torch.Tensor], Any], str | None]] = {
    "a float": (lambda x: (x, 0.5), "it is not a plain tensor: the reference's output 2 (float)"),
    "none": (lambda x: (None, x), "it is not a plain tensor: the reference's output 1 (None)"),
    "a name": (lambda x: {"y": x, "n": 3}, "it is not a plain tensor: the reference's `n` (int)"),
    "fields": (
        lambda x: Fields(x, "net", None),
        "they are not plain tensors: the reference's `name` (str), `nothing` (None)",
    ),
    "a sparse tensor": (
        lambda x: {"y": x, "s": x.to_sparse()},
        "it is not a plain tensor: the reference's `s` (a sparse coo tensor)",
    ),
    "an array": (lambda x: (x, x.numpy()), "it is not a plain tensor: the reference's output 2 (ndarray)"),
    "tensors": (lambda x: [x], None),
}


@pytest.mark.parametrize("name", NOT_TENSORS)
def test_what_is_not_a_tensor_is_noted(name: str) -> None:
    function, note = NOT_TENSORS[name]
    found = verify_returned(function)
    assert found.equal
    assert found.notes == ((f"not compared, for {note}",) if note else ())


# --- Complex numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "function", "equal"),
    [
        ("x", lambda x: torch.complex(x, x), False),
        ("x", lambda x: torch.complex(x, 0 * x), True),
        ("stack([x, x * 2.0], -1)", lambda x: torch.complex(x, 2 * x), True),
        ("stack([x, x * 3.0], -1)", lambda x: torch.complex(x, 2 * x), False),
        ("stack([x, -x], -1)", lambda x: torch.complex(x, x).conj(), True),
    ],
)
def test_imaginary_parts_are_compared(output: str, function: Callable[..., Any], equal: bool) -> None:
    found = verify_returned(function, output)
    assert found.equal == equal
    type = "float32[4, 8, 2]" if "stack" in output else "float32[4, 8]"
    assert found.notes == (f"output `y` is {type}, but complex64 in the reference",)
    if output == "x" and not equal:
        assert found.rows[-1].why == "complex in the reference"


def test_complex_outputs_may_be_stored(tmp_path: Path) -> None:
    x = np.ones((4, 8), np.float32)
    np.savez(tmp_path / "ref.npz", x=x, y=x + 1j)
    found = trtdsl.verify(graph_of(TEXT.replace("EXPRESSION", "x")), outputs=tmp_path / "ref.npz")
    assert not found.equal
    assert found.notes[0].startswith("the expected output `y` is complex64")


def test_nan_in_complex_numbers_is_counted_once() -> None:
    values = np.array([complex(np.nan, np.nan), 1 + 2j])
    found = measure(values, values)
    assert found is not None
    assert (found.not_finite, found.relative) == (1, 0.0)


# --- Rows that differ -------------------------------------------------------------------------------------

WHY: dict[str, tuple[str, Callable[[torch.Tensor], Any], str]] = {
    "nan": ("x", lambda x: x / 0, "NaN or infinity on one side"),
    "zeros": ("x", lambda x: x * 0, "the reference is 0 throughout"),
    "dtype": ("x", lambda x: x.half(), "float16 in the reference"),
    "shape": ("x", lambda x: x[:2], "another shape"),
    "hidden": (
        "x + 1000000.0",
        lambda x: -x.double() + 1e6,
        "without its mean or in a channel",
    ),
    "plain": ("x", lambda x: x * 2, ""),
}


@pytest.mark.parametrize("name", WHY)
def test_a_row_says_why_it_differs(name: str) -> None:
    output, function, why = WHY[name]
    found = verify_returned(function, output)
    row = found.rows[-1]
    assert row.verdict == "differs"
    assert why in row.why
    assert bool(why) == bool(row.why)
    line = next(line for line in show_verification(found).splitlines() if line.startswith("output y"))
    assert line.endswith(f"differs: {row.why}" if why else "differs")


def test_integers_that_float64_cannot_tell_apart_are_one_apart() -> None:
    found = measure(np.array([2**53 + 1, 5]), np.array([2**53, 5]))
    assert found is not None
    assert found.max_abs == 1
    assert found.relative == pytest.approx(2**-53)


def test_a_layer_that_agrees_is_equal_though_the_output_is_not() -> None:
    class Doubling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x) * 2

    found = trtdsl.verify(graph_of(TEXT.replace("EXPRESSION", "x -> head: Linear(4)")), None, Doubling())
    assert [(row.name, row.verdict) for row in found.rows] == [("head", "equal"), ("y", "differs")]
    assert found.difference is not None
    assert found.difference.message.startswith("output `y` differs by 5.0e-01")
