"""The command line, called as a user calls it."""

from __future__ import annotations

import sys

from trtdsl import cli


def trtdsl(*arguments: object) -> int:
    """The command's exit code."""
    before, sys.argv = sys.argv, ["trtdsl", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else 0
    finally:
        sys.argv = before
    return 0
