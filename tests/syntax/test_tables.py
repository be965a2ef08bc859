"""The grammar's tables: unambiguous, and safe to keep on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lark.exceptions import GrammarError

from trtdsl.syntax.build import TreeBuilder
from trtdsl.syntax.tables import Tables, build_tables, tables

GRAMMAR = Path(__file__).parents[2] / "grammar" / "trtnet.lark"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "trtdsl"


def fresh() -> Tables:
    """As a new process would find them."""
    return tables.__wrapped__()


def test_tables_are_kept(cache: Path) -> None:
    built = fresh()
    (file,) = cache.iterdir()
    assert fresh() == built == build_tables(GRAMMAR.read_text(encoding="utf-8"))
    found = json.loads(file.read_text(encoding="utf-8"))
    found["starts"] = {"file": 5}
    file.write_text(json.dumps(found), encoding="utf-8")
    assert fresh().starts == {"file": 5}, "read from the cache, not built again"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"rules": 3}', '{"rules": [{}]}', "\xff"])
def test_a_damaged_cache_is_rebuilt(cache: Path, content: str) -> None:
    built = fresh()
    (file,) = cache.iterdir()
    file.write_bytes(content.encode("latin-1"))
    assert fresh() == built
    assert len(file.read_text(encoding="utf-8")) > 10_000


def test_a_cache_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert fresh().rules


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert fresh().rules


def test_every_rule_has_its_maker() -> None:
    """And no maker is left without a rule."""
    transparent = {"expr", "stage", "literal", "subscript", "operand", "postfix"}
    made = {rule.name for rule in tables().rules if rule.name and not rule.transparent}
    makers = {name.removeprefix("make_") for name in dir(TreeBuilder) if name.startswith("make_")}
    assert made - makers <= transparent
    assert makers <= made


def test_an_ambiguous_grammar_is_refused() -> None:
    with pytest.raises(GrammarError, match="Reduce/Reduce"):
        build_tables('file: a | b\na: "x"\nb: "x"\nexpr: "y"')


def test_lark_is_not_imported_where_the_tables_are_kept(cache: Path) -> None:
    fresh()
    program = "import sys, trtdsl.syntax; trtdsl.syntax.parse('model m() { }'); print('lark' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
    assert cache.exists()
