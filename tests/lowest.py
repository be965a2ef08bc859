"""The lowest releases that the package claims, as pip's constraints: ``click==8.2`` for ``click>=8.2``.

Reads the metadata of the installed package, extras included, so that pyproject.toml alone says what is
claimed; ``make test-lowest`` installs these and runs the tests with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import requires

_BOUNDED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)[^;]*>=\s*(?P<version>[0-9.]+)")


def constraints() -> Iterator[str]:
    """One line for each requirement with a lower bound; what importing needs is newer, and not among them,
    also where `dev` has it."""
    for requirement in requires("trtdsl") or ():
        needed, _, where = requirement.partition(";")
        bounded = _BOUNDED.match(needed)
        if bounded and not re.search(r"extra == .(import|dev).", where):
            yield f"{bounded['name']}=={bounded['version']}"


if __name__ == "__main__":
    print(*constraints(), sep="\n")
