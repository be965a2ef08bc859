"""What to do to an array that has the dimensions of an input, but in another order or without the batch.

``refitting("x", ("N", 3, "H", "W"), (720, 1280, 3))`` is ``x.transpose(2, 0, 1)[None]``.
"""

from __future__ import annotations

from collections.abc import Sequence


def refitting(name: str, declared: Sequence[object], shape: Sequence[int]) -> str:
    """What makes an array of this name and shape fit, in numpy's words; "" where it fits or nothing would.

    These are channels that stand last and not first, or the other way round, and a missing batch of one.
    Of ``declared`` only whole numbers are looked at: any size fits another dimension.
    """
    if _fits(declared, shape):
        return ""
    for batched, batch in ((shape, ""), ((1, *shape), "[None]")):
        for order in _orders(len(batched)):
            if _fits(declared, [batched[axis] for axis in order]):
                axes = [axis - 1 for axis in order[1:]] if batch else order
                moved = "" if [*order] == sorted(order) else f".transpose({', '.join(map(str, axes))})"
                return f"{name}{moved}{batch}"
    return ""


def refitting_help(name: str, declared: Sequence[object], shape: Sequence[int]) -> tuple[str, ...]:
    """The same as a line of help."""
    found = refitting(name, declared, shape)
    return (f"`{found}` would fit",) if found else ()


def _orders(rank: int) -> list[tuple[int, ...]]:
    """The dimensions as they are, and with the channels moved to the other end behind the batch."""
    rest = range(1, rank)
    if rank < 3:
        return [tuple(range(rank))]
    return [(0, *rest), (0, rest[-1], *rest[:-1]), (0, *rest[1:], rest[0])]


def _fits(declared: Sequence[object], shape: Sequence[int]) -> bool:
    pairs = zip(declared, shape, strict=False)
    return len(declared) == len(shape) and all(
        not isinstance(wanted, int) or wanted == size for wanted, size in pairs
    )
