"""Which parameter of a model would let a checkpoint fit that was trained with another number of classes.

In: a file, what was chosen of it, and weights whose shapes are not those of the model.  Out: one mistake for
all of them, with the value by which all would fit::

    error: weight `fc.bias` has shape [10], but this layer needs [1000]
      = help: with `-D classes=10` it fits

A value is proposed only where the model was set up with it and every weight then has its shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.elaborate import Elaborated
from trtdsl.weights.unfit import OtherShapes, Shape

Maker: TypeAlias = Callable[[Mapping[str, Any]], Elaborated]
"""Sets the model up as it was, but with these parameters."""


@contextmanager
def proposing(make: Maker) -> Generator[None]:
    """Say of weights that are bound and have other shapes which parameter fits them, if one does."""
    try:
        yield
    except OtherShapes as error:
        found = _fitting(make, error)
        if found is None:
            raise
        raise DiagnosticError(_with_proposal(error, "-D {}={}".format(*found))) from error


def _with_proposal(error: OtherShapes, define: str) -> Diagnostic:
    first, count = error.diagnostics[0], len(error.unlike)
    them = {1: "it fits", 2: "both fit"}.get(count, f"all {count} weights of other shapes fit")
    return replace(first, help=(*first.help, f"with `{define}` {them}"))


def _fitting(make: Maker, error: OtherShapes) -> tuple[str, int] | None:
    """The first parameter with a value by which every weight has the shape that was found."""
    for name, value in make({}).parameters.items():
        for other in _candidates(value, error.unlike) if type(value) is int else ():
            try:
                graph = make({name: other}).graph
            except DiagnosticError:
                continue  # Not a value that the model takes.
            if {weight.key: weight.type.shape for weight in graph.weights} == error.found:
                return name, other
    return None


def _candidates(value: int, unlike: Mapping[str, tuple[Shape, Shape]]) -> Sequence[int]:
    """The values by which each size that differs may be the one that was found, if a parameter enters it as
    ``k * value + c``."""
    of_each = [{*_values(value, here, there)} for here, there in _sizes(unlike)]
    return sorted(set[int].intersection(*of_each)) if of_each else []


def _sizes(unlike: Mapping[str, tuple[Shape, Shape]]) -> Iterator[tuple[int, int]]:
    """What each size that differs is here and was found to be."""
    for needed, found in unlike.values():
        pairs = itertools.zip_longest(needed, found, fillvalue=0)
        yield from (pair for pair in pairs if pair[0] != pair[1])


def _values(value: int, here: int, there: int) -> Iterator[int]:
    for factor in (1, here // value if value else 0):
        if factor and (there - here) % factor == 0 and value + (there - here) // factor >= 0:
            yield value + (there - here) // factor
