"""What both sides are run on: the arrays a user gives, and made-up ones for the other inputs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.flags import by_name
from trtdsl.given import require_in_range, sizes_of, would_fit
from trtdsl.ir import Graph, Value
from trtdsl.profiles import Sizes
from trtdsl.reference import ProfilePoint, point, random_array
from trtdsl.runtime.files import read_array
from trtdsl.types import DType, Symbol, ValueRange, evaluate_shape, symbols

Array: TypeAlias = npt.NDArray[Any]

At: TypeAlias = "ProfilePoint | str | Mapping[str, int]"
"""One point of all ranges, or sizes by dimension: ``"N=3, S=17"`` or ``{"N": 3, "S": 17}``."""

_POINTS: tuple[ProfilePoint, ...] = ("min", "opt", "max")
_SIZE = re.compile(r"\s*(\w+)\s*=\s*(\d{1,18})\s*", re.ASCII)

_SMALL = ValueRange(0, 3)
"""Made-up integers are small, for they may be indices."""

_PIXELS = ValueRange(0, 255)
"""Those of uint8 are not: it is what images are made of."""


def input_advice(graph: Graph, made_up: Collection[str]) -> tuple[str, ...]:
    """What may be wrong about integers and bools that were made up, and how to give others."""
    return tuple(
        f"input `{value.name}` is {value.type} and made up, random {_range(graph, value)}: if it is a"
        f" mask, a length or an index, that may be what differs; `--input {value.name}=FILE.npy` gives it"
        for value in graph.inputs
        if value.name in made_up and not value.type.dtype.is_floating
    )


def _range(graph: Graph, value: Value) -> str:
    if value.type.dtype.is_bool:
        return "bools"
    low, high = made_up_range(graph, value) or _SMALL
    return f"integers from {low} to {high}"


def made_up_range(graph: Graph, value: Value) -> ValueRange | None:
    """What the random values of an input lie in: what the text states, or what its dtype lets one expect."""
    dtype = value.type.dtype
    other = _PIXELS if dtype is DType.UINT8 else _SMALL if dtype.is_integer else None
    return graph.ranges.get(value.name, other)


def load_inputs(texts: Iterable[str]) -> dict[str, Array]:
    """``"image=x.npy"`` and its like as arrays by name; raises :class:`UsageError`."""

    def pair(text: str) -> tuple[str, str]:
        name, equals, path = text.partition("=")
        if not equals:
            raise UsageError(Diagnostic(f"`--input {text}`: an input is given as `--input name=file.npy`"))
        return name, path

    files = by_name("--input", map(pair, texts))
    return {name: read_array(Path(path), name) for name, path in files.items()}


def choose_inputs(
    graph: Graph,
    given: Mapping[str, Array],
    at: At,
    seed: int,
    profiles: Sequence[Mapping[str, Sizes]] = (),
) -> dict[str, Array]:
    """An array for each input, by name.

    Dynamic dimensions have the sizes of the given arrays or ``at`` which they are set, and elsewhere those at
    one end or the middle of their ranges, or where none of an engine's ``profiles`` takes these, of the first
    that takes those given. Raises :class:`UsageError` for an array or a size that does not fit.
    """
    given = {name: _native(array) for name, array in given.items()}
    named = {value.name: value for value in graph.inputs}
    for name, array in given.items():
        if name not in named:
            raise UsageError(Diagnostic(f"the model has no input `{name}`{did_you_mean(name, named)}"))
        _require_fit(named[name], array)
        problem = graph.ranges[name].problem(name, array) if name in graph.ranges else None
        if problem is not None:
            raise UsageError(Diagnostic(problem))
    dynamic = frozenset[Symbol]().union(*(symbols(d) for v in graph.inputs for d in v.type.shape))
    shapes = {name: array.shape for name, array in given.items()}
    where, decided = _decided(at, dynamic, sizes_of(named, shapes))
    sizes = _point(point(dynamic, where), decided, profiles, where)
    require_in_range(dynamic, sizes)
    random = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, value in named.items():
        static = value.type.with_shape(evaluate_shape(value.type.shape, sizes))
        made[name] = random_array(static, random, values=made_up_range(graph, value))
    return {**made, **given}


def _decided(
    at: At, dynamic: frozenset[Symbol], given: Mapping[str, int]
) -> tuple[ProfilePoint, dict[str, int]]:
    """The point of sizes that are free, and those that are not, for ``at`` or the given arrays set them."""
    for where in _POINTS:
        if at == where:
            return where, dict(given)
    chosen = _sizes(at)
    names = {symbol.name for symbol in dynamic}
    for name, size in chosen.items():
        if name not in names:
            text = (
                f"`--at {_shown(at)}`: no input has a dynamic dimension `{name}`{did_you_mean(name, names)}"
            )
            raise UsageError(Diagnostic(text))
        if given.get(name, size) != size:
            text = f"`--at {_shown(at)}`: `{name}` is {given[name]} in the given inputs"
            raise UsageError(Diagnostic(text))
    return "opt", {**given, **chosen}


def _sizes(at: str | Mapping[str, int]) -> dict[str, int]:
    """The sizes that are written, by dimension."""
    if not isinstance(at, str):
        return {name: index(size) for name, size in at.items()}
    read = [_SIZE.fullmatch(part) for part in at.split(",")]
    found = {each[1]: int(each[2]) for each in read if each}
    if len(found) < len(read):
        text = f"`--at {at}`: choose one of {', '.join(_POINTS)}, or sizes by dimension"
        raise UsageError(Diagnostic(text, help=("write `--at N=3`, or `--at N=3,S=17`",)))
    return found


def _shown(at: At) -> str:
    return at if isinstance(at, str) else ",".join(f"{name}={size}" for name, size in at.items())


def _point(
    sizes: Mapping[str, int],
    decided: Mapping[str, int],
    profiles: Sequence[Mapping[str, Sizes]],
    at: ProfilePoint,
) -> dict[str, int]:
    """These sizes, but for those that are decided, or where no profile takes them those of one that does."""
    place = _POINTS.index(at)
    points = [{name: each[place] for name, each in ranges.items()} for ranges in profiles]
    candidates = [{**sizes, **each, **decided} for each in ({}, *points)]
    taken = (each for each in candidates if any(_takes(ranges, each) for ranges in profiles))
    return next(taken, candidates[0])


def _takes(ranges: Mapping[str, Sizes], sizes: Mapping[str, int]) -> bool:
    return all(low <= sizes.get(name, low) <= high for name, (low, _, high) in ranges.items())


def _native(array: Array) -> Array:
    """The array in this machine's byte order, which a file need not have."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _require_fit(value: Value, array: Array) -> None:
    wanted = value.type.dtype
    if array.dtype != wanted.numpy:
        found = next((str(d) for d in DType if d.numpy == array.dtype), str(array.dtype))
        raise UsageError(Diagnostic(f"input `{value.name}` is {value.type}, but the given array is {found}"))
    if array.ndim != value.type.rank:
        text = f"input `{value.name}` is {value.type}, but the given array has shape {list(array.shape)}"
        help = would_fit({value.name: value}, {value.name: array.shape})
        raise UsageError(Diagnostic(text, help=help))
