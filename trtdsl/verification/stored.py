"""Expected outputs in a ``.npz`` file, beside the inputs that they were computed from.

In: a file's arrays and a graph.  Out: the graph's inputs among them, and notes on what does not fit it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph
from trtdsl.verification.comparison import paired
from trtdsl.verification.oracle import Array, ArraysReference


def stored_inputs(graph: Graph, stored: ArraysReference, given: Mapping[str, Array]) -> dict[str, Array]:
    """All inputs, from the file where they are not given; :class:`UsageError` where one is in neither."""
    found = {v.name: stored.arrays[v.name] for v in graph.inputs if v.name in stored.arrays}
    found.update(given)
    missing = [value.name for value in graph.inputs if value.name not in found]
    if missing:
        what = "input" if len(missing) == 1 else "inputs"
        text = (
            f"`{stored.path}` holds no {what} {_listed(missing)}: the expected"
            " outputs were computed from inputs that must be in the file or given by `--input`"
        )
        raise UsageError(Diagnostic(text))
    return found


def stored_notes(graph: Graph, stored: ArraysReference, inputs: Mapping[str, Array]) -> Iterator[str]:
    """What in the file is compared with nothing, and outputs that are floats on one side only."""
    expected = stored.run(inputs).arrays
    pairs = paired(graph, expected)
    unread = [name for name, array in expected if not any(array is used for _, used in pairs)]
    if unread:
        kind = (
            "which are neither inputs nor outputs"
            if unread[1:]
            else "which is neither an input nor an output"
        )
        yield f"`{stored.path}` holds {_listed(unread)}, {kind} of the model"
    for output, array in pairs:
        type = output.value.type
        if (array.dtype.kind == "f") != type.dtype.is_floating:
            found = f"the expected output `{output.name}` is {array.dtype.name} in `{stored.path}`"
            yield f"{found}, but {type} in the model"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
