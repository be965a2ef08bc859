"""Values that are read at once have names of their own."""

from __future__ import annotations

from trtdsl.importers.sketch import Apply, Block, Branch, Literal, Sketch, Statement, Subscript, Use
from trtdsl.importers.write import write


def call(function: str, *values: str) -> Apply:
    return Apply(function, tuple(("", Use(value)) for value in values), len(values))


def test_what_an_option_stands_for_has_a_name_for_each_value() -> None:
    inside = (
        Statement(("a",), call("sin", "x")),
        Statement(("b",), call("cos", "y")),
    )
    branch = Branch("option", inside, (("left", "a", "x"), ("right", "b", "y")))
    result = Statement(("z",), call("sub", "left", "right"))
    kept = Statement(("w",), call("add", "x", "y"))
    block = Block("Both", (("option", None),), (("x", ""), ("y", "")), (branch, result, kept), ("z", "w"))
    text = write(Sketch(Block("m", (), (), (), ()), (block,), (), ()))
    assert text.splitlines()[1:7] == [
        "x2 = x",
        "x3 = y",
        "if option {",
        "x2 = sin(x)",
        "x3 = cos(y)",
        "}",
    ]


def test_a_part_without_a_name_is_written_where_it_is_read() -> None:
    statements = (
        Statement(("a",), Subscript(Use("x"), (Literal(0),))),
        Statement(("b",), call("exp", "x")),
        Statement(("y",), call("add", "b", "a")),
    )
    for hints, wanted in ({}, "return add(exp(x), x[0])"), ({"a": "first"}, "return add(exp(x), first)"):
        block = Block("Both", (), (("x", ""),), statements, ("y",), hints=hints)
        text = write(Sketch(Block("m", (), (), (), ()), (block,), (), ()))
        assert wanted in text.splitlines()
