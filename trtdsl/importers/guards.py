"""Where a program decides something about a size.

In: torch.export running a module.  Out: the user's line that led to each decision, by what torch logs of
it: ``set_replacement s77 = 8`` is logged while ``y.view(8, 4)`` runs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from trtdsl.importers.places import running_place

_LOGGER = "torch.fx.experimental.symbolic_shapes"
_CREATED = re.compile(
    r"create_symbol (?P<symbol>\w+) = .*?L\['(?P<argument>\w+)'\]\.size\(\)\[(?P<axis>\d+)\]"
)
_DECIDED = ("eval ", "set_replacement ", "runtime_assert ")


@dataclass
class Decisions:
    """What torch decided of sizes, in order, each with the line that made it."""

    axes: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """the argument and the dimension that each of torch's symbols is the size of"""
    made: list[tuple[str, tuple[str, int]]] = field(default_factory=list[tuple[str, tuple[str, int]]])

    def place(self, argument: str, axis: int, number: int) -> tuple[str, int] | None:
        """The line that decided the size of an argument's dimension by this number; else by any."""
        names = [symbol for symbol, place in self.axes.items() if place == (argument, axis)]
        about = [
            (set(re.findall(r"\w+", text)), place)
            for text, place in self.made
            if any(re.search(rf"\b{name}\b", text) for name in names)
        ]
        exact = [place for words, place in about if str(number) in words]
        return next(iter([*exact, *(place for _, place in about)]), None)


class _Watcher(logging.Handler):
    def __init__(self, decisions: Decisions) -> None:
        super().__init__(logging.INFO)
        self._decisions = decisions

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if created := _CREATED.search(message):
            self._decisions.axes[created["symbol"]] = (created["argument"], int(created["axis"]))
        elif message.startswith(_DECIDED) and (place := running_place()):
            # Behind the comma torch says how to log more.
            self._decisions.made.append((message.partition("[guard")[0], place))


@contextmanager
def watched() -> Generator[Decisions]:
    """What torch decides in the meantime; its log goes nowhere else."""
    logger = logging.getLogger(_LOGGER)
    before = logger.handlers, logger.level, logger.propagate, logger.disabled
    decisions = Decisions()
    logger.handlers, logger.propagate, logger.disabled = [_Watcher(decisions)], False, False
    logger.setLevel(logging.INFO)
    try:
        yield decisions
    finally:
        logger.handlers, _, logger.propagate, logger.disabled = before
        logger.setLevel(before[1])
