"""Operations with weights: the module of torch.nn where the keys are its own, else the function.

Weights decide, not the class that an operation ran in: ``conv2d`` with ``features.0.weight`` and
``features.0.bias`` is ``features.0: Conv2d(…)``, also in a subclass of Conv2d.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any

from trtdsl.diagnostics import counted
from trtdsl.importers.program import Argument, Call, Operation, Program, Ref
from trtdsl.importers.rules import Missing, Writing
from trtdsl.importers.sketch import Apply, Expression, Literal
from trtdsl.importers.spelling import collapsed, expression_of
from trtdsl.ops.base import OPERATORS, REQUIRED, SPELLINGS, Op
from trtdsl.ops.refused import Refused
from trtdsl.types import DType, TensorType

_FUNCTIONS: Mapping[str, str] = {
    "conv1d": "conv1d", "conv2d": "conv2d", "conv3d": "conv3d", "conv_transpose1d": "conv_transpose1d",
    "conv_transpose2d": "conv_transpose2d", "conv_transpose3d": "conv_transpose3d", "linear": "linear",
    "bilinear": "bilinear", "batch_norm": "batch_norm", "layer_norm": "layer_norm", "rms_norm": "rms_norm",
    "group_norm": "group_norm", "instance_norm": "instance_norm", "embedding": "embedding", "prelu": "prelu",
    "deform_conv2d": "deform_conv2d", "embedding_bag": "embedding_bag",
}  # fmt: skip
_NEVER = frozenset({"cudnn_enabled", "cudnn_enable", "momentum", "scale_grad_by_freq", "sparse"})
_RECURRENT: Mapping[str, str] = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
_CELLS: Mapping[str, str] = {
    "lstm_cell": "LSTMCell", "gru_cell": "GRUCell", "rnn_tanh_cell": "RNNCell", "rnn_relu_cell": "RNNCell",
}  # fmt: skip
WEIGHTED = frozenset({*_FUNCTIONS, *_RECURRENT, *_CELLS, "multihead_attention"})
"""ATen's operations that take weights."""


def module_of(operation: Operation, program: Program, avoided: Collection[str] = frozenset()) -> Expression:
    """The module, at none of the labels that are to be avoided, or the function with its weights as tensors;
    raises :class:`Missing`.
    """
    writing = Writing(operation, program, avoided)
    if operation.base in _RECURRENT:
        return _recurrent(writing, _RECURRENT[operation.base])
    if operation.base in _CELLS:
        return _cell(writing, _CELLS[operation.base])
    if operation.base == "multihead_attention":
        return _attention(writing)
    if operation.name == "embedding_bag.padding_idx":
        raise Missing("its bags are of several lengths: give it a row for each, and `padding_idx`")
    name = _FUNCTIONS[operation.base]
    spelling = SPELLINGS[name][1]
    assert spelling.configure
    given = {
        key: value for key, value in operation.arguments.items() if key not in _NEVER and value is not None
    }
    given = {("input" if key in ("self", "indices") else key): value for key, value in given.items()}
    if given.get("padding_idx") == -1:
        del given["padding_idx"]
    if "training" in given and not given["training"]:
        del given["training"]
    types: dict[str, TensorType] = {
        key: writing.type(value) for key, value in given.items() if isinstance(value, Ref)
    }
    values = {key: collapsed(key, value) for key, value in given.items() if key not in types}
    if name == "group_norm" or name == "layer_norm":
        values.setdefault("eps", 1e-5)
    try:
        op = spelling.configure(types, values)
    except Refused as error:
        raise Missing(str(error)) from None
    operand_types = {operand.name: types[operand.name] for operand in op.operands if operand.name in types}
    slots = tuple(op.weights(**operand_types))
    label = _label(slots, given, writing)
    operands = {key: value for key, value in given.items() if key in types and key not in slots}
    if label is not None or not any(key in slots for key in types):
        return Apply(op.name, *parameters(op), is_module=True, label=label, **_tensors(op, operands))
    quantised = _quantised(given, writing)
    if quantised is not None:
        tensors = tuple(expression_of(value) for value in operands.values())
        weight = (("weight", expression_of(given["weight"])),)
        return Apply(op.name, *parameters(op), True, quantised, tensors, weight)
    return _function(name, given, op)


def _tensors(op: Op, given: Mapping[str, Argument]) -> dict[str, Any]:
    """What a module is called with: by position as far as nothing before it is left out, else by name."""
    names = [operand.name for operand in op.operands]
    if not given.keys() <= set(names):
        return {"tensors": tuple(map(expression_of, given.values()))}
    positional = list(takewhile(given.__contains__, names))
    named = tuple((key, expression_of(value)) for key, value in given.items() if key not in positional)
    return {"tensors": tuple(expression_of(given[key]) for key in positional), "named_tensors": named}


def _function(name: str, given: Mapping[str, Argument], op: Op) -> Expression:
    written: list[tuple[str, Expression]] = []
    positional, by_position = 0, True
    for key in SPELLINGS[name][1].parameters:
        if key not in given:
            by_position = False
            continue
        value = collapsed(key, given[key])
        if not isinstance(value, Ref) and key in op.parameters and op.default(key) == value:
            by_position = False
            continue
        by_position = by_position and (isinstance(value, Ref) or key in ("normalized_shape", "num_groups"))
        written.append((key, expression_of(value)))
        positional += by_position
    return Apply(name, tuple(written), positional)


def _label(slots: Sequence[str], given: Mapping[str, Argument], writing: Writing) -> str | None:
    """Where in the state dict all of the operator's weights lie, or None."""
    labels: list[set[str]] = []
    for slot in slots:
        value = given.get(slot)
        keys = keys_of(value, writing.program)
        labels.append({key[: -len(slot) - 1] for key in keys if key.endswith(f".{slot}")})
    common = set.intersection(*labels).difference(writing.avoided) if labels else set[str]()
    calls = writing.operation.calls
    # Of tied weights the one that the module has which is running.
    return max(common, key=lambda label: (_depth(label, calls), label), default=None)


def _quantised(given: Mapping[str, Argument], writing: Writing) -> str | None:
    """Where in the state dict an operator's weights lie, whose matrix is there as integers."""
    weight, bias = given.get("weight"), given.get("bias")
    if not isinstance(weight, Ref) or weight.value in writing.program.weights:
        return None
    made = next((each for each in writing.program.operations if weight.value in each.results), None)
    if made is None or made.name != "dequantize":
        return None
    places = [_label(("weight",), {"weight": made.arguments["input"]}, writing)]
    if bias is not None:
        places.append(_label(("bias",), {"bias": bias}, writing))
    return places[0] if len({*places}) == 1 else None


def keys_of(value: Argument, program: Program) -> tuple[str, ...]:
    """The state-dict keys of a weight."""
    key = program.weights.get(value.value) if isinstance(value, Ref) else None
    return () if key is None else program.ties.get(key, (key,))


def _depth(label: str, calls: Sequence[Call]) -> int:
    return sum(label == call.path or label.startswith(f"{call.path}.") for call in calls)


def parameters(op: Op) -> tuple[tuple[tuple[str, Expression], ...], int]:
    """An operator's parameters but for the defaults, and how many are written by position."""
    written: list[tuple[str, Expression]] = []
    positional, by_position = 0, True
    for name in op.parameters:
        value, default = collapsed(name, getattr(op, name)), op.default(name)
        if (default is not REQUIRED and collapsed(name, default) == value) or value is DType.FLOAT32:
            by_position = False
            continue
        if name == "normalized_shape" and isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        by_position = by_position and default is REQUIRED
        written.append((name, expression_of(value)))
        positional += by_position
    return tuple(written), positional


def _attention(writing: Writing) -> Expression:
    """``y = (query, key, value) -> label: MultiheadAttention(heads)``, masks by name."""
    arguments = {key: value for key, value in writing.operation.arguments.items() if value is not None}
    types = {key: writing.type(value) for key, value in arguments.items() if isinstance(value, Ref)}
    own = OPERATORS["MultiheadAttention"].parameters
    known: Any = {key: value for key, value in arguments.items() if key in own}
    known |= {"bias": "in_proj_bias" in types, "add_bias_kv": "bias_k" in types}
    op = OPERATORS["MultiheadAttention"](**known)
    operands = {operand.name: types[operand.name] for operand in op.operands if operand.name in types}
    try:
        op.infer(**operands)
    except Refused as error:
        raise Missing(str(error)) from None
    weights = {key: arguments[key] for key in op.weights(**operands)}
    at = {op.keys.get(key, key): value for key, value in weights.items()}
    label = _label(tuple(at), at, writing)
    tensors = tuple(expression_of(arguments.pop(name)) for name in ("query", "key", "value"))
    named = {key: arguments[key] for key in operands if key in arguments}
    named |= {} if label is not None else weights
    written = tuple((key, expression_of(value)) for key, value in named.items())
    return Apply(op.name, *parameters(op), True, label, tensors, written)


def _recurrent(writing: Writing, name: str) -> Expression:
    """``y, h, c = (x, h0, c0) -> label: LSTM(…)``."""
    weights: Any = writing["params"]
    op: Any = OPERATORS[name]
    gates: int = op.gates
    hidden, width = writing.type(weights[0]).shape[0], writing.type(weights[1]).shape[1]
    assert isinstance(hidden, int)
    wanted: dict[str, Any] = {
        "hidden_size": hidden // gates,
        "num_layers": writing["num_layers"],
        "bias": writing["has_biases"],
        "batch_first": writing["batch_first"],
        "bidirectional": writing["bidirectional"],
        "proj_size": width if width != hidden // gates else 0,
    }
    if writing.operation.base == "rnn_relu":
        wanted["nonlinearity"] = "relu"
    states: Any = writing["hx"]
    tensors = [writing["input"], *(states if isinstance(states, tuple) else (states,))]
    return _cell_or_network(writing, op, wanted, tensors, weights)


def _cell(writing: Writing, name: str) -> Expression:
    """``h, c = (x, h, c) -> label: LSTMCell(…)``."""
    op = OPERATORS[name]
    kinds = ("w_ih", "w_hh", *(("b_ih", "b_hh") if writing.get("b_ih") is not None else ()))
    wanted: dict[str, Any] = {
        "hidden_size": writing.type(writing["w_hh"]).shape[1],
        "bias": len(kinds) == 4,
    }
    if writing.operation.base == "rnn_relu_cell":
        wanted["nonlinearity"] = "relu"
    states: Any = writing["hx"]
    tensors = [writing["input"], *(states if isinstance(states, tuple) else (states,))]
    return _cell_or_network(writing, op, wanted, tensors, [writing[kind] for kind in kinds])


def _cell_or_network(
    writing: Writing,
    op: type[Op],
    wanted: Mapping[str, Any],
    tensors: Sequence[Argument],
    weights: Sequence[Argument],
) -> Expression:
    """The module, with its weights as tensors where they do not lie where torch.nn has them."""
    known = {key: value for key, value in wanted.items() if key in op.parameters}
    given = [
        (key, Literal(value))
        for key, value in known.items()
        if op.default(key) is REQUIRED or op.default(key) != value
    ]
    slots = _slots(op, known, writing.type(tensors[0]), len(weights))
    label = _label(slots, dict(zip(slots, weights, strict=True)), writing)
    named = () if label is not None else tuple(zip(slots, map(expression_of, weights), strict=True))
    return Apply(
        op.name,
        tuple(given),
        1,
        is_module=True,
        label=label,
        tensors=tuple(map(expression_of, tensors)),
        named_tensors=named,
    )


def _slots(op: type[Op], known: Mapping[str, Any], input: TensorType, count: int) -> tuple[str, ...]:
    """What the module calls its weights, in torch's order."""
    slots = tuple(op(**known).weights(input))
    if len(slots) != count:
        raise Missing(f"it has {counted(count, 'weight')}, and `{op.name}` takes {len(slots)}")
    return slots
