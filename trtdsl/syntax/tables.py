"""The grammar file → the LALR tables that the parser runs on.

lark reads `grammar/trtnet.lark` and works out the tables. That takes a third of a second, so they are
kept as JSON in the user's cache directory under a hash of the grammar, and lark is not even imported
where they are found. A cache that cannot be read or written only costs the time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

_FORMAT = 4
"""Part of the cache's key: raised whenever :class:`Tables` or its making changes."""

STARTS = ("file", "expr")
END = "$END"
ACCEPT = -(10**6)

Keep = Literal["value", "splice", "token"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One production: what it makes of the values of its symbols.

    ``kept`` are the symbols that are no punctuation. ``splice`` symbols (``_rule``) hold a list. A rule
    without ``name`` gives the list of its children; a ``transparent`` one passes a single child on.
    """

    origin: str
    length: int
    name: str
    transparent: bool
    kept: Sequence[tuple[int, Keep]]
    passes: bool
    """its value is its only symbol's: nothing but the state changes"""


@dataclass(frozen=True, slots=True)
class Tables:
    """``actions[state][symbol]`` is the next state, :data:`ACCEPT`, or ``-1 - index`` of a rule to reduce."""

    patterns: dict[str, str]
    """terminals given by a regular expression"""
    literals: dict[str, str]
    """terminals given by a text, as ``text: name``"""
    rules: Sequence[Rule]
    actions: Sequence[dict[str, int]]
    starts: dict[str, int]


@lru_cache(maxsize=1)
def tables() -> Tables:
    """The tables of the language, from the cache where it has them."""
    grammar = _grammar_file().read_text(encoding="utf-8")
    key = hashlib.sha256(f"{_FORMAT}\n{grammar}".encode()).hexdigest()[:32]
    directory = _cache_directory()
    if directory is None:
        return build_tables(grammar)
    cached = directory / f"grammar-{key}.json"
    found = _load(cached)
    if found is not None:
        return found
    built = build_tables(grammar)
    _store(cached, built)
    return built


def build_tables(grammar: str) -> Tables:
    """Let lark work out the tables; raises lark's ``GrammarError`` where the grammar is ambiguous."""
    from lark import Lark
    from lark.lexer import PatternStr

    lark = Lark(grammar, parser="lalr", start=list(STARTS), maybe_placeholders=False)
    table: Any = lark.parse_interactive("", start=STARTS[0]).parser_state.parse_conf.parse_table
    index = _numbered(table)
    numbers = {rule: number for number, rule in enumerate(lark.rules)}
    texts = [terminal for terminal in lark.terminals if isinstance(terminal.pattern, PatternStr)]
    return Tables(
        patterns={t.name: t.pattern.to_regexp() for t in lark.terminals if t not in texts},
        literals={t.pattern.value: t.name for t in texts},
        rules=[_rule(rule) for rule in lark.rules],
        actions=[
            _row(row, index, numbers, accepts=state in table.end_states.values())
            for state, row in ((state, table.states[state]) for state in index)
        ],
        starts={start: index[state] for start, state in table.start_states.items()},
    )


def _numbered(table: Any) -> dict[Any, int]:
    """lark's states in the order in which they are reached: its own order differs from run to run."""
    waiting = list(table.start_states.values())
    index = {state: number for number, state in enumerate(waiting)}
    for state in waiting:
        for _, (action, target) in sorted(table.states[state].items()):
            if str(action) == "Shift" and target not in index:
                index[target] = len(index)
                waiting.append(target)
    return index


def _row(
    row: dict[str, Any], index: dict[Any, int], numbers: dict[Any, int], accepts: bool
) -> dict[str, int]:
    """lark's ``(Shift, state)`` and ``(Reduce, rule)`` as numbers."""
    numbered = {
        symbol: index[target] if str(action) == "Shift" else -1 - numbers[target]
        for symbol, (action, target) in sorted(row.items())
        if symbol != END or str(action) != "Shift"
    }
    return numbered | {END: ACCEPT} if accepts else numbered


def _rule(rule: Any) -> Rule:
    kept: list[tuple[int, Keep]] = []
    for position, symbol in enumerate(rule.expansion):
        if not symbol.is_term:
            kept.append((position, "splice" if symbol.name.startswith("_") else "value"))
        elif not symbol.filter_out:
            kept.append((position, "token"))
    name = rule.alias or str(rule.origin.name)
    transparent = bool(rule.options.expand1 and not rule.alias)
    return Rule(
        origin=rule.origin.name,
        length=len(rule.expansion),
        name="" if name.startswith("_") else name,
        transparent=transparent,
        kept=kept,
        passes=transparent and kept == [(0, "value")] and len(rule.expansion) == 1,
    )


def _grammar_file() -> Path:
    """Inside the package where it is installed from a wheel, beside it in the source tree."""
    package = Path(__file__).parent.parent
    inside, beside = package / "grammar", package.parent / "grammar"
    return (inside if inside.exists() else beside) / "trtnet.lark"


def _cache_directory() -> Path | None:
    """The user's cache directory by the platform's own convention; None for a user without a home."""
    configured = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    if configured:
        return Path(configured) / "trtdsl"
    try:
        return Path.home() / ".cache" / "trtdsl"
    except RuntimeError:
        return None


def _load(path: Path) -> Tables | None:
    """The cached tables, or None where there are none or the file is damaged."""
    try:
        found: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
        stored: list[dict[str, Any]] = found.pop("rules")
        for rule in stored:
            rule["kept"] = [tuple(kept) for kept in rule["kept"]]
        rules = [Rule(**rule) for rule in stored]
        return Tables(rules=rules, **found)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _store(path: Path, built: Tables) -> None:
    """Write and rename, so that nobody reads half a file; a directory that refuses is no mistake."""
    import tempfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".json")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(built), file, separators=(",", ":"))
        Path(temporary).replace(path)
    except OSError:
        return
