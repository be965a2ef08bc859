"""The language's text and tree: `parse` reads, `format_text` writes."""

from trtdsl.syntax.parser import parse

__all__ = ["parse"]
