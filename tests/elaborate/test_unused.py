"""Blocks that nothing enters are checked for what is wrong whatever they are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate
from trtdsl.elaborate.files import STANDARD_LIBRARY, Program
from trtdsl.elaborate.unused import mistakes_in
from trtdsl.syntax import parse, tree

ROOT = Path(__file__).parents[2]
MODEL = "\nmodel m { input x: float32[4] output y = relu(x) }"


def said(block: str) -> list[str]:
    try:
        elaborate(block + MODEL, "m.trtnet")
    except DiagnosticError as error:
        return [diagnostic.message for diagnostic in error.diagnostics]
    return []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return nonsense_op(x)", "unknown name `nonsense_op`"),
        ("return x -> rleu", "unknown name `rleu`, did you mean `relu`?"),
        ("return x + z", "unknown name `z`"),
        ("return x -> relu(inplce = true)", "`relu` has no argument `inplce`, did you mean `inplace`?"),
        ("return softmax(x, dmi = 1)", "`softmax` has no argument `dmi`"),
        ("return x -> a: Conv2d(4, 3, pading = 1)", "`Conv2d` has no parameter `pading`"),
        ("return x -> a: Missing(4)", "unknown name `Missing`"),
        ("return x -> a: Other(1, widht = 4)", "`Other` has no parameter `widht`, did you mean `width`?"),
        ('return x -> "a{j}": Linear(4)', "unknown name `j`"),
        ("if width == 4 { y = x } else { y = w } return y", "unknown name `w`"),
        ("for i in range(n) { x = x + i } return x", "unknown name `n`"),
        ("return reshape(x, (N, M))", "unknown name `M`"),
    ],
)
def test_what_is_surely_wrong(body: str, message: str) -> None:
    block = "block Other(width)(x) { return x * width }\n"
    (found,) = said(f"{block}block Unused(width = 4)(x: [N, C]) {{ {body} }}")
    assert found.startswith(message)


def test_headers_too() -> None:
    assert said("block U(a = b)(x: float33[N, C + D]) { return x }") == [
        "unknown name `b`",
        "unknown dtype `float33`, did you mean `float32`?",
        "unknown name `C`",
        "unknown name `D`",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "mean = mean(x, 1) return mean(mean, 0)",
        "return x -> activation(any = 1)",
        "for i, c in enumerate([1, 2]) { y = x * c } return y",
        "if width == 3 { w = 1 } return x * w",
        "return x.shape[0] + x.anything",
        "return Linear(4)(x, weight = x, bias = x)",
        "return x -> a: Conv2d(4, 3, padding = 1, bias = false)",
        "return linear(x, weight = x, bias = none)",
        "return max(x, dim = 1)",
        "return zip([1], [2])",
        'assert N == C, "{N} {width}" return x',
        "return x",
    ],
)
def test_what_depends_on_a_call_is_left_alone(body: str) -> None:
    assert said(f"block Unused(width, activation = relu)(x: [N, C], m = none) {{ {body} }}") == []


def test_a_block_that_is_used_is_said_once() -> None:
    text = "block B()(x) { return nonsense_op(x) }\nmodel m { input x: float32[4] output y = x -> _: B }"
    with pytest.raises(DiagnosticError) as caught:
        elaborate(text, "m.trtnet")
    assert [diagnostic.message for diagnostic in caught.value.diagnostics] == ["unknown name `nonsense_op`"]


TEXTS = [*sorted((ROOT / "examples").rglob("*.trtnet")), *sorted(STANDARD_LIBRARY.glob("*.trtnet"))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_alarm_in_texts_that_are_right(path: Path) -> None:
    file = parse(path.read_text(encoding="utf-8"), str(path))
    names = Program().main(file, str(path))
    blocks = [item for item in file.items if isinstance(item, tree.Block)]
    assert [str(found) for block in blocks for found in mistakes_in(block, names)] == []
