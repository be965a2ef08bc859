"""What a pass is: a function on graphs, and everything that is said about it, in one place.

In: a function whose docstring begins with what it does.  Out: a :class:`Pass`, which is called like the
function and tells the pipeline, the command line, the manifest, the docs and the tests about itself::

    @graph_pass(after=["fold_constants"], why="equal constants are then equal weights")
    def merge_equal_weights(graph: Graph) -> Graph:
        '''Keep the first of equal weights.'''
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from trtdsl.ir import Graph

Function: TypeAlias = Callable[[Graph], Graph]


@dataclass(frozen=True)
class Pass:
    """A pure function from graph to graph, with its name and its place among others.

    ``tolerance`` is the relative L2 error in float32 that it may bring in, 0 where results stay as they are
    to the bit. In a pipeline it stands somewhere after every pass in ``after`` and before every one in
    ``before``; ``why`` gives the reason.
    """

    name: str
    function: Function = field(repr=False)
    tolerance: float = 0.0
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    why: str = ""
    source: str = ""
    """where it was loaded from, if it is not one of trtdsl's own"""

    def __call__(self, graph: Graph) -> Graph:
        return self.function(graph)

    @property
    def documentation(self) -> str:
        """The function's docstring."""
        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return self.documentation.partition("\n")[0]


def graph_pass(
    *, tolerance: float = 0.0, after: Sequence[str] = (), before: Sequence[str] = (), why: str = ""
) -> Callable[[Function], Pass]:
    """Declare a function as a pass of its name; the arguments are the fields of :class:`Pass`."""

    def declare(function: Function) -> Pass:
        name = getattr(function, "__name__", "pass")
        return Pass(name, function, tolerance, tuple(after), tuple(before), why)

    return declare


def inserted(passes: Sequence[Pass], new: Pass) -> tuple[Pass, ...]:
    """The passes with a new one as late as its own ``before`` and theirs allow.

    Raises ValueError where no place is left between those it must follow and those it must precede.
    """
    first = max((i + 1 for i, each in enumerate(passes) if _precedes(each, new)), default=0)
    last = min((i for i, each in enumerate(passes) if _precedes(new, each)), default=len(passes))
    if first > last:
        raise ValueError(
            f"`{new.name}` must follow `{passes[first - 1].name}` and precede `{passes[last].name}`"
        )
    return (*passes[:last], new, *passes[last:])


def disorder(passes: Sequence[Pass]) -> tuple[str, ...]:
    """Every pair of passes that stand in an order that one of them rules out."""
    return tuple(
        f"`{one.name}` must not precede `{other.name}`"
        for index, one in enumerate(passes)
        for other in passes[index + 1 :]
        if _precedes(other, one)
    )


def _precedes(one: Pass, other: Pass) -> bool:
    """Whether one must stand before the other."""
    return other.name in one.before or one.name in other.after
