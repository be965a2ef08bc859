"""What is printed of diagnostics, whatever is in the files that they are about."""

from __future__ import annotations

import pytest

from trtdsl.diagnostics import Diagnostic, Origin, Source, Span, did_you_mean, render

CONTROLS = ["\x00", "\x07", "\x08", "\r", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066", "\ud800"]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_nothing_in_a_diagnostic_commands_the_terminal(control: str) -> None:
    source = Source(f"a{control}b", f"x = {control}[31m relu\n")
    span = Span(source, 10, 14)
    text = render(
        Diagnostic(f"m{control}n", span, f"l{control}n", (Origin(span, f"o{control}n"),), (f"h{control}n",))
    )
    assert control not in text
    for kept in ("m\ufffdn", "l\ufffdn", "o\ufffdn", "h\ufffdn", "a\ufffdb:1:11"):
        assert kept in text
    shown, marks = text.splitlines()[3:5]
    assert shown.index("relu") == marks.index("^^^^")


def test_what_can_be_read_is_printed_as_it_is() -> None:
    text = "naïve 模型 \N{NO-BREAK SPACE}α\tβ"
    assert render(Diagnostic(text)) == f"error: {text}"


def test_a_long_line_is_cut_around_the_place() -> None:
    text = "x" * 5000 + "HERE" + "y" * 5000
    shown = render(Diagnostic("no", Span(Source("long.trtnet", text), 5000, 5004)))
    line, marks = shown.splitlines()[-2:]
    assert len(line) < 400
    assert "HERE" in line
    assert line[marks.index("^") : marks.rindex("^") + 1] == "HERE"
    whole = render(Diagnostic("no", Span(Source("long.trtnet", text), 0, len(text))))
    assert max(map(len, whole.splitlines())) < 400


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("fold_bn", "fold_batch_norm", ", did you mean `fold_batch_norm`?"),
        ("sdpa", "scaled_dot_product_attention", ", did you mean `scaled_dot_product_attention`?"),
        ("bert", "bitwise_right_shift", ""),
    ],
)
def test_an_abbreviation_has_letters_of_each_part(word: str, known: str, said: str) -> None:
    assert did_you_mean(word, ["matmul", known]) == said
