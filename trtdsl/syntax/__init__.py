"""The language's text and tree: `parse` reads, `format_text` writes."""

from trtdsl.syntax.parser import Parsed, parse, parse_partial
from trtdsl.syntax.printer import format_text

__all__ = ["Parsed", "format_text", "parse", "parse_partial"]
