"""Every requirement of the package says its lowest release, which `make test-lowest` then installs."""

from __future__ import annotations

from importlib.metadata import requires

from tests.lowest import constraints


def test_every_requirement_is_bounded_below() -> None:
    needed = [text for text in requires("trtdsl") or () if "extra ==" not in text]
    bounded = {line.partition("==")[0] for line in constraints()}
    assert len(needed) > 5
    assert [text for text in needed if not any(text.startswith(name) for name in bounded)] == []
    assert {"torch", "pytest"} <= bounded
