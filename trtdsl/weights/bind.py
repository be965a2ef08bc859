"""A graph meets a checkpoint: every weight gets its values, or a diagnostic says why not.

In: a graph with unbound weights and a checkpoint.  Out: the graph with ``Weight.data`` set, and
warnings about keys that the model never reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, DiagnosticError, counted
from trtdsl.ir import Graph, Node, Value, Weight, rebuild, unusable, walk
from trtdsl.options import WeightsDType
from trtdsl.types import DType
from trtdsl.weights.absent import Absent, unread
from trtdsl.weights.checkpoint import Checkpoint
from trtdsl.weights.entries import Entries, Entry, Given, Missing, is_found
from trtdsl.weights.file import listing, quote
from trtdsl.weights.state_dict import behind
from trtdsl.weights.unfit import OtherShapes, Unfit


@dataclass(frozen=True)
class Bound:
    """The graph with its weights' values, and warnings.

    ``keys`` are the checkpoint's of which each weight was made, by the weight's own.
    """

    graph: Graph
    warnings: tuple[Diagnostic, ...]
    keys: Mapping[str, Sequence[str]]


def bind(
    graph: Graph,
    weights: Given,
    weights_dtype: WeightsDType = None,
    *,
    prefix: str | None = None,
    owner: str = "the checkpoint",
) -> Bound:
    """Set every weight's values from a checkpoint, or from arrays or tensors by key.

    Nothing is converted silently: a float32 weight for a float16 layer is an error unless
    ``weights_dtype`` asks for it. Constants may all be left out, which a note says. ``prefix`` ("model.")
    stands before every key of these weights; keys without it are left out. ``owner`` is what the warning on
    unread keys calls the weights. Raises :class:`DiagnosticError` with every missing or unfit key.
    """
    given = behind_prefix(prefix, weights) if prefix else weights
    entries = Entries(given, weights_dtype)
    to_come = _to_come(graph, given)
    found = {weight: _entry(entries, weight) for weight in graph.weights if weight not in to_come}
    absent = Absent(graph, given, entries.read)
    if absent.is_everything:
        raise DiagnosticError(absent.everything())
    users = _users(graph)
    errors: list[Diagnostic] = []
    warnings: list[Diagnostic] = []
    bound: dict[Value, Value] = {}
    unfit = Unfit(absent)
    unlike: dict[tuple[np.dtype[Any], DType], list[Weight]] = {}
    for weight, entry in found.items():
        if unfit.takes(weight, entry, users[weight]) or not is_found(entry):
            continue
        dtype = _unlike_dtype(weight, entry, weights_dtype)
        if dtype is not None:
            unlike.setdefault((dtype, weight.type.dtype), []).append(weight)
        elif not unfit and not unlike:
            bound[weight] = weight.replace(data=_data(weight, entry, warnings), stored=None)
    errors += unfit.diagnostics()
    for (dtype, needed), group in unlike.items():
        problem = _dtype_problem(dtype, needed, group, weights_dtype)
        errors.append(Diagnostic.at(problem.message, users[group[0]].origins, problem.help))
    if errors:
        raise _misfit(errors, found, unfit)
    warnings += unread(given, entries.read, owner)
    if to_come:
        warnings.append(_note_to_come(to_come))
    graph = rebuild(graph, graph.nodes, bound)
    if problems := [Diagnostic.at(problem, node.origins) for node, problem in unusable(graph)]:
        raise DiagnosticError(*problems)
    return Bound(graph, tuple(warnings), entries.keys)


def _misfit(
    errors: Sequence[Diagnostic],
    found: Mapping[Weight, Entry | Missing | DiagnosticError],
    unfit: Unfit,
) -> DiagnosticError:
    """The errors; where nothing else is wrong than shapes, with all of these."""
    shapes = {weight.key: entry.shape for weight, entry in found.items() if is_found(entry)}
    if not unfit.unlike or len(shapes) < len(found):
        return DiagnosticError(*errors)
    return OtherShapes(*errors, found=shapes, unlike=unfit.unlike)


def _to_come(graph: Graph, weights: Given) -> Sequence[Weight]:
    """The constants, where nothing is given of them: their file is not there yet."""
    constants = [weight for weight in graph.weights if weight.constant]
    return [] if any(weight.key in weights for weight in constants) else constants


def _note_to_come(constants: Sequence[Weight]) -> Diagnostic:
    first, others = quote(constants[0].key), len(constants) - 1
    more = f" and {others} more have" if others else " has"
    what = "constants" if others else "constant"
    text = f"the {what} {first}{more} no values yet: give the file that has them after the checkpoint"
    return Diagnostic(text, severity="note")


def _entry(entries: Entries, weight: Weight) -> Entry | Missing | DiagnosticError:
    """The weight's entry, or why there is none."""
    try:
        return entries.find(weight)
    except (Missing, DiagnosticError) as error:
        return error


def behind_prefix(prefix: str, weights: Given) -> Given:
    """The weights whose keys begin with a prefix, without it; :class:`DiagnosticError` where none does."""
    taken = behind(prefix, weights)
    if not taken:
        keys = f"; its keys are {listing(list(weights))}" if weights else ""
        raise DiagnosticError(Diagnostic(f"the checkpoint has no key that begins with {quote(prefix)}{keys}"))
    if isinstance(weights, Checkpoint):
        tensors = {key: weights.tensors[old] for key, old in taken.items()}
        return dataclasses.replace(weights, tensors=tensors, prefix=weights.prefix + prefix)
    return {key: weights[old] for key, old in taken.items()}


def _users(graph: Graph) -> dict[Value, Node]:
    """The first node that reads each value, those in bodies included."""
    users: dict[Value, Node] = {}
    for node in walk(graph):
        for value in node.operands:
            users.setdefault(value, node)
    return users


def _unlike_dtype(weight: Weight, entry: Entry, weights_dtype: WeightsDType) -> np.dtype[Any] | None:
    """The weight's dtype in the checkpoint where the layer needs another, and was not promised it."""
    found, needed = entry.dtype, weight.type.dtype
    converted = weights_dtype in ("model", needed) and _is_floating(found) and needed.is_floating
    return None if found == needed.numpy or converted else found


def _dtype_problem(
    found: np.dtype[Any], needed: DType, group: list[Weight], weights_dtype: WeightsDType
) -> Diagnostic:
    """What is said of all weights that have one dtype where another is needed."""
    others = f" and {counted(len(group) - 1, 'other')}" if len(group) > 1 else ""
    kind = f"weight `{group[0].key}`{others} {'are' if others else 'is'} {found.name} in the checkpoint"
    if isinstance(weights_dtype, DType) and _is_floating(found):
        kind = f"{kind} and would become {weights_dtype}"
    layers = "these layers compute" if others else "this layer computes"
    help: tuple[str, ...] = ()
    if _is_floating(found) and needed.is_floating:
        declared = f"; or declare the inputs {found.name}" if _has(found) else ""
        help = (f"`--weights-dtype {needed}` converts the checkpoint{declared}",)
    return Diagnostic(f"{kind}, but {layers} in {needed}", help=help)


def _has(dtype: np.dtype[Any]) -> bool:
    """Whether the language has a dtype."""
    return dtype.name in map(str, DType)


def _is_floating(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name.startswith(("bfloat16", "float8"))


def _data(weight: Weight, entry: Entry, warnings: list[Diagnostic]) -> npt.NDArray[Any]:
    """The values, converted where that was asked for, with a warning about those that do not fit."""
    array = entry.read()
    wanted = weight.type.dtype.numpy
    if array.dtype == wanted:
        return array
    with np.errstate(over="ignore"):
        converted = array.astype(wanted)
    lost = int(np.count_nonzero(np.isfinite(array) & ~np.isfinite(converted)))
    if lost:
        which = f"{counted(lost, 'value')} of weight `{weight.key}`"
        text = f"{which} too large for {weight.type.dtype} became infinite"
        warnings.append(Diagnostic(text, severity="warning"))
    return converted
