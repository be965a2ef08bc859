"""The type of what an operation gives, by the language's own rules.

In: an operation's name and arguments as a :class:`~trtdsl.importers.program.Program` has them.  Out: the
types of its results, or :class:`~trtdsl.ops.refused.Refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtdsl.importers.program import Argument, Ref
from trtdsl.ir import infer
from trtdsl.ops.base import OPERATORS, SPELLINGS, Op
from trtdsl.ops.refused import Refused
from trtdsl.types import DType, TensorType

_PARAMETERS: Mapping[str, Mapping[str, str]] = {
    "split": {"split_size": "split_size_or_sections", "split_sizes": "split_size_or_sections"},
    "einsum": {"tensors": "operands"},
}
"""Where the language's name of a parameter is not ATen's."""

_RECURRENT: Mapping[str, str] = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


def result_types(
    name: str, arguments: Mapping[str, Argument], types: Mapping[str, TensorType]
) -> tuple[TensorType, ...]:
    """The types of an operation's results."""
    if name in _RECURRENT:
        return _recurrent(name, arguments, types)
    if name == "index":
        return _indexed(arguments, types)
    if name in SPELLINGS and SPELLINGS[name][1].configure:
        return _functional(name, arguments, types)
    kind = OPERATORS[name] if name in OPERATORS else SPELLINGS[name][0]
    given = {_PARAMETERS.get(name, {}).get(key, key): value for key, value in arguments.items()}
    operands, parameters = _split(kind, given, types)
    return infer(kind(**parameters), operands)


def _split(
    kind: type[Op], given: dict[str, Argument], types: Mapping[str, TensorType]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The operands' types and the parameters' values, by the operator's own names."""
    declared = {operand.name: operand for operand in kind.operands}
    if "self" in given:
        given[next(key for key in declared if key not in given)] = given.pop("self")
    operands: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    dtype = next((types[value.value].dtype for value in given.values() if isinstance(value, Ref)), None)
    for key, value in given.items():
        if key not in declared:
            parameters[key] = value
        elif isinstance(value, tuple):
            operands[key] = [types[each.value] for each in value]
        elif isinstance(value, Ref):
            operands[key] = types[value.value]
        elif value is not None:
            operands[key] = TensorType(_dtype_of_number(value, dtype), ())
    return operands, parameters


def _dtype_of_number(value: Any, dtype: DType | None) -> DType:
    """That of the tensor that a number meets; a fraction makes integers of 32 bits floating point."""
    is_fraction = isinstance(value, float) and dtype is not None and not dtype.is_floating
    return DType.FLOAT32 if dtype is None or is_fraction else dtype


def _functional(
    name: str, arguments: Mapping[str, Argument], types: Mapping[str, TensorType]
) -> tuple[TensorType, ...]:
    configure = SPELLINGS[name][1].configure
    assert configure
    given = {
        "input" if key in ("self", "indices") else key: value
        for key, value in arguments.items()
        if value is not None
    }
    tensors = {key: types[value.value] for key, value in given.items() if isinstance(value, Ref)}
    op = configure(tensors, {key: value for key, value in given.items() if key not in tensors})
    return infer(op, {each.name: tensors[each.name] for each in op.operands if each.name in tensors})


def _recurrent(
    name: str, arguments: Mapping[str, Argument], types: Mapping[str, TensorType]
) -> tuple[TensorType, ...]:
    weights: Any = arguments["params"]
    op: Any = OPERATORS[_RECURRENT[name]]
    made = op(
        hidden_size=types[weights[1].value].shape[1],
        num_layers=arguments["num_layers"],
        bias=arguments["has_biases"],
        batch_first=arguments["batch_first"],
        bidirectional=arguments["bidirectional"],
    )
    source = arguments["input"]
    assert isinstance(source, Ref)
    return infer(made, {"input": types[source.value]})


def _indexed(arguments: Mapping[str, Argument], types: Mapping[str, TensorType]) -> tuple[TensorType, ...]:
    """``x[i, :, j]`` of index tensors next to each other."""
    source, indices = arguments["self"], arguments["indices"]
    assert isinstance(source, Ref)
    assert isinstance(indices, tuple)
    dims = tuple(number for number, each in enumerate(indices) if each is not None)
    given = [types[each.value] for each in indices if each is not None]
    if any(each.dtype is DType.BOOL for each in given):
        raise Refused("a mask as an index gives a tensor whose size depends on values")
    op: Any = OPERATORS["index"]
    return infer(op(dims=dims), {"input": types[source.value], "indices": given})
