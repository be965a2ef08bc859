"""What holds of every text, tried on texts drawn from the grammar, on broken ones and on noise."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.syntax.syntax_derivation import texts
from trtdsl.diagnostics import Diagnostic, DiagnosticError, Span
from trtdsl.syntax import format_text, parse, parse_partial, tree
from trtdsl.syntax.parser import parse_whole

SPECIAL = "\0\t\r\n\ufeff\u00a0\"\\{}#()[]:;=.,-><!*/%@?'_0e"
"""what breaks a text best"""


def without_places(node: object) -> object:
    """A node without its spans and the file's comments."""
    if isinstance(node, tuple):
        return tuple(map(without_places, node))
    if not isinstance(node, tree.Node):
        return node
    kept = (name for name in node.__struct_fields__ if not name.endswith("span") and name != "comments")
    return (type(node).__name__, *(without_places(getattr(node, name)) for name in kept))


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
    assert [c.text for c in parse_whole(formatted).comments] == [c.text for c in parse_whole(text).comments]
    assert format_text(formatted) == formatted


def broken(random: Random, text: str) -> str:
    """The text with a few characters or pieces lost, doubled, moved or replaced."""
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.choice([0, 1, 1, 1, 5, 30]))
        piece = random.choice(["", "", random.choice(SPECIAL), text[start:end] * 2, " = ", "\n", "x "])
        text = text[:start] + piece + text[end:]
    return text


def covered(file: tree.File, diagnostics: tuple[Diagnostic, ...]) -> bool:
    """Whether every node and diagnostic stands inside the text."""
    end = file.span.end
    places = [*spans(file), *(d.span for d in diagnostics if d.span)]
    return all(0 <= place.start <= place.end <= end for place in places)


def spans(node: object) -> Iterator[Span]:
    if isinstance(node, tuple):
        for part in node:
            yield from spans(part)
    elif isinstance(node, tree.Node):
        yield node.span
        yield from spans(tuple(getattr(node, name) for name in node.__struct_fields__))


@settings(max_examples=300, deadline=None)
@given(texts(60), st.randoms(use_true_random=False))
def test_a_broken_text_has_a_partial_tree(text: str, random: Random) -> None:
    """The same that it has as a whole where nothing is wrong, and else what is left of it."""
    text = broken(random, text)
    partial = parse_partial(text)
    assert covered(partial.tree, partial.diagnostics)
    found = parsed(text)
    if isinstance(found, tree.File):
        assert not partial.diagnostics
        assert without_places(partial.tree) == without_places(found)
    else:
        assert partial.diagnostics == found.diagnostics or len(partial.diagnostics) == len(found.diagnostics)


@settings(max_examples=100, deadline=None)
@given(texts(60), st.integers(0, 400))
def test_a_text_that_breaks_off_keeps_what_is_complete(text: str, end: int) -> None:
    whole = parse_partial(text).tree
    partial = parse_partial(text[:end]).tree
    before = [item for item in whole.items if item.span.end <= end]
    kept = list(map(without_places, partial.items[: len(before)]))
    assert kept == list(map(without_places, before)) or '"' in text


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(SPECIAL + "abfor in if else model dim", max_size=60))
def test_any_text_gives_a_tree_or_diagnostics(text: str) -> None:
    if isinstance(parsed(text), tree.File):
        assert format_text(format_text(text)) == format_text(text)
    parsed(f"model m() {{ {text} }}")
    parsed(f'model m() {{ x = "{text}" }}')
