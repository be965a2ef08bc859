"""Example sizes between the multiples that a module's padding reaches.

In: the dimensions as they were asked for, and in the steps that a module was found to take.  Out: sizes that
are multiples of no step.  A module that pads to a multiple pads nothing of an example that is one, so that
torch.export makes of ``(32 - H % 32) % 32`` a condition that all sizes must be multiples of 32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd
from types import MappingProxyType
from typing import TypeAlias

from trtdsl.types import Symbol

Avoided: TypeAlias = Mapping[str, int]
"""By dimension a step that an example's size is not a multiple of."""

NONE: Avoided = MappingProxyType({})


def steps_avoided(wanted: Mapping[str, Symbol], found: Mapping[str, Symbol]) -> Iterator[Avoided]:
    """What to try: the steps of all dimensions, and of one after the other."""
    steps = {name: each.step for name, each in found.items() if each.step > wanted[name].step}
    if steps:
        yield steps
    if len(steps) > 1:
        yield from ({name: step} for name, step in steps.items())


def sizes_between(symbol: Symbol, step: int) -> Iterator[int]:
    """The sizes in the range that have no divisor in common with a step, but for the range's own, those near
    the optimum first.
    """
    own = symbol.step
    best = symbol.optimum // own * own
    for distance in range(0, step * own, own):
        for size in dict.fromkeys((best + distance, best - distance)):
            if symbol.minimum <= size <= symbol.maximum and gcd(size // own, step // own) == 1:
                yield size
