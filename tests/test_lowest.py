"""Every requirement of the package says its lowest release, which `make test-lowest` then installs."""

from __future__ import annotations

import re
from importlib.metadata import requires

from tests.lowest import TESTED, constraints


def test_every_requirement_is_bounded_below() -> None:
    """Of the package and of all extras but those with developers' tools, of which one release is as good."""
    tools = re.compile(r"extra == ['\"](dev|zoo)['\"]")
    needed = [text for text in requires("trtdsl") or () if not tools.search(text)]
    bounded = {line.partition("==")[0] for line in constraints()}
    assert len(needed) > 15
    assert [text for text in needed if re.split(r"[^\w.-]", text)[0] not in {*bounded, "trtdsl"}] == []
    assert {"torch", "pytest", "scikit-learn"} <= bounded


def test_what_is_tested_has_one_lowest_release() -> None:
    """Importing needs a newer PyTorch than the package, and is not among it."""
    lowest = [line.split("==") for line in {*constraints(TESTED)}]
    names = [name for name, _ in lowest]
    assert len(names) == len({*names}) and dict(lowest)["torch"] == "2.5"
