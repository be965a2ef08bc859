"""What both sides are run on: the arrays a user gives, and made-up ones for the other inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.ir import Graph, Value
from trtdsl.reference import ProfilePoint, point, random_array, solve
from trtdsl.runtime.files import read_array
from trtdsl.types import Dim, DType, Symbol, evaluate, evaluate_shape, symbols

Array: TypeAlias = npt.NDArray[Any]

INTEGERS = (0, 4)
"""Made-up integers are small, for they may be indices."""


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
    low, high = graph.ranges.get(value.name, (INTEGERS[0], INTEGERS[1] - 1))
    return f"integers from {low} to {high}"


def load_inputs(texts: Iterable[str]) -> dict[str, Array]:
    """``"image=x.npy"`` and its like as arrays by name; raises :class:`UsageError`."""
    found: dict[str, Array] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals:
            raise UsageError(Diagnostic(f"`--input {text}`: an input is given as `--input name=file.npy`"))
        found[name] = read_array(Path(path), name)
    return found


def choose_inputs(graph: Graph, given: Mapping[str, Array], at: ProfilePoint, seed: int) -> dict[str, Array]:
    """An array for each input, by name.

    Dynamic dimensions have the sizes of the given arrays, and elsewhere those at one end or the middle of
    their ranges. Raises :class:`UsageError` for an array that does not fit.
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
    sizes = {**point(dynamic, at), **_sizes(named, given)}
    for symbol in sorted(dynamic, key=str):
        if not symbol.minimum <= sizes[symbol.name] <= symbol.maximum:
            text = f"`{symbol}` is {sizes[symbol.name]}, outside of {symbol.minimum} .. {symbol.maximum}"
            raise UsageError(Diagnostic(text))
    random = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, value in named.items():
        static = value.type.with_shape(evaluate_shape(value.type.shape, sizes))
        made[name] = random_array(static, random, INTEGERS, values=graph.ranges.get(name))
    return {**made, **given}


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
        raise UsageError(Diagnostic(text))


def _sizes(named: Mapping[str, Value], given: Mapping[str, Array]) -> dict[str, int]:
    """The dynamic dimensions that the given arrays decide."""
    axes = [
        _Axis(name, index, declared, size)
        for name, value in named.items()
        if name in given
        for index, (declared, size) in enumerate(zip(value.type.shape, given[name].shape, strict=True))
    ]
    try:
        return _solve(axes)
    except (ValueError, KeyError) as error:
        raise UsageError(Diagnostic(_misfit(axes))) from error


@dataclass(frozen=True)
class _Axis:
    """One dimension of a given array."""

    input: str
    index: int
    declared: Dim
    size: int


def _solve(axes: Sequence[_Axis]) -> dict[str, int]:
    return solve([(axis.declared, axis.size) for axis in axes])


def _misfit(axes: Sequence[_Axis]) -> str:
    """Why the sizes cannot be solved for: the first that those of simpler declarations contradict."""
    ordered = sorted(axes, key=lambda axis: (len(symbols(axis.declared)), len(str(axis.declared))))
    fitting: list[_Axis] = []
    undecided: Dim = 0
    for axis in ordered:
        try:
            _solve([*fitting, axis])
        except ValueError:
            return _contradiction(axis, fitting)
        except KeyError:
            undecided = axis.declared
            continue
        fitting.append(axis)
    names = " and ".join(sorted(f"`{symbol.name}`" for symbol in symbols(undecided)))
    return f"the given inputs do not say what {names} are in `{undecided}`"


def _contradiction(axis: _Axis, fitting: Sequence[_Axis]) -> str:
    found = f"input `{axis.input}`: dimension {axis.index} is {axis.size}"
    sizes, read = _solve(fitting), symbols(axis.declared)
    if not read:
        return f"{found}, not {axis.declared}"
    unknown = [symbol for symbol in read if symbol.name not in sizes]
    if unknown:
        (symbol,) = unknown
        values = f"{symbol.name} from {symbol.minimum} to {symbol.maximum}"
        values += f" in steps of {symbol.step}" if symbol.step > 1 else ""
        return f"{found}, but no {values} makes `{axis.declared}` that"
    others = dict.fromkeys(f"`{each.input}`" for each in fitting if symbols(each.declared) & read)
    wanted = f"`{axis.declared}` is {evaluate(axis.declared, sizes)}"
    return f"{found}, but {wanted} by input {' and '.join(others)}"
