"""Which of a reference's outputs is which of the model's.

In: a graph and the arrays that a reference gives, each with a name or none.  Out: the outputs beside what is
expected of them, and notes on what has no counterpart or is of another type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from trtdsl.diagnostics import Diagnostic, UsageError, counted
from trtdsl.ir import Graph, Output, Value
from trtdsl.verification.result import Difference, Suspect
from trtdsl.verification.returned import SHOWN, Array, Named


def paired(graph: Graph, expected: Named) -> list[tuple[Output, Array]]:
    """Each output with the reference's of that name, or else with the next of those that no output names.

    Outputs for which there are too few are left out.
    """
    places = _places(graph, expected)
    return [(output, expected[places[output]][1]) for output in graph.outputs if output in places]


def _places(graph: Graph, expected: Named) -> dict[Output, int]:
    by_name = {name: index for index, (name, _) in enumerate(expected) if name}
    found = {output: by_name[output.name] for output in graph.outputs if output.name in by_name}
    rest = iter([index for index in range(len(expected)) if index not in found.values()])
    others = [output for output in graph.outputs if output not in found]
    return {**found, **dict(zip(others, rest, strict=False))}


def require_all(graph: Graph, expected: Named) -> None:
    """Refuse a reference that gives fewer outputs than the model has."""
    if len(expected) < len(graph.outputs):
        names = ", ".join(name or "unnamed" for name, _ in expected) or "nothing"
        wanted = ", ".join(output.name for output in graph.outputs)
        raise UsageError(Diagnostic(f"the model's outputs are {wanted}, but the reference gives {names}"))


def missing(graph: Graph, expected: Named) -> Difference | None:
    """That the reference gives fewer outputs than the model has, if it does."""
    places = _places(graph, expected)
    lacking = [output for output in graph.outputs if output not in places]
    if not lacking:
        return None
    return Difference(
        f"the reference gives {counted(len(expected), 'output')}, but the model has {len(graph.outputs)}:"
        f" {_listed([f'`{output.name}`' for output in lacking])} cannot be compared",
        tuple(Suspect("", output.name, output.origins[0].source) for output in lacking if output.origins),
    )


def output_notes(graph: Graph, expected: Named, cast: Collection[Value]) -> Iterator[str]:
    """What the reference gives that the model does not, what is paired by position only, and other types."""
    places = _places(graph, expected)
    unread = [(i, name) for i, (name, _) in enumerate(expected) if i not in places.values()]
    if unread:
        names = _listed([f"`{name}`" if name else f"output {index + 1}" for index, name in unread])
        yield f"not compared, for the model does not have it: the reference's {names}"
    if len(expected) > 1:
        for output, place in places.items():
            name = expected[place][0]
            if name and name != output.name:
                yield f"output `{output.name}` is compared with the reference's `{name}`, by position"
    for output, place in places.items():
        found = expected[place][1].dtype.name
        if not is_of_type(output.value, found, output.value in cast):
            yield f"output `{output.name}` is {output.value.type}, but {found} in the reference"


def is_of_type(value: Value, found: str, is_cast: bool) -> bool:
    """Whether the reference's dtype is the model's, as far as the reference was left the choice."""
    dtype = value.type.dtype
    wide = ("float32", "float64")
    if dtype.is_floating and found in wide:
        # The reference is moved to a wide type, so what it gives there may be narrow in the model.
        return str(dtype) in wide or not is_cast
    return str(dtype) == found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
