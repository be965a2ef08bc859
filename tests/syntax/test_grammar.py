"""The grammar's parser: unambiguous, and safe to keep on disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lark import Lark
from lark.exceptions import GrammarError

from trtdsl.ir.names import KEYWORDS, NEVER_NAMES, PYTHON_WORDS
from trtdsl.syntax import grammar
from trtdsl.syntax.build import LISTS, MAKERS
from trtdsl.syntax.parser import parse_partial

GRAMMAR = Path(__file__).parents[2] / "grammar" / "trtnet.lark"
TEXT = "model m { x = a -> f(1) }"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "trtdsl"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every grammar that lark had to work out."""
    built: list[bytes] = []
    build = grammar.build

    def noted(text: bytes) -> tuple[Lark, bytes]:
        built.append(text)
        return build(text)

    monkeypatch.setattr(grammar, "build", noted)
    return built


def fresh() -> Lark:
    """As a new process would find it."""
    return grammar.language.__wrapped__()


def test_the_parser_is_kept(cache: Path, builds: list[bytes]) -> None:
    first = fresh()
    (file,) = cache.iterdir()
    assert file.stat().st_size > 10_000
    assert fresh().parse(TEXT, start="file") == first.parse(TEXT, start="file")
    assert len(builds) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"lark 0.1 5\n3\nx", b"\xff\n\xfe"])
def test_a_damaged_cache_is_rebuilt(cache: Path, builds: list[bytes], content: bytes) -> None:
    fresh()
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for damaged in (content, whole[:-1], whole[:1000] + b"?" + whole[1001:]):
        file.write_bytes(damaged)
        builds.clear()
        assert fresh().parse(TEXT, start="file")
        assert fresh().parse(TEXT, start="file")
        assert len(builds) == 1, "worked out once, then read"


def test_another_release_of_lark_works_it_out_again(
    cache: Path, builds: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh()
    monkeypatch.setattr(grammar.lark, "__version__", "9.9")
    fresh()
    assert len(builds) == 2
    assert len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert fresh().parse(TEXT, start="file")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert fresh().parse(TEXT, start="file")


def test_what_ships_beside_the_grammar_is_used(
    tmp_path: Path, cache: Path, builds: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "grammar" / "trtnet.lark"
    shipped.parent.mkdir()
    shutil.copy(GRAMMAR, shipped)
    _, serialised = grammar.build(shipped.read_bytes())
    shipped.with_name(grammar.SERIALISED).write_bytes(serialised)
    builds.clear()
    monkeypatch.setattr(grammar, "_grammar_file", lambda: shipped)
    assert fresh().parse(TEXT, start="file")
    assert not builds
    assert not cache.exists()


def test_every_rule_has_its_maker() -> None:
    """And no maker is left without a rule."""
    rules = fresh().rules
    named = {str(rule.alias or rule.options.template_source or rule.origin.name) for rule in rules}
    inlined = {str(rule.origin.name) for rule in rules if rule.options.expand1}
    inlined |= {str(rule.options.template_source) for rule in rules if rule.options.expand1}
    made = {name for name in named - inlined if not name.startswith("_")}
    assert made == (MAKERS.keys() | LISTS.keys() | {"file", "weights_map"})


def test_an_ambiguous_grammar_is_refused() -> None:
    with pytest.raises(GrammarError, match="Reduce/Reduce"):
        grammar.build(b'file: a | b\na: "x"\nb: "x"\nexpr: "y"\nweights_map: "z"')


def test_a_start_with_a_cache_does_not_work_the_grammar_out(cache: Path) -> None:
    fresh()
    program = (
        "import lark.load_grammar as g\n"
        "def refused(*args): raise AssertionError('worked out again')\n"
        "g.load_grammar = __import__('lark.lark').lark.load_grammar = refused\n"
        "import trtdsl.syntax; print(trtdsl.syntax.parse('model m { }').items[0].name.text)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "m"


def test_values_are_never_called_like_a_word_of_the_language() -> None:
    assert frozenset(mark for mark in grammar.marks().values() if mark.isidentifier()) == KEYWORDS


@pytest.mark.parametrize("word", sorted(KEYWORDS | PYTHON_WORDS))
def test_which_words_are_never_names(word: str) -> None:
    parsed = parse_partial(f"model m {{ y = x -> {word}.0: Linear(3) }}")
    assert bool(parsed.diagnostics) == (word in NEVER_NAMES)
