"""The lowest releases that the package claims, as pip's constraints: ``click==8.2`` for ``click>=8.2``.

Reads the metadata of the installed package, with the extras that are tested, so that pyproject.toml alone
says what is claimed; ``make test-lowest`` installs these and runs the tests with them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from importlib.metadata import requires

_BOUNDED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)[^;]*>=\s*(?P<version>[0-9.]+)")
_EXTRA = re.compile(r"extra == .([a-z]+)")
TESTED = ("torch", "demo", "test")
"""The extras that are installed; others need newer releases of the same packages."""


def constraints(extras: Collection[str] | None = None) -> Iterator[str]:
    """One line for each requirement with a lower bound: the package's and those of extras, by default all."""
    for requirement in requires("trtdsl") or ():
        needed, _, where = requirement.partition(";")
        bounded, extra = _BOUNDED.match(needed), _EXTRA.search(where)
        if bounded and (extra is None or extras is None or extra[1] in extras):
            yield f"{bounded['name']}=={bounded['version']}"


if __name__ == "__main__":
    print(*constraints(TESTED), sep="\n")
