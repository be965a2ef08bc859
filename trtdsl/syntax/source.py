"""Texts on disk.

In: a path and how the user called it.  Out: the text, or what is wrong with the file.
"""

from __future__ import annotations

from pathlib import Path

from trtdsl.diagnostics import Diagnostic, DiagnosticError, UsageError


def read_source(path: Path, name: str) -> str:
    """A `.trtnet` file's text; raises UsageError for a path that leads to no file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "no such file" if missing else (error.strerror or str(error)).lower()
        raise UsageError(Diagnostic(f"cannot read `{name}`: {reason}")) from error
    except ValueError as error:
        raise UsageError(Diagnostic(f"cannot read `{name}`: not a path")) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DiagnosticError(Diagnostic(f"cannot read `{name}`: it is not UTF-8 text")) from error
