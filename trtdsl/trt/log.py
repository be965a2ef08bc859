"""What TensorRT says about its own calls.

TensorRT tells *that* a call failed by returning None, by raising, or not at all, and *why* only to its
logger.  In: a runtime module.  Out: a :class:`Log` whose ``logger`` is given to TensorRT once a process,
and whose lines of the last call are taken with :meth:`Log.take`::

    log.clear()
    if network.add_convolution_nd(...) is None:
        reasons = log.take()

One logger serves the whole process, but threads do not read each other's lines: TensorRT speaks in the thread
that called it, or in threads of its own, whose lines go to whoever asks next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

# Said after every error on a machine without a driver, whatever the error was.
_SPURIOUS = ("cudaError 35", "Thread context has not been set")


_LISTING = "Layers:"
"""How the list of an engine's kernels begins, which is said in the lowest voice."""


class _Line(NamedTuple):
    text: str
    is_error: bool
    owner: object | None


class Log:
    """Collects the warnings and errors of one runtime; ``logger`` is what TensorRT is handed."""

    def __init__(self, trt: Any) -> None:
        self._lines: list[_Line] = []
        self._listings: list[_Line] = []
        # Not by the thread's identifier, which is another's as soon as it has ended.
        self._thread = threading.local()
        # Of the same thread's too: what the garbage collector frees meanwhile may have something to say.
        self._lock = threading.RLock()
        self.logger = _make_logger(trt, self._note, self._keep)

    def clear(self) -> None:
        """Forget what was said so far in this thread."""
        self._take_own()
        self.take_listing()

    def take(self) -> tuple[str, ...]:
        """The errors in this thread since the last look, or where there are none the warnings; each once."""
        lines = self._take_own()
        said = [line for line in lines if line.is_error] or lines
        return tuple(dict.fromkeys(line.text.strip() for line in said))

    def take_listing(self) -> str:
        """The last list of kernels that a build in this thread gave, as it does if told to be detailed."""
        me = self.owner
        with self._lock:
            own = [line.text for line in self._listings if line.owner in (me, None)]
            self._listings = [line for line in self._listings if line.owner not in (me, None)]
        return own[-1] if own else ""

    @property
    def owner(self) -> object:
        """Who reads what is said in this thread: by default the thread itself."""
        if not hasattr(self._thread, "owner"):
            self._thread.owner = object()
        return self._thread.owner

    def speak_for(self, owner: object) -> None:
        """From now on, what is said in this thread is read by the ``owner`` of another."""
        self._thread.owner = owner

    def _take_own(self) -> list[_Line]:
        me = self.owner
        with self._lock:
            own = [line for line in self._lines if line.owner in (me, None)]
            self._lines = [line for line in self._lines if line.owner not in (me, None)]
        return own

    def _note(self, text: str, is_error: bool) -> None:
        with self._lock:
            self._lines.append(_Line(text, is_error, getattr(self._thread, "owner", None)))

    def _keep(self, text: str) -> None:
        with self._lock:
            self._listings.append(_Line(text, False, getattr(self._thread, "owner", None)))


def _make_logger(trt: Any, note: Callable[[str, bool], None], keep: Callable[[str], None]) -> Any:
    """An ``ILogger``: its class cannot be written down before the module is known."""
    warning = trt.ILogger.Severity.WARNING

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            # Called from inside TensorRT, from any of its threads: nothing here may raise.
            if severity > warning:
                if msg.startswith(_LISTING):
                    keep(msg)
            elif not any(text in msg for text in _SPURIOUS):
                note(msg, severity != warning)

    return Logger()
