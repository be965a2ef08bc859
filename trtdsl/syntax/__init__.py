"""The language's text and tree: `parse` reads, `format_text` writes."""

from trtdsl.syntax.parser import parse
from trtdsl.syntax.printer import format_text

__all__ = ["format_text", "parse"]
