"""Values are called what the source calls them."""

from __future__ import annotations

import pytest

from trtdsl.importers.names import assigned, hints_of, named_in, numbered
from trtdsl.importers.program import Frame
from trtdsl.importers.sketch import Apply, Block, Branch, Literal, Loop, Statement, Text, Use


def statement(code: str, *results: str | None, file: str = "model.py", line: int = 1) -> Statement:
    return Statement(results, Use("x"), (), (Frame(file, line, "forward", code),))


@pytest.mark.parametrize(
    ("code", "results", "hints"),
    [
        ("y = f(x)", ["v"], {"v": "y"}),
        ("y: torch.Tensor = f(x)", ["v"], {"v": "y"}),
        ("a, b = f(x)", ["v", "w"], {"v": "a", "w": "b"}),
        ("a, _ = f(x)", ["v", "w"], {"v": "a"}),
        ("a, b = f(x)", ["v", None], {"v": "a"}),
        ("y = f(x)", ["v", None], {"v": "y"}),
        ("y == f(x)", ["v"], {}),
        ("return f(x)", ["v"], {}),
        ("self.y = f(x)", ["v"], {}),
        ("y[0] = f(x)", ["v"], {}),
    ],
)
def test_assignments(code: str, results: list[str | None], hints: dict[str, str]) -> None:
    assert hints_of([statement(code, *results)]) == hints


def test_the_last_value_of_a_line_has_its_name() -> None:
    code = "y = f(g(x))"
    assert hints_of([statement(code, "inner"), statement(code, "outer")]) == {"outer": "y"}


def test_several_values_of_a_line_have_its_names_in_order() -> None:
    code = "q, k = f(x), g(x)"
    assert hints_of([statement(code, "v"), statement(code, "w")]) == {"v": "q", "w": "k"}


@pytest.mark.parametrize(
    ("returned", "hints"),
    [
        (["mean", "scale", ""], {"v": "mean", "w": "scale", "u": "y"}),
        (["", "scale", "y"], {"v": "mean", "w": "scale", "u": "y"}),
        (["scale", "scale", ""], {"v": "y", "w": "mean", "u": "scale"}),
        (["", "", ""], {"v": "y", "w": "mean", "u": "scale"}),
    ],
)
def test_results_of_a_block_have_the_names_that_they_have_inside(
    returned: list[str], hints: dict[str, str]
) -> None:
    values = ("a", "b", "c")
    inner = {value: name for value, name in zip(values, returned, strict=True) if name}
    block = Block("Scaler", (), (), (), values, hints=inner)
    frame = Frame("model.py", 1, "forward", "y, mean, scale = self.scaler(x)")
    use = Statement(("v", "w", "u"), Apply("Scaler", is_module=True), (), (frame,))
    assert hints_of([use], [block]) == hints


def test_the_line_of_the_user_counts_not_that_of_torch() -> None:
    frames = (
        Frame("model.py", 3, "forward", "y = self.fc(x)"),
        Frame("/site-packages/torch/nn/modules/linear.py", 9, "forward", "z = F.linear(input)"),
    )
    assert hints_of([Statement(("v",), Use("x"), (), frames)]) == {"v": "y"}
    assert assigned(frames) == "y"


def test_what_a_loop_carries_has_one_name() -> None:
    loop = Loop("i", Literal(3), (statement("x = f(x)", "end"),), (("result", "start", "end", "initial"),))
    assert hints_of([loop]) == {"end": "x", "start": "x", "result": "x"}


def test_what_a_branch_joins_has_one_name() -> None:
    branch = Branch("flag", (statement("x = f(x)", "inner"),), (("result", "inner", "before"),))
    assert hints_of([branch]) == {"inner": "x", "result": "x", "before": "x"}


def test_two_names_are_not_one() -> None:
    assert assigned((Frame("model.py", 1, "forward", "a, b = f(x)"),)) == ""
    assert assigned(()) == ""


def test_numbered_names() -> None:
    names = numbered("x")
    assert [next(names) for _ in range(3)] == ["x", "x2", "x3"]


def test_a_statement_without_a_line_has_no_name() -> None:
    assert hints_of([Statement(("v",), Text("1"))]) == {}


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ({"a": ["q = self.q(query)"], "b": ["k = self.k(context)"]}, ["query", "context"]),
        ({"a": ["y = f(context)"], "b": ["return f(query)"]}, ["context", "query"]),
        ({"a": ["y = query + context"], "b": ["z = y * query"]}, ["context", "query"]),
        ({"a": ["y = query + context", "z = query * 2"], "b": ["y = query + context"]}, ["query", "context"]),
        # What no line tells.
        ({"a": ["y = query + context"], "b": ["y = query + context"]}, ["query", ""]),
        ({"a": [], "b": ["y = f(self.table)"]}, ["query", ""]),
        # A keyword, an attribute and what is assigned are not read.
        ({"a": ["query = f(context=query)"], "b": ["y = self.query * context"]}, ["query", "context"]),
    ],
)
def test_tensors_are_called_what_the_lines_that_read_them_do(
    lines: dict[str, list[str]], names: list[str]
) -> None:
    assert named_in(lines, ["query", "context", "scale"]) == names
