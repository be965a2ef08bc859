"""What holds of every text, tried on texts drawn from the grammar, on broken ones and on noise."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from lark.exceptions import LarkError

from tests.syntax.syntax_derivation import language, texts
from trtdsl.diagnostics import DiagnosticError
from trtdsl.syntax import format_text, parse, tree

SPECIAL = "\0\t\r\n\ufeff\u00a0\"\\{}#()[]:;=.,-><!*/%@?'_0e"
"""what breaks a text best"""


def without_places(node: object) -> object:
    """A node without its spans and the file's comments."""
    if isinstance(node, tuple):
        return tuple(map(without_places, node))
    names = getattr(type(node), "__slots__", ())
    kept = (name for name in names if not name.endswith("span") and name != "comments")
    return (type(node).__name__, *(without_places(getattr(node, name)) for name in kept)) if names else node


def parsed(text: str) -> tree.File | DiagnosticError:
    """Never another exception, and every diagnostic with its place in the text."""
    try:
        return parse(text)
    except DiagnosticError as error:
        assert error.diagnostics
        for diagnostic in error.diagnostics:
            assert diagnostic.span is not None
            assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)
            assert str(diagnostic)
        return error


def refused_for_more_than_grammar(error: DiagnosticError) -> bool:
    """The grammar leaves the inside of strings open, the size of numbers, and the depth."""
    inner = ("no escape", "no partner", "nothing stands", "too large", "too deeply")
    return any(word in d.message for d in error.diagnostics for word in inner)


@settings(max_examples=150, deadline=None)
@given(texts(120))
def test_formatting_changes_nothing_but_the_layout(text: str) -> None:
    before = parsed(text)
    if isinstance(before, DiagnosticError):
        assert refused_for_more_than_grammar(before)
        return
    formatted = format_text(text)
    after = parse(formatted)
    assert without_places(after) == without_places(before)
    assert [c.text for c in after.comments] == [c.text for c in before.comments]
    assert format_text(formatted) == formatted


def lark_accepts(text: str) -> bool:
    """lark takes `blockx` for `block x` where no name can stand; that does not count."""
    parser = language().parse_interactive(text)
    try:
        for token in parser.iter_parse():
            after = text[token.end_pos : (token.end_pos or 0) + 1]
            if token.isidentifier() and (after.isalnum() or after == "_"):
                return False
        parser.feed_eof()
    except LarkError:
        return False
    return True


def broken(random: Random, text: str) -> str:
    """The text with a few characters or pieces lost, doubled, moved or replaced."""
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.choice([0, 1, 1, 1, 5, 30]))
        piece = random.choice(["", "", random.choice(SPECIAL), text[start:end] * 2, " = ", "\n", "x "])
        text = text[:start] + piece + text[end:]
    return text


@settings(max_examples=300, deadline=None)
@given(texts(60), st.randoms(use_true_random=False))
def test_lark_accepts_the_same_texts(text: str, random: Random) -> None:
    """The automaton here and lark's own contextual lexer read one grammar alike."""
    text = broken(random, text)
    found = parsed(text)
    if isinstance(found, tree.File):
        assert lark_accepts(text.removeprefix("\ufeff"))
    elif lark_accepts(text):
        assert refused_for_more_than_grammar(found) or '"' in text


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(SPECIAL + "abfor in if else model dim", max_size=60))
def test_any_text_gives_a_tree_or_diagnostics(text: str) -> None:
    if isinstance(parsed(text), tree.File):
        assert format_text(format_text(text)) == format_text(text)
    parsed(f"model m() {{ {text} }}")
    parsed(f'model m() {{ x = "{text}" }}')
