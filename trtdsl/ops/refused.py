"""What an operator says when it cannot do what it is asked."""

from __future__ import annotations


class Refused(Exception):
    """An operator cannot do what it is asked.

    ``about`` names the parameter or operand at fault, so that the caret stands under it.
    """

    def __init__(self, message: str, about: str | None = None, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.about = about
        self.help = help
