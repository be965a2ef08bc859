"""Lines of a `weights` section, or of a file with such lines, and checkpoints to bind by them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trtdsl.ir import Graph

ENTRIES = ("k0", "k1", "k2.weight", "k2.bias", "a.b.kernel", "spare")
"""Keys that a line's right side may name beside the model's own."""


def lines(rng: random.Random, keys: Sequence[str]) -> str:
    """Some lines about weights, most of them with these keys, one under the other."""
    return "\n".join(f"{_left(rng, keys)} = {_right(rng, keys)}" for _ in range(rng.randint(1, 4)))


def keys_of(rng: random.Random, labels: Sequence[str]) -> list[str]:
    """What the weights of modules with these labels may be called."""
    names = ("weight", "weight", "bias", "running_mean", "weight_ih_l0")
    return [rng.choice((f"{label}.{rng.choice(names)}", label)) for label in labels]


def _key(rng: random.Random, keys: Sequence[str]) -> str:
    return rng.choice(keys) if keys and rng.random() < 0.95 else rng.choice(ENTRIES)


def _left(rng: random.Random, keys: Sequence[str]) -> str:
    key = _key(rng, keys)
    at = rng.randrange(len(key) + 1)
    chance = rng.random()
    if chance < 0.7:
        return f'"{key}"'
    if chance < 0.95:
        return f'"{rng.choice((f"{key[:at]}*", f"*{key[at:]}", "*", "*.weight", "*.*"))}"'
    return f'"{{{rng.choice(("width", "1 - 1", "x", "N"))}}}.weight"'


def _entry(rng: random.Random, keys: Sequence[str]) -> str:
    chance = rng.random()
    if chance < 0.4:
        return f'"{_key(rng, keys)}"'
    return f'"{rng.choice(ENTRIES)}"' if chance < 0.9 else rng.choice(('"*"', '"model.*"'))


def _right(rng: random.Random, keys: Sequence[str], depth: int = 2) -> str:
    entry = _entry(rng, keys)
    if depth == 0 or rng.random() < 0.35:
        return entry
    inner, other = (_right(rng, keys, depth - 1) for _ in range(2))
    unlikely = rng.random() < 0.2
    number = rng.choice(("0", "1", "2", "-1", "width", "0.5"))
    return rng.choice((
        f"cat([{inner}, {other}], dim = {number})",
        f"transpose({inner}, 0, {number})",
        f"({inner}){rng.choice(('[0]', '[:2]', '[:, none]', '[..., 1:]', '[x]'))}",
        f"({inner}) {rng.choice('+-*/@')} {rng.choice((number, other))}",
        f"({inner}) -> {rng.choice(('flatten', 'reshape(-1)', 'to(float16)', 'squeeze', 'permute(1, 0)'))}",
        f"split({inner}, 1)[{number}]",
        f"({inner} if width > {number} else {other})",
        f"zeros({entry}.shape)",
        f"{rng.choice(_OTHERS)}({inner}, {number})" if unlikely else inner,
    ))  # fmt: skip


_OTHERS = ("relu", "sum", "stack", "Linear", "unknown")


def checkpoint(graph: Graph, rng: random.Random) -> dict[str, npt.NDArray[np.float32]]:
    """Arrays for the graph's keys and the entries, most of the shape that is needed."""
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    for weight in graph.weights:
        sizes = [size for size in weight.type.shape if isinstance(size, int)]
        if len(sizes) == weight.type.rank and math.prod(sizes) < 10_000 and rng.random() < 0.97:
            arrays[weight.key] = np.ones(sizes if rng.random() < 0.95 else (3, 2), np.float32)
    for shape in ("8", "1", "32", "8, 8", "4, 8", "32, 8"):
        arrays[f"s{shape}"] = np.ones(tuple(map(int, shape.split(", "))), np.float32)
    for key in ENTRIES:
        shape = tuple(rng.choice((1, 2, 3, 4, 8)) for _ in range(rng.randint(0, 3)))
        arrays[key] = np.ones(shape, np.float32)
    return arrays
