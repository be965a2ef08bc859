"""What is said about texts that do not parse, and where."""

from __future__ import annotations

import pytest

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.syntax import parse


def mistakes(text: str) -> list[Diagnostic]:
    with pytest.raises(DiagnosticError) as caught:
        parse(text)
    return list(caught.value.diagnostics)


def marked(diagnostic: Diagnostic) -> str:
    assert diagnostic.span is not None
    return diagnostic.span.text


STATEMENTS = [
    # text, marked, message, part of the help
    ("x = f(a b)", "b", "expected `)` or `,`, found `b`", ""),
    ("x = [1 2]", "2", "expected `,` or `]`, found `2`", ""),
    ("x = = 3", "=", "expected an expression, found `=`", ""),
    ("x = [a for i in xs", "}", "expected `]`, found `}`", ""),
    ("x = (a for a in xs)", "for", "unexpected `for`", "[x -> f for x in xs if c]"),
    ("x = sum(a for a in xs)", "for", "unexpected `for`", "[x -> f for x in xs if c]"),
    ("x = a for a in xs", "for", "unexpected `for`", "[x -> f for x in xs if c]"),
    ("x = a -> f for a in xs\ny = 3", "for", "unexpected `for`", "[x -> f for x in xs if c]"),
    ("x = [a if a for a in xs]", "for", "expected `else`, found `for`", "[x for x in xs if c]"),
    ("x = [a, b for a, b in xs]", "for", "unexpected `for`", "(a, b)"),
    ("x = [a for a in xs if c else ys]", "else", "unexpected `else`", "for x in (a if c else b)"),
    ("x = [a for a in xs, b]", ",", "unexpected `,` after a comprehension", "`+`"),
    ("x = [a for a of xs]", "of", "expected `,` or `in`, found `of`", ""),
    ("x = [a for (a) in xs]", ")", "expected `,`, found `)`", ""),
    ("for (a) in xs { }", ")", "expected `,`, found `)`", ""),
    ("for a.b in xs { }", ".", "expected `,` or `in`, found `.`", ""),
    ("x = a in b in c", "in", "comparisons do not chain", "a < b and b < c"),
    ("x = a < b in c", "in", "comparisons do not chain", "a < b and b < c"),
    ("x = a not b", "b", "expected `in`, found `b`", ""),
    ("in = 3", "in", "`in` is a keyword and cannot be a name", ""),
    ("x = in: Linear(3)(y)", "in", "`in` is a keyword and cannot be a name", '`"in…"`'),
    ("xs.append(y)", "xs.", "only a name can be bound, found `xs.`", "xs = xs + […]"),
    ("xs += [y]", "+=", "there is no `+=`", "[x -> f for x in xs if c]"),
    ("x = a.", "}", "expected a name or an integer, found `}`", ""),
    ("if a = b { }", "=", "`=` gives a name to a value", "`==`"),
    ("if a: x = b", ":", "expected `{`, found `:`", "between `{` and `}`"),
    ("for i in range(3): x = i", ":", "expected `{`, found `:`", "between `{` and `}`"),
    ("for i in xs:\n x = i", ":", "expected `{`, found `:`", "between `{` and `}`"),
    ("if a { } elif b { }", "elif", "`elif` is Python's", "`else if`"),
    ("x = True", "True", "`True` is Python's", "`true`"),
    ("x = f(bias = False)", "False", "`False` is Python's", "`false`"),
    ("x = None", "None", "`None` is Python's", "`none`"),
    ("while a { }", "while", "`while` is Python's", "`scan`"),
    ("x = lambda y: y", "lambda", "`lambda` is Python's", "block"),
    ("pass", "pass", "`pass` is Python's", "`{}`"),
    ("x = a;", ";", "`;` is not part of the language", "no `;`"),
    ("x = !a", "!", "`!` is not part of the language", "`not`"),
    ("x = a && b", "&", "`&` is not part of the language", "`and`"),
    ("x = a\u00a0+ b", "\u00a0", "the character NO-BREAK SPACE is not part of the language", "plain space"),
    ("x = \0", "\0", "the character U+0000 is not part of the language", ""),
    (
        "x = größe",
        "ö",
        "the character `ö` (LATIN SMALL LETTER O WITH DIAERESIS) is not part of the language",
        "a-z",
    ),
    ("x = a → f", "→", "`→` is not part of the language", "`->`"),
    ("x = 'abc' + b", "'abc'", "strings stand in double quotes", '`"…"`'),
    ('x = "abc', '"', "this string is never closed", "on the line where it begins"),
    ('x = f"a{b}"', "f", "a string has no prefix", "drop the `f`"),
    ('x = "{}"', "{}", "nothing stands between these braces", "{{}}"),
    ('x = "a}"', "}", "this `}` has no partner", "}}"),
    ('x = "a{b"', "{", "this `{` has no partner", "{{"),
    (r'x = "a\q"', r"\q", r"`\q` is not an escape", r"\n"),
    ('x = "a{b c}"', "c", "expected `}`, found `c`", ""),
    ('x = "a{b + }"', "+", "expected an expression after `+`", ""),
    ("x = 1.", "1.", "`1.` is not a number", "`1.0`"),
    ("x = 1.\ny = 2", "1.", "`1.` is not a number", "`1.0`"),
    ("x = f(1. , 2)", "1.", "`1.` is not a number", "`1.0`"),
    ("x = f(1., 2)", "1.", "`1.` is not a number", "`1.0`"),
    ("x = [1.]", "1.", "`1.` is not a number", "`1.0`"),
    ("x = .5", ".5", "`.5` is not a number", "`0.5`"),
    ("x = 0x1F", "0x1F", "`0x1F` is not a number", "decimal"),
    ("x = 2nd", "2nd", "`2nd` is not a number", "begins with a letter"),
    (f"x = {'9' * 5000}", "9" * 5000, "this integer is too large", ""),
    ("x = 1e999", "1e999", "`1e999` is too large for a float", "`inf`"),
    ("x = a < b < c", "<", "comparisons do not chain", "a < b and b < c"),
    ("x = a, b", ",", "unexpected `,`", "(a, b)"),
    ("x = a -> f + 1", "+", "`+` cannot follow a pipe or a labelled layer", "parentheses"),
    ("x = a -> f(1)[0]", "[", "`[` cannot follow a pipe or a labelled layer", "parentheses"),
    ("x = l: F(3)(y) + 1", "+", "`+` cannot follow a pipe or a labelled layer", "parentheses"),
    ("x = f(dim: 3)", "3", "expected a layer after the label `dim`", "`dim = 3`"),
    ("x = 1 .. 2", "..", "unexpected `..`", "range(a, b)"),
    ("dim N = 1 .. 8 dim M = 2", "dim", "expected `..`, found `dim`", "minimum .. optimum .. maximum"),
    ("x = a if b y = c", "y", "expected `else`, found `y`", "a if condition else b"),
    ("x = relu x", "x", "unexpected `x`", "between `relu` and `x`"),
    ("x += 1", "+=", "there is no `+=`", "x = x + …"),
    ("x[0] = y", "x[", "only a name can be bound, found `x[`", "bind a new one"),
    ("x.y = z", "x.", "only a name can be bound, found `x.`", "bind a new one"),
    ("f(x)", "f", "a call alone does nothing", "bind its value"),
    ("x: Conv2d(3)", ":", "expected `=`, found `:` after `x`", "y = x: Conv2d"),
    ("output x[0]", "[", "expected `=`, found `[`", "give the output a name: `output y = x[…`"),
    ("output x -> relu", "->", "expected `=`, found `->`", "give the output a name: `output y = x -> …`"),
    ("output y -> relu", "->", "expected `=`, found `->`", "`output z = y -> …`"),
    ("output y += x", "+=", "there is no `+=`", "`output y = …`"),
    ("output y == x", "==", "expected `=`, found `==`", "write `=`"),
    ("x = ~a", "~", "`~` is not part of the language", "write `not`"),
    ("weights { a = b }", "a", "expected a line of `weights`, found `a`", "a line of"),
    (
        'weights { "a": b }',
        ":",
        "expected a line of `weights`, found `:`",
        "a line of a `weights` section is",
    ),
    ("weights { 'a' = b }", "'a'", "strings stand in double quotes", ""),
    (
        'weights { "a" = "b" c',
        "c",
        "expected a line of `weights`, found `c`",
        "a line of a `weights` section",
    ),
    ("for a in weights { a: }", ":", "expected `=`, found `:` after `a`", ""),
    ("for = 3", "for", "`for` is a keyword and cannot be a name", ""),
    ("x = return", "return", "`return` is a keyword and cannot be a name", ""),
    ("x = y -> if.z: F", "if", "`if` is a keyword and cannot be a name", "string"),
    ("x = a )", ")", "this `)` closes nothing", ""),
    ("// a comment", "//", "unexpected `//`", "begins with `#`"),
    ("else { }", "else", "expected a statement or `}`, found `else`", ""),
    ("input x float32[3]", "float32", "expected `:`, found `float32`", ""),
    ("return", "}", "expected an expression, found `}`", ""),
]


@pytest.mark.parametrize(("text", "place", "message", "advice"), STATEMENTS)
def test_statements(text: str, place: str, message: str, advice: str) -> None:
    (found,) = mistakes(f"model m() {{\n{text}\n}}")
    assert (marked(found), found.message) == (place, message)
    assert advice in " ".join(found.help)


@pytest.mark.parametrize(
    ("text", "place", "message", "advice"),
    [
        ("def f(x): return x", ":", "expected `{`, found `:`", "between `{` and `}`"),
        ("class A(nn.Module): pass", "class", "`class` is Python's", "block"),
        ("from a import b", "from", "`from` is Python's", "import"),
        ("x = 3", "x", "expected `import`, `block`, `def` or `model`, found `x`", ""),
        ("model m [ ]", "[", "expected `(` or `{`, found `[`", "model name(parameters)"),
        ("model m x { }", "x", "expected `(` or `{`, found `x`", "model name { … }"),
        ("model m: x", ":", "expected `{`, found `:`", ""),
        ("model m = n", "", "expected `(`, found the end of the text", "model m = other(parameter = value)"),
        ("model m = n { }", "{", "expected `(`, found `{`", "model m = other(parameter = value)"),
        ("model m = 3", "3", "expected the name of a model, found `3`", "model m = other(parameter = value)"),
        ("model m = n(a = 3) { }", "{", "a model that is derived from another has no body", "model m ="),
        (
            "model m(a) = n(b = a)",
            "=",
            "a model that is derived from another has no list of parameters",
            "pass through",
        ),
        ("block A(x) { }", "{", "expected `(`, found `{`", "block Name(parameters)(tensors)"),
        ("model m(): x", ":", "expected `{`, found `:`", ""),
        ("model m() { } }", "}", "this `}` closes nothing", ""),
        ("import foo", "foo", "expected a string, found `foo`", ""),
        ("model", "", "expected a name, found the end of the text", ""),
    ],
)
def test_top_level(text: str, place: str, message: str, advice: str) -> None:
    (found,) = mistakes(text)
    assert (marked(found), found.message) == (place, message)
    assert advice in " ".join(found.help)


@pytest.mark.parametrize(
    ("text", "message", "opening"),
    [
        ("model m() {\n x = a\n", "expected `}`, found the end of the text", "{"),
        ("model m() {\n x = (a\n}", "expected `)`, found `}`", "("),
        ("model m() {\n x = (a]\n}", "expected `)`, found `]`", "("),
        ("model m() {\n x = f(a\n y = b\n}", "expected `)` or `,`, found `y`", "("),
        ("block A()(x) {\n return x\n\nmodel m() {\n}", "a model cannot begin here, inside another", "{"),
    ],
)
def test_the_opening_bracket_is_shown(text: str, message: str, opening: str) -> None:
    (found,) = mistakes(text)
    assert found.message == message
    assert [origin.span.text for origin in found.origins if origin.span] == [opening]


def test_the_end_is_just_past_the_last_token() -> None:
    (found,) = mistakes("model m() {\n x = a  # comment\n\n")
    assert str(found.span) == "<text>:2:7"


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("model m() {\n  x = f(a b)\n  y = = 3\n  z = 4\n  if z = 4 { }\n}", ["b", "=", "="]),
        # An argument on a line of its own is no statement: the call's end is looked for first.
        ("model m() {\n  x = f(\n  a = 1,\n  b 2,\n  c = 3)\n  y = [1 2]\n}", ["2", "2"]),
        ("model m() {\n  x = f(a, b\n  y = g(c d)\n}", ["y", "d"]),
        ("model m() {\n  for i in x {\n    y = = a\n  }\n  z = ;\n}", ["=", ";"]),
        ("model m() {\n  if a { x = 3 3 }\n  z = ;\n}", ["3", ";"]),
        ("model m( {\n  x = 3\n}\nmodel n() { x = = 4 }", ["{", "="]),
        ("block A()(x) {\n return x x\n\nmodel m() {\n y = = z\n}", ["x", "="]),
        ("model m() {\n  weights { a = b }\n  x = = y\n}", ["a", "="]),
        ('model m() {\n  x = "{a b}"\n  y = "\\q"\n  z = = 1\n}', ["b", "\\q", "="]),
    ],
)
def test_several_mistakes_in_one_run(text: str, places: list[str]) -> None:
    assert [marked(found) for found in mistakes(text)] == places


def test_no_more_than_twenty() -> None:
    assert len(mistakes("model m() {\n" + "x = = 3\n" * 100 + "}")) == 20
