"""What TensorRT says about its own calls.

TensorRT tells *that* a call failed by returning None, by raising, or not at all, and *why* only to its
logger.  In: a runtime module.  Out: a :class:`Log` whose ``logger`` is given to TensorRT once a process,
and whose lines of the last call are taken with :meth:`Log.take`::

    log.clear()
    if network.add_convolution_nd(...) is None:
        reasons = log.take()
"""

from __future__ import annotations

from typing import Any

# Said after every error on a machine without a driver, whatever the error was.
_SPURIOUS = ("cudaError 35", "Thread context has not been set")


class Log:
    """Collects the warnings and errors of one runtime; ``logger`` is what TensorRT is handed."""

    def __init__(self, trt: Any) -> None:
        self._errors: list[str] = []
        self._warnings: list[str] = []
        self.logger = _make_logger(trt, self._errors, self._warnings)

    def clear(self) -> None:
        """Forget what was said so far."""
        self._errors.clear()
        self._warnings.clear()

    def take(self) -> tuple[str, ...]:
        """The errors since the last look, or where there are none the warnings; each once."""
        said = self._errors or self._warnings
        lines = tuple(dict.fromkeys(line.strip() for line in said))
        self.clear()
        return lines


def _make_logger(trt: Any, errors: list[str], warnings: list[str]) -> Any:
    """An ``ILogger``: its class cannot be written down before the module is known."""
    warning = trt.ILogger.Severity.WARNING

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            # Called from inside TensorRT, from any of its threads: nothing here may raise.
            if severity > warning or any(text in msg for text in _SPURIOUS):
                return
            (warnings if severity == warning else errors).append(msg)

    return Logger()
