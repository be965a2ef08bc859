"""The grammar file → lark's parser for it.

Working a grammar out takes lark a third of a second. So a wheel ships what came of it beside the grammar,
and where that was made by another release of lark, or there is none, as in a source tree, it is kept in
the user's cache directory. A cache that cannot be read or written only costs the time.
"""

from __future__ import annotations

import io
import os
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import lark
from lark import Lark
from lark.lexer import PatternStr

Start: TypeAlias = Literal["file", "expr", "weights_map"]
"""What a text can be: a file, what stands in a string's braces, the lines of a `weights` section."""

STARTS = get_args(Start)
END = "$END"
"""The kind of the token that lark puts after the last."""

SERIALISED = "trtnet.lark.bin"
"""the file beside the grammar in a wheel"""


@lru_cache(maxsize=1)
def language() -> Lark:
    """The parser of the language."""
    grammar_file = _grammar_file()
    grammar = grammar_file.read_bytes()
    key = _key(grammar)
    shipped = _load(grammar_file.with_name(SERIALISED), key)
    if shipped is not None:
        return shipped
    directory = _cache_directory()
    cached = directory / f"grammar-{zlib.crc32(key)}.bin" if directory else None
    found = _load(cached, key) if cached else None
    if found is not None:
        return found
    parser, serialised = build(grammar)
    if cached:
        _store(cached, serialised)
    return parser


def build(grammar: bytes) -> tuple[Lark, bytes]:
    """The parser and its serialised form; raises lark's ``GrammarError`` where the grammar is ambiguous."""
    parser = Lark(
        grammar.decode(),
        parser="lalr",
        lexer="contextual",
        start=[*STARTS],
        keep_all_tokens=True,
        maybe_placeholders=False,
    )
    payload = io.BytesIO()
    parser.save(payload)
    content = payload.getvalue()
    return parser, _key(grammar) + _checksum(content) + content


@lru_cache(maxsize=1)
def marks() -> dict[str, str]:
    """How the terminals of one form are written, by their kind: ``{"ARROW": "->", "FOR": "for"}``."""
    written: dict[str, str] = {}
    for terminal in language().terminals:
        if isinstance(terminal.pattern, PatternStr):
            written[terminal.name] = terminal.pattern.value
        elif terminal.priority > 0:
            written[terminal.name] = terminal.name.lower()
    return written | {"EQUAL": "=", "MINUS": "-", "TIMES": "*", "DIVIDE": "/", "RANGE": "..", "DOT": "."}


def _key(grammar: bytes) -> bytes:
    """The first line of a serialised parser: only the release of lark that wrote it reads it."""
    return f"lark {lark.__version__} {zlib.crc32(grammar)}\n".encode()


def _checksum(content: bytes) -> bytes:
    return f"{zlib.crc32(content)}\n".encode()


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


def _load(path: Path, key: bytes) -> Lark | None:
    """The parser from a file; None where there is none, or it is damaged or another's."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    checksum, _, content = stored.removeprefix(key).partition(b"\n")
    if not stored.startswith(key) or checksum + b"\n" != _checksum(content):
        return None
    return Lark.load(io.BytesIO(content))


def _store(path: Path, serialised: bytes) -> None:
    """Write and rename, so that nobody reads half a file; an unwritable directory is not an error."""
    import tempfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".bin")
        with os.fdopen(handle, "wb") as file:
            file.write(serialised)
        Path(temporary).replace(path)
    except OSError:
        return
