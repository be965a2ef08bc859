"""The language's text and tree: `parse` reads, `format_text` writes."""

from trtdsl.syntax.parser import Parsed, parse, parse_partial

__all__ = ["Parsed", "format_text", "parse", "parse_partial"]


def format_text(text: str, name: str = "<text>") -> str:
    """The text in the one layout; raises :class:`DiagnosticError` where it does not parse."""
    # Checking a text does not need the formatter.
    from trtdsl.syntax.printer import laid_out

    return laid_out(text, name)
