"""Which of a model's inputs is which of the reference's.

In: the inputs' names, and the names that the reference gives its own.  Out: a :class:`Matching`: by name
where names agree, the others by their order, and notes on those::

    match_inputs(["b", "x"], ["a", "b"], "net.onnx")   # b is b, x is a; the second is noted
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from trtdsl.diagnostics import Diagnostic, UsageError

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Matching:
    """The reference's name of each input, those that are passed on in order without one, and notes."""

    names: Mapping[str, str]
    in_order: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def bound(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The values as positional and as keyword arguments."""
        return [values[name] for name in self.in_order], {own: values[n] for n, own in self.names.items()}


def match_inputs(inputs: Sequence[str], names: Sequence[str], reference: str) -> Matching:
    """Inputs beside the reference's names; :class:`UsageError` where there are more inputs than names."""
    found = {name: name for name in inputs if name in names}
    left = [name for name in inputs if name not in found]
    free = [name for name in names if name not in found]
    if len(left) > len(free):
        taken = ", ".join(f"`{name}`" for name in names) or "nothing"
        without = ", ".join(f"`{name}`" for name in left[len(free) :])
        raise UsageError(
            Diagnostic(f"{reference} takes {taken}: the model's input {without} has no counterpart there")
        )
    by_place = dict(zip(left, free, strict=False))
    ordered = {name: {**found, **by_place}[name] for name in inputs}
    # What is the only one on both sides could be nothing else.
    notes = _notes(by_place) if len(inputs) > 1 or len(names) > 1 else ()
    return Matching(ordered, notes=notes)


def match_arguments(inputs: Sequence[str], forward: Callable[..., Any], reference: str) -> Matching:
    """Inputs beside the parameters of a module's ``forward``; raises as :func:`match_inputs` does.

    ``*args`` takes what is left over in order, ``**kwargs`` without such what no parameter is left for that
    is needed, or None where it is not given.
    """
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return _unnamed(inputs, reference)
    kinds = {each.kind for each in parameters}
    names = [
        p.name for p in parameters if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    ]
    if Parameter.POSITIONAL_ONLY in kinds or (
        Parameter.VAR_POSITIONAL in kinds and not {*inputs} <= {*names}
    ):
        places = [p.name for p in parameters if p.kind in POSITIONAL]
        _require_order(inputs, places, reference)
        return _unnamed(inputs, reference)
    if Parameter.VAR_KEYWORD in kinds:
        tensors = [
            p.name
            for p in parameters
            if p.name in names and (p.default is None or p.default is Parameter.empty)
        ]
        free = [name for name in tensors if name not in inputs]
        left = [name for name in inputs if name not in names]
        names += left[len(free) :]
    return match_inputs(inputs, names, reference)


def _require_order(inputs: Sequence[str], places: Sequence[str], reference: str) -> None:
    """Refuse an input that is passed on in order, but stands where another parameter than its own does."""
    for index, name in enumerate(inputs):
        if name in places and places.index(name) != index:
            text = f"{reference} takes `{name}` as argument {places.index(name) + 1}, not {index + 1}"
            advice = f"declare the model's inputs in its order: {', '.join(f'`{each}`' for each in places)}"
            raise UsageError(Diagnostic(text, help=(advice,)))


def _unnamed(inputs: Sequence[str], reference: str) -> Matching:
    """All in order, for their names are not known there."""
    note = f"the inputs are given to {reference} in the model's order, for it does not name what it takes"
    return Matching({}, tuple(inputs), (note,) if len(inputs) > 1 else ())


def _notes(by_place: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"input `{name}` is given as the reference's `{own}`, by position" for name, own in by_place.items()
    )
