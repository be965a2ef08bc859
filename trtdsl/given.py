"""Arrays that are given for a model's inputs: the sizes that they decide, and whether these fit.

In: the inputs by name, and the shapes of arrays.  Out: the size of every dynamic dimension that they tell, or
which of them contradicts a declaration or another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Value
from trtdsl.reference import solve
from trtdsl.types import Dim, Symbol, evaluate, refitting_help, symbols


def sizes_of(inputs: Mapping[str, Value], shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The dynamic dimensions that arrays of these shapes, and of the inputs' ranks, decide."""
    axes = [
        _Axis(name, index, declared, size)
        for name, value in inputs.items()
        if name in shapes
        for index, (declared, size) in enumerate(zip(value.type.shape, shapes[name], strict=True))
    ]
    try:
        return _solve(axes)
    except (ValueError, KeyError) as error:
        raise UsageError(Diagnostic(_misfit(axes), help=would_fit(inputs, shapes))) from error


def would_fit(inputs: Mapping[str, Value], shapes: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """What makes arrays fit that have their channels at the other end, or no batch."""
    known = [name for name in inputs if name in shapes]
    return tuple(
        line for name in known for line in refitting_help(name, inputs[name].type.shape, shapes[name])
    )


def require_in_range(dynamic: Iterable[Symbol], sizes: Mapping[str, int]) -> None:
    """Raises UsageError for a size that is known and not in its dimension's range."""
    for symbol in sorted(dynamic, key=str):
        size = sizes.get(symbol.name, symbol.minimum)
        if not symbol.minimum <= size <= symbol.maximum:
            text = f"`{symbol}` is {size}, outside of {symbol.minimum} .. {symbol.maximum}"
            raise UsageError(Diagnostic(text))


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
    place = f"input `{axis.input}`: dimension {axis.index}"
    found = f"{place} is {axis.size}"
    sizes, read = _solve(fitting), symbols(axis.declared)
    if not read:
        return f"{place} must be {axis.declared}, not {axis.size}"
    unknown = [symbol for symbol in read if symbol.name not in sizes]
    if unknown:
        (symbol,) = unknown
        values = f"{symbol.name} from {symbol.minimum} to {symbol.maximum}"
        values += f" in steps of {symbol.step}" if symbol.step > 1 else ""
        return f"{found}, but no {values} makes `{axis.declared}` that"
    others = dict.fromkeys(f"`{each.input}`" for each in fitting if symbols(each.declared) & read)
    wanted = f"`{axis.declared}` is {evaluate(axis.declared, sizes)}"
    return f"{found}, but {wanted} by input {' and '.join(others)}"
