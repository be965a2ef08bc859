"""``--arg``: what a Python callable is given, as Python's literals.

In: ``("depth=3", "acts=['relu']", "rope={'theta': 1e4}", "mode=mean")``.  Out: keyword arguments. A bare word
is a string, as in a shell, and the words that a text has for constants, ``true`` and its like, are known too.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from typing import Any

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.flags import by_name

CONSTANTS = {"true": True, "false": False, "none": None, "inf": math.inf, "nan": math.nan}

_WORD = re.compile(r"[A-Za-z_][\w.-]*")


def call_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """The values by name; raises :class:`UsageError`."""
    return by_name("--arg", map(_argument, texts))


def _argument(text: str) -> tuple[str, Any]:
    name, equals, written = (part.strip() for part in text.partition("="))
    if not equals or not written or not name.isidentifier():
        raise UsageError(Diagnostic(f"`--arg {text}`: an argument is given as `--arg name=value`"))
    if _WORD.fullmatch(written) and written not in {*CONSTANTS, "True", "False", "None"}:
        return name, written
    try:
        return name, ast.literal_eval(_WithConstants().visit(ast.parse(written, mode="eval")))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise UsageError(_no_literal(text, written)) from error


class _WithConstants(ast.NodeTransformer):
    """Puts the values of a text's constants in the place of their names."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(CONSTANTS[node.id]) if node.id in CONSTANTS else node


def _no_literal(text: str, written: str) -> Diagnostic:
    message = f"`--arg {text}`: `{written}` is not a number, string, None, or list, tuple or dict of these"
    advice = "a string has quotes, but for a single word: `--arg 'acts=[\"relu\"]'`"
    return Diagnostic(message, help=(advice,))
