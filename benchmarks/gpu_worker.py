"""A process that does one model after another, each within its time."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any


class WorkerError(RuntimeError):
    """The process has ended, or was ended, before it had done what it was asked for."""


def ending(code: int) -> str:
    """How a process has ended, in words."""
    return f"ended with {code}" if code >= 0 else f"died of {signal.Signals(-code).name}"


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process that is in a session of its own, with all that it began there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def end(process: subprocess.Popen[Any]) -> None:
    """Kill it and wait until it has ended."""
    kill(process)
    process.wait()


class Worker:
    """A command that reads names from standard input, and prints a line that begins with ``marker`` for each.

    What it prints goes to ``log`` too.
    """

    def __init__(
        self,
        command: Sequence[str],
        marker: str,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.marker = marker
        self._log = log.open("a")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            errors="replace",
            start_new_session=True,
            env=env,
            cwd=cwd,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, lines: IO[str]) -> None:
        try:
            for line in lines:
                print(line, end="", file=self._log, flush=True)
                if line.startswith(self.marker):
                    self._lines.put(line.strip())
        finally:
            self._lines.put(None)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def do(self, name: str, seconds: float) -> str:
        """The line that says that it is done; where none comes in time, it is ended: WorkerError."""
        try:
            print(name, file=self.process.stdin, flush=True)
            line = self._lines.get(timeout=max(seconds, 1))
        except queue.Empty:
            self.close()
            raise WorkerError(f"cut off after {seconds:.0f} s") from None
        except OSError:
            line = None
        if line is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            code = self.process.poll()
            self.close()
            raise WorkerError("said nothing more" if code is None else ending(code))
        return line

    def close(self) -> None:
        """End it with all that it began."""
        end(self.process)
        self._reader.join(5)  # what it began in a session of its own may still hold its output
        with contextlib.suppress(OSError):
            self._log.close()
