"""What the parser makes of a text."""

from __future__ import annotations

import time

import pytest

from trtdsl.diagnostics import DiagnosticError
from trtdsl.syntax import parse, parse_partial, tree
from trtdsl.syntax.parser import MAXIMUM_DEPTH, parse_whole


def body(text: str) -> tuple[tree.Statement, ...]:
    (model,) = parse(f"model m() {{\n{text}\n}}").items
    assert isinstance(model, tree.Model)
    return model.body


def value(text: str) -> tree.Expr:
    (statement,) = body(f"y = {text}")
    assert isinstance(statement, tree.Assign)
    return statement.value


def shown(expression: object) -> str:
    """An expression with every operation in brackets."""
    match expression:
        case tree.Path(parts=parts):
            return ".".join(part.text for part in parts)
        case tree.Integer(value=number) | tree.Float(value=number):
            return str(number)
        case tree.Unary(operator=operator, operand=operand):
            return f"({operator} {shown(operand)})"
        case tree.Binary(operator=operator, left=left, right=right):
            return f"({shown(left)} {operator} {shown(right)})"
        case tree.Conditional(then=then, condition=condition, otherwise=otherwise):
            return f"({shown(then)} if {shown(condition)} else {shown(otherwise)})"
        case tree.Parenthesised(inner=inner):
            return shown(inner)
        case tree.Pipe(head=head, stages=stages):
            return f"({' -> '.join(map(shown, (head, *stages)))})"
        case tree.Call(callee=callee, arguments=arguments):
            return f"{shown(callee)}({', '.join(map(shown, arguments))})"
        case tree.Argument(name=name, value=inner):
            return f"{name.text}={shown(inner)}" if name else shown(inner)
        case tree.Labelled(label=label, value=inner):
            return f"<{label.path.span.text}: {shown(inner)}>"
        case tree.Index(value=inner, subscripts=subscripts):
            return f"{shown(inner)}[{'; '.join(map(shown, subscripts))}]"
        case tree.Slice(start=start, stop=stop, step=step):
            return ":".join(shown(bound) if bound else "" for bound in (start, stop, step))
        case tree.Attribute(value=inner, name=name):
            return f"{shown(inner)}.{name.text}"
        case _:
            return type(expression).__name__


@pytest.mark.parametrize(
    ("text", "structure"),
    [
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("-a ** -b ** c", "(- (a ** (- (b ** c))))"),
        ("a // b % c @ d", "(((a // b) % c) @ d)"),
        ("not a == b and c or d", "(((not (a == b)) and c) or d)"),
        ("a if b else c if d else e", "(a if b else (c if d else e))"),
        ("a + b if c else d -> f -> g(h)", "(((a + b) if c else d) -> f -> g(h))"),
        ("a -> f()", "(a -> f)"),
        ("(a, b) -> l: F(1)", "(TupleLiteral -> <l: F(1)>)"),
        ("conv1: Conv2d(64, 7)(x)", "<conv1: Conv2d(64, 7)(x)>"),
        (
            "x -> layer1.0: r.Block(c, stride = 2) -> 0.1: B",
            "(x -> <layer1.0: r.Block(c, stride=2)> -> <0.1: B>)",
        ),
        ('x -> "l{i}": F -> weights.input.in: G', '(x -> <"l{i}": F> -> <weights.input.in: G>)'),
        ("a + (pos: Parameter(1))", "(a + <pos: Parameter(1)>)"),
        ("[a: F(x), b -> g]", "ListLiteral"),
        ("f(a: F, dim = b: G(1))", "f(<a: F>, dim=<b: G(1)>)"),
        ("cat(xs, dim = 1, as = with, weights = weights)", "cat(xs, dim=1, as=with, weights=weights)"),
        ("x[:, 0, i:j, ..., ::2, -1]", "x[::; 0; i:j:; Ellipsis; ::2; (- 1)]"),
        ("x[a if b else c]", "x[(a if b else c)]"),
        ("f(x)(y).shape[0].z", "f(x)(y).shape[0].z"),
        ("x.shape[1]", "x.shape[1]"),
        ("1.5 + 1e-5 + 2e3", "((1.5 + 1e-05) + 2000.0)"),
    ],
)
def test_expressions(text: str, structure: str) -> None:
    assert shown(value(text)) == structure


@pytest.mark.parametrize(("text", "count"), [("()", 0), ("(a,)", 1), ("(a, b)", 2), ("(a, b,)", 2)])
def test_tuples(text: str, count: int) -> None:
    found = value(text)
    assert isinstance(found, tree.TupleLiteral)
    assert len(found.items) == count


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("x = a if c { y = b }", "Assign If"),
        ("x = a\nif c { y = b } else if d { y = e } else { z = f }\nw = g", "Assign If Assign"),
        ("x = a if b else c if d { y = e }", "Assign If"),
        ("x = a if b else c if d else e if f { y = g }", "Assign If"),
        ("x = a -> f if c { }", "Assign If"),
        ("dim S = 4 if c { } dim N = 1..2 .. 3 if c { }", "Dim If Dim If"),
        ("output y = a if c { } output a, b if c { } emit y = a if c { }", "Output If Output If Emit If"),
        ('assert a if c { } assert a, "m" if c { } return a, b if c { }', "Assert If Assert If Return If"),
        ("if a { } if b { }", "If If"),
        ("weights = a dim = weights input, output = f(dim) profile = 1 scan = 2 emit = 3", "Assign " * 6),
        ("profile p { N = 1 .. 2 .. 3 M = 4 } x = p", "Profile Assign"),
        ("for i, c in enumerate([1]) { } x = a", "For Assign"),
        ("scan a, b in x, y, dim = 0 with h = h0, c = c0 { emit y = h } scan t in x { }", "Scan Scan"),
        ('weights { "a" = "b" "c" = f("d") }', "Weights"),
        ("input x: float32[N, 3,] input y: int64[]", "Input Input"),
    ],
)
def test_statements_end_where_the_next_begins(text: str, kinds: str) -> None:
    assert [type(statement).__name__ for statement in body(text)] == kinds.split()


def test_a_glued_if_keeps_both_spans() -> None:
    first, second = body("x = a if b else c\nif d { y = e } else { }")
    assert first.span.text == "x = a if b else c"
    assert second.span.text == "if d { y = e } else { }"
    assert isinstance(first, tree.Assign)
    assert first.value.span.text == "a if b else c"


def test_scan() -> None:
    (scan,) = body("scan a, b in x, y, dim = 0 with h = h0, c = c0 { emit y = h }")
    assert isinstance(scan, tree.Scan)
    assert [name.text for name in scan.targets] == ["a", "b"]
    assert [sequence.span.text for sequence in scan.sequences] == ["x", "y"]
    assert [option.span.text for option in scan.options] == ["dim = 0"]
    assert [(name.text, start.span.text) for name, start in scan.carried] == [("h", "h0"), ("c", "c0")]
    assert [type(statement) for statement in scan.body] == [tree.Emit]


def test_blocks() -> None:
    (block,) = parse("block B(a, b = 2,)(x: [N, C], y, mask: bool[N] = none, z = none) { return x }").items
    assert isinstance(block, tree.Block)
    assert [(p.name.text, p.default is None) for p in block.parameters] == [("a", True), ("b", False)]
    types = [
        (t.name.text, t.type and (t.type.dtype and t.type.dtype.text, len(t.type.shape)))
        for t in block.tensors
    ]
    assert types == [("x", (None, 2)), ("y", None), ("mask", ("bool", 1)), ("z", None)]
    assert [type(t.default).__name__ for t in block.tensors] == ["NoneType"] * 2 + ["NoneLiteral"] * 2


@pytest.mark.parametrize("text", ["model m { x = a }", "model m() { x = a }", "model m ( ) { x = a }"])
def test_a_model_without_parameters(text: str) -> None:
    (model,) = parse(text).items
    assert isinstance(model, tree.Model)
    assert (model.name.text, model.parameters, len(model.body)) == ("m", (), 1)
    assert model.span.text == text


def test_imports() -> None:
    first, second = parse('import "std/resnet.trtnet" import "a" as r').items
    assert isinstance(first, tree.Import)
    assert isinstance(second, tree.Import)
    assert first.path.parts == ("std/resnet.trtnet",)
    assert second.alias is not None
    assert second.alias.text == "r"


def test_documentation_is_the_lines_directly_above() -> None:
    parsed = parse_whole(
        "## apart\n\n## One.\n##  Two.\nblock B()(x) { return x }\nmodel m() {\n"
        "  ## In.\n  input x: float32[N]\n  y = x  ## no\n  output y\n  ## Out.\n  output z = y\n}"
    )
    block, model = parsed.tree.items
    assert isinstance(block, tree.Block)
    assert isinstance(model, tree.Model)
    assert block.documentation == "One.\nTwo."
    documented = [s.documentation for s in model.body if isinstance(s, tree.Input | tree.Output)]
    assert documented == ["In.", "", "Out."]
    assert [comment.trailing for comment in parsed.comments] == [False] * 4 + [True, False]


def test_strings() -> None:
    found = value(r'"a{{b}} \"\\\n\t{i + 1}.{x.y}"')
    assert isinstance(found, tree.String)
    first, index, dot, path = found.parts
    assert (first, dot) == ('a{b} "\\\n\t', ".")
    assert isinstance(index, tree.Binary)
    assert isinstance(path, tree.Path)
    assert index.span.text == "i + 1"
    assert path.span.text == "x.y"
    assert found.text == found.span.text


def test_text_that_no_editor_shows() -> None:
    windows = parse_whole("\ufeffmodel m() {\r\n  x = a # c\r\n}\r\n")
    assert [comment.text for comment in windows.comments] == ["# c"]
    assert parse("").items == ()
    assert parse("\n# only a comment").items == ()


def depth(node: object) -> int:
    if isinstance(node, tuple):
        return max(map(depth, node), default=0)
    if not isinstance(node, tree.Node):
        return 0
    return 1 + max((depth(getattr(node, name)) for name in node.__struct_fields__), default=0)


NESTED = ["({})", "[{}]", "f({})", "-{}", "not {}", "{} + a", "{}.b(c)", "{}[d]", "a if b else {}", "x ** {}"]


@pytest.mark.parametrize("shape", NESTED)
def test_depth_is_bounded(shape: str) -> None:
    text = "f(x)"
    for _ in range(MAXIMUM_DEPTH // 3):
        text = shape.format(text)
    assert depth(value(text)) <= MAXIMUM_DEPTH
    with pytest.raises(DiagnosticError, match="nests too deeply"):
        value(shape.replace("{}", "f(x)") if "{}" not in shape else _nested(shape, 3000))


@pytest.mark.parametrize(
    ("shape", "times"), [("({})", 96), ("-{}", 96), ("{}[0]", 96), ("f({})", 48), ("x -> l: F({})", 24)]
)
def test_as_many_levels_as_documented(shape: str, times: int) -> None:
    """100: an argument is two; one for the file, the model, the statement and the name."""
    before, after = shape.split("{}")
    body(f"y = {before * times}x{after * times}")
    with pytest.raises(DiagnosticError, match="nests too deeply"):
        body(f"y = {before * (times + 1)}x{after * (times + 1)}")


def _nested(shape: str, times: int) -> str:
    before, after = shape.split("{}")
    return before * times + "f(x)" + after * times


@pytest.mark.parametrize("opening", ["for i in x {", "if a {", "if a { } else "])
def test_depth_of_statements_is_bounded(opening: str) -> None:
    with pytest.raises(DiagnosticError, match="nests too deeply"):
        body(opening * 1000 + "{" * opening.endswith("else ") + "}" * (1000 if opening.endswith("{") else 1))


def test_time_is_linear() -> None:
    """A long chain of statements costs the same per statement as a short one."""

    def seconds(count: int) -> float:
        text = "model m() {\n" + "  x = x -> conv.0: Conv2d(64, 3, padding = 1) -> relu\n" * count + "}"
        start = time.process_time()
        parse(text)
        return time.process_time() - start

    seconds(10)
    short = min(seconds(500) for _ in range(3))
    # Twenty times as many statements: a quadratic parser would need 400 times as long, noise is far less.
    assert seconds(10_000) < 80 * short


def kept(text: str) -> list[str]:
    """The statements of a partial tree's only model."""
    (model,) = parse_partial(text).tree.items
    assert isinstance(model, tree.Model)
    return [statement.span.text for statement in model.body]


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("model m {\n  x = a\n  y = = b\n  z = c\n}", ["x = a", "z = c"]),
        ("model m {\n  x = a\n  y = f(", ["x = a"]),
        ("model m {\n  x = a\n  y = b.", ["x = a"]),
        ("model m {\n  x = a\n", ["x = a"]),
        ("model m {\n  x = a -> f\n  for i in b { y = i", ["x = a -> f", "for i in b { y = i"]),
        (
            "model m {\n  if a { x = b ; } else { y = c }\n  z = d\n}",
            ["if a { x = b ; } else { y = c }", "z = d"],
        ),
        ('model m {\n  y = f(a b)\n  x = "{c d}"\n  z = x\n}', ['x = "{c d}"', "z = x"]),
        ("model m {\n  x = " + "(" * 200 + "a" + ")" * 200 + "\n  z = x\n}", ["z = x"]),
        ("model m {\n" + "  x = = 3\n" * 30 + "  z = x\n}", []),
    ],
)
def test_a_partial_tree_lacks_only_what_failed(text: str, statements: list[str]) -> None:
    assert kept(text) == statements
    assert parse_partial(text).diagnostics
