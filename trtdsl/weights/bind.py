"""A graph meets a checkpoint: every weight gets its values, or a diagnostic says why not.

In: a graph with unbound weights and a checkpoint.  Out: the graph with ``Weight.data`` set, and
warnings about keys that the model never reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import Diagnostic, DiagnosticError, nearest
from trtdsl.ir import Graph, Node, Value, Weight, rebuild
from trtdsl.types import DType
from trtdsl.weights.checkpoint import Checkpoint

WeightsDType: TypeAlias = DType | Literal["model"] | None
"""The floating-point dtype to convert a checkpoint to: none, one, or what each layer needs."""

MOST_ERRORS = 20
UNMENTIONED = "num_batches_tracked"
"""BatchNorm's counter for training, which no inference reads."""


@dataclass(frozen=True)
class Bound:
    """The graph with its weights' values, and warnings."""

    graph: Graph
    warnings: tuple[Diagnostic, ...]


def bind(
    graph: Graph, weights: Checkpoint | Mapping[str, npt.NDArray[Any]], weights_dtype: WeightsDType = None
) -> Bound:
    """Set every weight's values from a checkpoint (or arrays by key).

    Nothing is converted silently: a float32 weight for a float16 layer is an error unless
    ``weights_dtype`` asks for it. Raises :class:`DiagnosticError` with every missing or unfit key.
    """
    users: dict[Value, Node] = {}
    for node in graph.nodes:
        for value in node.operands:
            users.setdefault(value, node)
    errors: list[Diagnostic] = []
    bound: dict[Value, Value] = {}
    guess = _Guess(graph, weights)
    for weight in graph.weights:
        problem = _problem(weight, weights, weights_dtype, guess)
        if problem is None:
            bound[weight] = dataclasses.replace(weight, data=_data(weight, weights))
        else:
            errors.append(_located(problem, users[weight]))
        if len(errors) > MOST_ERRORS:
            errors[-1] = Diagnostic("further weights are missing or do not fit")
            break
    if errors:
        raise DiagnosticError(*errors)
    unread = _unread(graph, weights)
    return Bound(rebuild(graph, graph.nodes, bound), (unread,) if unread else ())


def _problem(
    weight: Weight,
    weights: Checkpoint | Mapping[str, npt.NDArray[Any]],
    weights_dtype: WeightsDType,
    guess: _Guess,
) -> Diagnostic | None:
    """Why the checkpoint cannot give this weight, or None."""
    key = weight.key
    if key not in weights:
        return Diagnostic(f"the checkpoint has no `{key}`{guess.at(key)}")
    shape, wanted = _shape(weights, key), weight.type.shape
    if shape != wanted:
        text = f"weight `{key}` has shape {list(shape)}, but this layer needs {list(wanted)}"
        return Diagnostic(text, help=_transposed_help(shape, wanted))
    return _dtype_problem(weight, _dtype(weights, key), weights_dtype)


def _transposed_help(shape: tuple[int, ...], wanted: tuple[Any, ...]) -> tuple[str, ...]:
    same = len(shape) > 1 and shape != wanted and shape == wanted[::-1]
    return ("the checkpoint's is transposed",) if same else ()


def _dtype_problem(weight: Weight, found: np.dtype[Any], weights_dtype: WeightsDType) -> Diagnostic | None:
    needed = weight.type.dtype
    if found == needed.numpy:
        return None
    text = f"weight `{weight.key}` is {found.name} in the checkpoint, but this layer computes in {needed}"
    if not (_is_floating(found) and needed.is_floating):
        return Diagnostic(text)
    if weights_dtype in ("model", needed):
        return None
    if weights_dtype is None:
        help = f"`--weights-dtype {needed}` converts the checkpoint; or declare the inputs {found.name}"
        return Diagnostic(text, help=(help,))
    return Diagnostic(
        f"weight `{weight.key}` is converted to {weights_dtype}, but this layer computes in {needed}"
    )


def _is_floating(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name.startswith(("bfloat16", "float8"))


def _data(weight: Weight, weights: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The values, converted where that was asked for; a value out of range becomes infinite."""
    array = weights[weight.key]
    with np.errstate(over="ignore"):
        return array.astype(weight.type.dtype.numpy, copy=False)


def _shape(weights: Checkpoint | Mapping[str, npt.NDArray[Any]], key: str) -> tuple[int, ...]:
    return weights.shape(key) if isinstance(weights, Checkpoint) else tuple(weights[key].shape)


def _dtype(weights: Checkpoint | Mapping[str, npt.NDArray[Any]], key: str) -> np.dtype[Any]:
    return weights.dtype(key) if isinstance(weights, Checkpoint) else weights[key].dtype


def _located(problem: Diagnostic, node: Node) -> Diagnostic:
    """The problem at the layer that needs the weight."""
    first, *around = node.origins
    return dataclasses.replace(problem, span=first.span, label=first.text, origins=tuple(around))


class _Guess:
    """Keys of the checkpoint that a missing one may be meant to be."""

    def __init__(self, graph: Graph, weights: Mapping[str, Any]) -> None:
        read = {weight.key for weight in graph.weights}
        self.free = [key for key in weights if key not in read]

    def at(self, key: str) -> str:
        """``, did you mean `x`?`` with the same key at a deeper level, or else the most similar."""
        deeper = next((k for k in self.free if k.endswith(f".{key}")), None)
        found = deeper or nearest(key, self.free, cutoff=0.75)
        return f", did you mean `{found}`?" if found else ""


def _unread(graph: Graph, weights: Mapping[str, Any]) -> Diagnostic | None:
    """A warning that lists the keys which no layer reads."""
    read = {weight.key for weight in graph.weights}
    unread = sorted(k for k in weights if k not in read and k.rpartition(".")[2] != UNMENTIONED)
    if not unread:
        return None
    more = f" and {len(unread) - 10} more" if len(unread) > 10 else ""
    listed = ", ".join(f"`{key}`" for key in unread[:10])
    count = "1 key" if len(unread) == 1 else f"{len(unread)} keys"
    return Diagnostic(f"the model never reads {count} of the checkpoint: {listed}{more}", severity="warning")
