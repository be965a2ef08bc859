"""Places in the Python that is imported.

In: a frame of a running program, or one that an exported program remembers.  Out: its line as a
:class:`~trtdsl.diagnostics.Span`, so that messages show it as they show a line of a text.
"""

from __future__ import annotations

import importlib.util
import linecache
import logging
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType

from trtdsl.diagnostics import Source, Span

_OWN = str(Path(__file__).parent.parent)
_EXPORTING = str(Path(__file__).with_name("exporting.py"))
"""The file that calls torch.export."""
_LOGGING = str(Path(logging.__file__).parent)


def span_of(file: str, line: int) -> Span | None:
    """The code on a line of a file; None where the file cannot be read."""
    lines = linecache.getlines(file)
    if not 0 < line <= len(lines):
        return None
    code = lines[line - 1]
    start = sum(map(len, lines[: line - 1])) + len(code) - len(code.lstrip())
    return Span(Source(_shown(file), "".join(lines)), start, start + len(code.strip()))


def running_place() -> tuple[str, int] | None:
    """The innermost line of the user's that is running in what torch exports.

    What this package does in PyTorch's place may run in between.
    """
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code.co_filename != _EXPORTING:
        file = frame.f_code.co_filename
        if is_users(file) and not file.startswith(_LOGGING):
            return file, frame.f_lineno
        frame = frame.f_back
    return None


def failed_place(error: BaseException) -> tuple[str, int] | None:
    """The innermost line of the user's that an error passed."""
    users = [place for place in _passed(error.__traceback__) if is_users(place[0])]
    return users[-1] if users else None


@cache
def is_inside_torch(file: str) -> bool:
    """Whether a file is PyTorch's own."""
    spec = importlib.util.find_spec("torch")
    return spec is not None and spec.origin is not None and file.startswith(str(Path(spec.origin).parent))


def is_users(file: str) -> bool:
    """Whether a file is neither PyTorch's nor of this package."""
    return not file.startswith((_OWN, "<")) and not is_inside_torch(file)


def _passed(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next


def _shown(file: str) -> str:
    """The path as the user would write it: from the current folder where the file is inside."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
