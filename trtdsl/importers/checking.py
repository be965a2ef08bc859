"""The importer's last word on its own text.

In: an imported text and the tensors that it is for.  Out: the text's graph with its weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate
from trtdsl.importers.program import Array
from trtdsl.ir import Graph
from trtdsl.weights import bind

NAME = "<imported>"
EXIT_BUG = 70


class WrongText(DiagnosticError):
    """The importer wrote a text that is not right: a bug of its own, with the place in the text."""

    exit_code = EXIT_BUG


def checked(text: str, state: Mapping[str, Array]) -> Graph:
    """The text's graph, its weights bound; raises :class:`WrongText` where the text is wrong."""
    try:
        graph = elaborate(text, NAME).graph
        return bind(graph, state, owner="the module").graph
    except DiagnosticError as error:
        mistakes = [each for each in error.diagnostics if each.severity == "error"]
        first, *others = mistakes
        help = (
            *first.help,
            "this is a bug in trtdsl: please report it with the command and the text above",
            "`--flat` writes the text without blocks and loops, which may be right",
        )
        message = f"the importer wrote a text that is wrong: {first.message}"
        raise WrongText(replace(first, message=message, help=help), *others) from error
