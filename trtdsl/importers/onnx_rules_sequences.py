"""ONNX's recurrent layers, attention, and operators that sample an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtdsl.importers.onnx_node import Known, Node, Results, rule
from trtdsl.importers.program import Ref
from trtdsl.ops.refused import Refused

# --- Recurrent layers -------------------------------------------------------------------------------------

_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""PyTorch's gates in ONNX's order."""
_ACTIVATIONS = {
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "RNN": ["Tanh"],
}


@rule("LSTM", "GRU", "RNN")
def _recurrent(node: Node) -> Results:
    name = _checked(node)
    direction = node.attribute("direction", "forward")
    both, batch_first = direction == "bidirectional", bool(node.attribute("layout", 0))
    source = node.tensor(0)
    if batch_first:
        source = node.one("permute", self=source, dims=(1, 0, 2))
    if direction == "reverse":
        source = node.one("flip", self=source, dims=(0,))
    states = [node.tensor(index) for index in (5, 6) if node.has(index)]
    if batch_first:
        states = [node.one("permute", self=each, dims=(1, 0, 2)) for each in states]
    if node.op == "LSTM" and len(states) == 1:
        raise Refused("only one of its two initial states is given")
    found = node.emit(
        name,
        input=source,
        hx=tuple(states),
        params=_parameters(node, 2 if both else 1),
        has_biases=node.has(3),
        num_layers=1,
        bidirectional=both,
        batch_first=False,
    )
    return _laid_out(node, found, 2 if both else 1, direction == "reverse", batch_first)


def _checked(node: Node) -> str:
    """ATen's name for the layer; refused where PyTorch has no such one."""
    directions = 2 if node.attribute("direction") == "bidirectional" else 1
    plain = _ACTIVATIONS[node.op]
    activations: list[str] = [
        each.capitalize() for each in node.attribute("activations") or plain * directions
    ]
    is_relu = node.op == "RNN" and set(activations) == {"Relu"}
    if activations != plain * directions and not is_relu:
        raise Refused(f"PyTorch has no {node.op} with the activations {', '.join(activations)}")
    if node.has(4):
        raise Refused("each sequence has a length of its own")
    if node.has(7) or node.attribute("clip") or node.attribute("input_forget", 0):
        raise Refused("PyTorch has no peepholes, clipping or coupled gates")
    if node.op == "GRU" and not node.attribute("linear_before_reset", 0):
        raise Refused("PyTorch's GRU applies the reset gate after the product")
    if node.op == "RNN":
        return "rnn_relu" if is_relu else "rnn_tanh"
    return node.op.lower()


def _parameters(node: Node, directions: int) -> tuple[Ref, ...]:
    """The weights as PyTorch has them, in its order."""
    arrays: list[Any] = []
    for index in (1, 2, 3):
        value = node[index] if node.has(index) else None
        if isinstance(value, Ref):
            raise Refused("its weights must be known")
        arrays.append(value.array if isinstance(value, Known) else None)
    order, hidden = _ORDER[node.op], arrays[1].shape[2]

    def gates(array: Any) -> Any:
        parts = array.reshape(len(order), hidden, *array.shape[1:])
        return np.ascontiguousarray(parts[list(order)].reshape(array.shape))

    found: list[Ref] = []
    source = node[1]
    name = source.initialiser if isinstance(source, Known) else ""
    for direction in range(directions):
        suffix = "_l0_reverse" if direction else "_l0"
        weights = {"weight_ih": gates(arrays[0][direction]), "weight_hh": gates(arrays[1][direction])}
        if arrays[2] is not None:
            split = len(order) * hidden
            weights["bias_ih"] = gates(arrays[2][direction][:split])
            weights["bias_hh"] = gates(arrays[2][direction][split:])
        for slot, array in weights.items():
            key = f"{node.scope}.{slot}{suffix}"
            found.append(node.store.weight(array, key, (name, f"{slot}{suffix}")))
    return tuple(found)


def _laid_out(
    node: Node, found: Sequence[Ref], directions: int, is_reverse: bool, batch_first: bool
) -> tuple[Ref | None, ...]:
    """The results as ONNX has them: directions are an axis of their own."""
    results: list[Ref | None] = []
    for number, value in enumerate(found):
        if number >= len(node.outputs) or not node.outputs[number]:
            results.append(None)
            continue
        if number == 0:
            if is_reverse:
                value = node.one("flip", self=value, dims=(0,))
            length, batch, width = node.type(value).shape
            value = node.reshape(value, (length, batch, directions, width // directions))
            value = node.one("permute", self=value, dims=(1, 0, 2, 3) if batch_first else (0, 2, 1, 3))
        elif batch_first:
            value = node.one("permute", self=value, dims=(1, 0, 2))
        results.append(value)
    return tuple(results)


# --- Attention and sums of products -----------------------------------------------------------------------


@rule("Einsum")
def _einsum(node: Node) -> Ref:
    return node.one("einsum", equation=node.attribute("equation").replace(" ", ""), tensors=node.tensors())
