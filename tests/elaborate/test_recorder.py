"""What each piece of a text stands for, for an editor."""

from __future__ import annotations

import pytest

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import Recorder, elaborate

TEXT = """\
block B(width)(t) { u = t * width return u }
model m {
  dim N = 1 .. 2 .. 4
  input x: float32[N, 3]
  sizes = [2, 4]
  y = x -> _: B(2) -> relu -> fc: Linear(5)
  for i in sizes { y = y + i }
  output z = y
}
"""


def described(text: str, what: str, occurrence: int = 0) -> str | None:
    recorder = Recorder()
    elaborate(text, "m", recorder=recorder)
    offset = -1
    for _ in range(occurrence + 1):
        offset = text.index(what, offset + 1)
    return recorder.describe("m", offset)


@pytest.mark.parametrize(
    ("what", "occurrence", "words"),
    [
        ("x: float32", 0, "a float32[N, 3] tensor"),
        ("x ->", 0, "a float32[N, 3] tensor"),
        ("relu", 0, "a float32[N, 3] tensor"),
        ("Linear", 0, "the module `Linear`"),
        ("B(2)", 0, "the block `B`"),
        ("fc:", 0, "a float32[N, 5] tensor"),
        ("y = x", 0, "a float32[N, 5] tensor"),
        ("y + i", 0, "a float32[N, 5] tensor"),
        ("z = y", 0, "a float32[N, 5] tensor"),
        ("u = t", 0, "a float32[N, 3] tensor"),
        ("i }", 0, "`4`"),
        ("sizes =", 0, "the list [2, 4]"),
        ("dim N", 0, None),
    ],
)
def test_what_stands_there(what: str, occurrence: int, words: str | None) -> None:
    assert described(TEXT, what, occurrence) == words


def test_mistakes_leave_what_is_known() -> None:
    recorder = Recorder()
    text = TEXT.replace("output z = y", "output z = y + nothing")
    with pytest.raises(DiagnosticError):
        elaborate(text, "m", recorder=recorder)
    assert recorder.describe("m", text.index("y + nothing")) == "a float32[N, 5] tensor"


def test_nothing_is_recorded_unasked() -> None:
    assert elaborate(TEXT, "m").graph.outputs[0].name == "z"
