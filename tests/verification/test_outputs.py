"""Outputs are matched by the names that the reference gives them, and what has no counterpart is said."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import trtdsl
from tests.verification.networks import graph_of

TEXT = """model m() {
  input x: float32[4, 8]
  output first = relu(x)
  output second = exp(x)
}
"""

Pair = namedtuple("Pair", ["second", "first"])


@dataclass
class Fields:
    second: torch.Tensor
    first: torch.Tensor
    nothing: torch.Tensor | None = None


class Returning(nn.Module):
    """Returns what a function makes of the two right outputs and the input."""

    def __init__(self, arrange: Callable[..., Any]) -> None:
        super().__init__()
        self.arrange = arrange

    def forward(self, x: torch.Tensor) -> Any:
        return self.arrange(x.relu(), x.exp(), x)


def verify_outputs(arrange: Callable[..., Any], text: str = TEXT) -> trtdsl.Verification:
    return trtdsl.verify(graph_of(text), None, Returning(arrange))


@pytest.mark.parametrize(
    "arrange",
    [
        lambda first, second, x: {"second": second, "first": first},
        lambda first, second, x: Pair(second, first),
        lambda first, second, x: Fields(second, first),
        lambda first, second, x: {"all": Fields(second, first)},
        lambda first, second, x: (Pair(second, first),),
        lambda first, second, x: [first, second],
        lambda first, second, x: (first, {"second": second}),
    ],
)
def test_names_decide_before_places(arrange: Callable[..., Any]) -> None:
    found = verify_outputs(arrange)
    assert found.equal
    assert found.notes == ()


def test_another_value_of_that_name_differs() -> None:
    found = verify_outputs(lambda first, second, x: Pair(first, second))
    assert [row.verdict for row in found.outputs] == ["differs", "differs"]


NOTES = {
    "another": (
        lambda first, second, x: (first, second, x),
        ("not compared, for the model does not have it: the reference's output 3",),
    ),
    "others": (
        lambda first, second, x: {"first": first, "aux": x, "second": second, "hidden": (x, x)},
        ("not compared, for the model does not have it: the reference's `aux`, `hidden[0]`, `hidden[1]`",),
    ),
    "one name": (
        lambda first, second, x: {"scores": first, "second": second},
        ("output `first` is compared with the reference's `scores`, by position",),
    ),
    "other names": (
        lambda first, second, x: {"a": first, "b": second},
        (
            "output `first` is compared with the reference's `a`, by position",
            "output `second` is compared with the reference's `b`, by position",
        ),
    ),
    "more beside a name": (
        lambda first, second, x: {"x": x, "second": second, "a": first},
        ("output `first` is compared with the reference's `x`, by position",),
    ),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_names_leave_open_is_noted(name: str) -> None:
    arrange, notes = NOTES[name]
    found = verify_outputs(arrange)
    assert [note for note in found.notes if note in notes] == list(notes)
    assert found.equal == (name != "more beside a name")


@pytest.mark.parametrize(
    "arrange", [lambda first, second, x: first, lambda first, second, x: {"first": first}]
)
def test_too_few_outputs_are_a_difference(arrange: Callable[..., Any]) -> None:
    found = verify_outputs(arrange)
    assert found.difference is not None
    assert found.difference.message == (
        "the reference gives 1 output, but the model has 2: `second` cannot be compared"
    )
    assert [row.name for row in found.outputs] == ["first"]


def test_none_is_no_output() -> None:
    found = verify_outputs(lambda first, second, x: None)
    assert found.difference is not None
    assert "`first`, `second` cannot be compared" in found.difference.message


ONE = "model m() {\n  input x: float32[4, 8]\n  output y = EXPRESSION\n}\n"


@pytest.mark.parametrize(
    ("expression", "arrange", "note", "equal"),
    [
        ("x > 0.0", lambda x: (x > 0).float(), "`y` is bool[4, 8], but float32 in the reference", True),
        ("to(x > 0.0, float32)", lambda x: x > 0, "`y` is float32[4, 8], but bool in the reference", True),
        ("argmax(x, 1)", lambda x: x.argmax(1).int(), "`y` is int64[4], but int32 in the reference", True),
        ("x", lambda x: x.half(), "`y` is float32[4, 8], but float16 in the reference", False),
        (
            "to(x, float16)",
            lambda x: x.half().float(),
            "`y` is float16[4, 8], but float32 in the reference",
            True,
        ),
        ("to(x, float16)", lambda x: x.half(), None, True),
        ("argmax(x, 1)", lambda x: x.argmax(1), None, True),
        ("x", lambda x: x.double(), None, True),
    ],
)
def test_another_dtype_is_noted(
    expression: str, arrange: Callable[..., Any], note: str | None, equal: bool
) -> None:
    found = verify_outputs(lambda first, second, x: arrange(x), ONE.replace("EXPRESSION", expression))
    assert found.notes == ((f"output {note}",) if note else ())
    assert found.equal == equal


def test_a_narrow_model_is_held_against_a_wide_module() -> None:
    """The module is moved to float32, which is no other dtype of its outputs."""
    found = verify_outputs(
        lambda first, second, x: x + x, ONE.replace("float32", "float16").replace("EXPRESSION", "x + x")
    )
    assert found.equal
    assert found.notes == ()


def test_the_tensors_of_a_list_have_places_of_their_own() -> None:
    """A list under a name gives several outputs, of which none may take another's place."""
    text = TEXT.replace("second = exp(x)", "other = exp(x)\n  output second = x * 2")
    found = verify_outputs(lambda first, second, x: {"first": [first, second], "second": (x * 2,)}, text)
    assert found.equal
    assert "output `first` is compared with the reference's `first[0]`, by position" in found.notes
    assert "output `other` is compared with the reference's `first[1]`, by position" in found.notes
