"""Progress bars on a terminal, fed by the library's callbacks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import ProgressColumn

    from trtdsl.trt.build import Progress, ProgressCallback


@contextmanager
def build_progress(quiet: bool = False) -> Generator[ProgressCallback | None, None, None]:
    """What a build, and whatever is done before it, tells its progress to; None without a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import TimeElapsedColumn

    with _bar(TimeElapsedColumn()) as bar:
        tasks: dict[str, Any] = {}

        def update(event: Progress) -> None:
            if event.phase not in tasks:
                tasks[event.phase] = bar.add_task(event.phase, total=event.total)
            bar.update(tasks[event.phase], completed=event.step)

        yield update


@contextmanager
def run_progress() -> Generator[Callable[[int, int], object] | None, None, None]:
    """What runs over data tell their progress to; None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    with _bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("calibrating", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bar(*columns: ProgressColumn) -> Bar:
    """A bar with these columns after it, gone when it ends."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    first = TextColumn("{task.description}"), BarColumn()
    return Progress(*first, *columns, console=Console(stderr=True), transient=True)
