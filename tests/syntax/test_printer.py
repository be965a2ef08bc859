"""The formatter's layout, text before and text after."""

from __future__ import annotations

import pytest

from trtdsl.diagnostics import DiagnosticError
from trtdsl.syntax import format_text
from trtdsl.syntax.layout import WIDTH

RESNET = """\
block BasicBlock(planes, stride = 1)(x: [N, C, H, W]) {
  y = x -> conv1: Conv2d(planes, 3, stride = stride, padding = 1, bias = false) -> bn1: BatchNorm2d -> relu
        -> conv2: Conv2d(planes, 3, padding = 1, bias = false) -> bn2: BatchNorm2d
  if stride != 1 or C != planes {
    x = x -> downsample.0: Conv2d(planes, 1, stride = stride, bias = false) -> downsample.1: BatchNorm2d
  }
  return relu(x + y)
}

model resnet18(classes = 1000) {
  dim N = 1 .. 8 .. 32
  input image: float32[N, 3, 224, 224]

  x = image -> conv1: Conv2d(64, 7, stride = 2, padding = 3, bias = false) -> bn1: BatchNorm2d -> relu
            -> max_pool2d(3, stride = 2, padding = 1)
  for i, planes in enumerate([64, 128, 256, 512], 1) {
    x = x -> "layer{i}.0": BasicBlock(planes, stride = 1 if i == 1 else 2)
          -> "layer{i}.1": BasicBlock(planes)
  }
  output logits = x -> adaptive_avg_pool2d(1) -> flatten(1) -> fc: Linear(classes)
}
"""


def statement(text: str) -> str:
    """A statement as it is laid out at the left margin of a model's body."""
    lines = format_text(f"model m() {{\n{text}\n}}").splitlines()
    assert (lines[0], lines[-1]) == ("model m {", "}")
    return "\n".join(line.removeprefix("  ") for line in lines[1:-1])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x=a+b*-c**2", "x = a + b * -c ** 2"),
        ("x = f ( a,b , dim=1, )", "x = f(a, b, dim = 1)"),
        ("x = a[ 1 : , :: 2, -1:n - 1, ... ] . shape", "x = a[1:, ::2, -1:n - 1, ...].shape"),
        ("x = ( a , ) y = (a,b,) z = ( )", "x = (a,)\ny = (a, b)\nz = ()"),
        ('x = a->l . 0 : F ( )->"s":g->h()', 'x = a -> l.0: F -> "s": g -> h'),
        ("q,k = not a if b else [ ]", "q, k = not a if b else []"),
        ("dim N=1..8 .. 64 dim S = 3", "dim N = 1 .. 8 .. 64\ndim S = 3"),
        ("input x:float32 [ N,3 ]output y", "input x: float32[N, 3]\noutput y"),
        ("if a{x=b}else if c{x=d}else{}", "if a {\n  x = b\n} else if c {\n  x = d\n} else {}"),
        ("if a { x = b }", "if a { x = b }"),
        ("if a { x = b y = c }", "if a {\n  x = b\n  y = c\n}"),
        ("if a {\n x = b }", "if a {\n  x = b\n}"),
        ("profile p { N = 1..2..3 M = 4 }", "profile p {\n  N = 1 .. 2 .. 3\n  M = 4\n}"),
        ('weights{"a"="b"}', 'weights {"a" = "b"}'.replace("{", "{ ").replace("}", " }")),
        (
            "scan t in x,dim=0 with h=h0,c = c0{emit y=h}",
            "scan t in x, dim = 0 with h = h0, c = c0 { emit y = h }",
        ),
        ('assert a==b,"{a}  {b+1}"', 'assert a == b, "{a}  {b+1}"'),
        ("x = 1.50 + 1E-5 + 007", "x = 1.50 + 1E-5 + 007"),
        ("x = a\n\n\n\ny = b\n\n", "x = a\n\ny = b"),
        ("x = a -> f\n  -> g -> h", "x = a -> f\n      -> g -> h"),
        ("x = a\n-> f\n-> g", "x = a\n    -> f\n    -> g"),
        (
            "x = a  # one\nlonger = b # two\n\ny = c # three",
            "x = a       # one\nlonger = b  # two\n\ny = c  # three",
        ),
        (
            "# above\nx = f(a, # why\n b) # end\n# below",
            "# above\nx = f(\n  a,  # why\n  b,\n)  # end\n# below",
        ),
        (
            "x = a # first\n -> f() # second\n # own\n -> g",
            "x = a     # first\n    -> f  # second\n    # own\n    -> g",
        ),
        ("if a { # why\n}\n# then\nelse { x = b }", "if a {  # why\n}\n# then\nelse {\n  x = b\n}"),
    ],
)
def test_layout(before: str, after: str) -> None:
    assert statement(before) == after
    assert statement(after) == after


LONG = "a" * 30


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            f"x = f({LONG}, b, {LONG}, {LONG}, dim = 1)",
            f"x = f(\n  {LONG},\n  b,\n  {LONG},\n  {LONG},\n  dim = 1,\n)",
        ),
        (
            f"x = a -> f({LONG}) -> g({LONG}) -> h({LONG})",
            f"x = a -> f({LONG}) -> g({LONG})\n      -> h({LONG})",
        ),
        (
            f"x = {LONG} + {LONG} * {LONG} - {LONG}",
            f"x = {LONG} + {LONG}\n    * {LONG} - {LONG}",
        ),
        (
            f"x = f({LONG}, {LONG}, {LONG}) -> g(c)",
            f"x = f(\n  {LONG}, {LONG}, {LONG}\n) -> g(c)",
        ),
        (
            f"x = f({LONG}, {LONG}, {LONG},) -> g(c)",
            f"x = f(\n  {LONG},\n  {LONG},\n  {LONG},\n) -> g(c)",
        ),
        (
            f"x = f({', '.join(['width // 2'] * 12)}) -> g(c)",
            f"x = f(\n  {', '.join(['width // 2'] * 8)},\n  {', '.join(['width // 2'] * 4)}\n) -> g(c)",
        ),
        (
            f"x = [{', '.join(['(100, relu)'] * 10)}]",
            f"x = [\n  {', '.join(['(100, relu)'] * 7)},\n  {', '.join(['(100, relu)'] * 3)}\n]",
        ),
        (
            f"x = [{', '.join(['(100, relu)'] * 10)},]",
            "x = [\n" + "  (100, relu),\n" * 10 + "]",
        ),
        (
            f"x = [{', '.join(['100'] * 30)}]",
            f"x = [\n  {', '.join(['100'] * 19)},\n  {', '.join(['100'] * 11)},\n]",
        ),
        (
            f"x = ({LONG} + {LONG} + {LONG} + {LONG})",
            f"x = (\n  {LONG} + {LONG} + {LONG}\n      + {LONG}\n)",
        ),
        (
            f"x, y = f({LONG}, [{LONG}, {LONG}], {LONG})[0]",
            f"x, y = f(\n  {LONG},\n  [{LONG}, {LONG}],\n  {LONG},\n)[0]",
        ),
    ],
)
def test_long_lines_break(before: str, after: str) -> None:
    assert statement(before) == after
    assert statement(after) == after
    assert all(len(line) + 2 <= WIDTH for line in after.splitlines())


def test_the_language_page() -> None:
    """LANGUAGE.md's ResNet: two lines are wider than the formatter's, nothing else changes."""
    wide = {line for line in RESNET.splitlines() if len(line) > WIDTH}
    changed = {line for line in RESNET.splitlines() if line not in format_text(RESNET).splitlines()}
    assert changed == wide


def test_top_level() -> None:
    before = (
        '# file\nimport "a"\nimport "b" as c\n## Doc.\nblock A(x,)(y: [N,C], m = none,) { return y }\n'
        "# about m\nmodel m ( ) {\n\n x = a\n\n}\n\n\n\n# end"
    )
    after = (
        '# file\nimport "a"\nimport "b" as c\n\n## Doc.\nblock A(x)(y: [N, C], m = none) { return y }\n\n'
        "# about m\nmodel m {\n  x = a\n}\n\n# end\n"
    )
    assert format_text(before) == after
    assert format_text(after) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model m{}", "model m {}"),
        ("model m(){}", "model m {}"),
        ("model m( # why\n) { }", "model m {  # why\n}"),
        ("model m(a=1,){}", "model m(a = 1) {}"),
        ("block B()(){}", "block B()() {}"),
    ],
)
def test_a_model_without_parameters_has_no_list(before: str, after: str) -> None:
    assert format_text(before) == f"{after}\n"


def test_odd_text() -> None:
    assert format_text("") == ""
    assert format_text("\n\n# c\r\n\r\n\r\n# d") == "# c\n\n# d\n"
    assert format_text("\ufeffmodel m() {\r\n  x = a\r\n}\r\n") == "model m {\n  x = a\n}\n"


def test_a_mistake_is_a_diagnostic() -> None:
    with pytest.raises(DiagnosticError, match=r"m\.trtnet:1:6"):
        format_text("model", "m.trtnet")
