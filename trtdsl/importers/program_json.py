"""Programs as JSON, there and back.

In: a :class:`~trtdsl.importers.program.Program`.  Out: text from which the same one is read, without torch:
types and sizes as the language writes them, ``"float32[N, 4 * S]"``, arrays by their bytes.
"""

from __future__ import annotations

import ast
import base64
import json
import math
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

import numpy as np

from trtdsl.importers.program import Array, Call, Frame, ModuleFacts, Operation, Program, Ref
from trtdsl.types import (
    Dim,
    DType,
    Symbol,
    SymbolicDim,
    TensorType,
    ValueRange,
    maximum,
    minimum,
    symbol,
)


def to_json(program: Program) -> str:
    """The program as JSON, one operation a line."""
    data = {
        "name": program.name,
        "source": program.source,
        "symbols": [[s.name, s.minimum, s.optimum, s.maximum, s.step] for s in program.symbols],
        "inputs": {name: str(type) for name, type in program.inputs.items()},
        "input_names": dict(program.input_names),
        "values": {name: list(range) for name, range in program.values.items()},
        "weights": dict(program.weights),
        "ties": {key: list(keys) for key, keys in program.ties.items()},
        "constants": {name: _array(array) for name, array in program.constants.items()},
        "types": {name: str(type) for name, type in program.types.items()},
        "outputs": [[name, _encoded(value)] for name, value in program.outputs],
        "origins": {
            name: [called, [_frame(frame) for frame in frames]]
            for name, (called, frames) in program.origins.items()
        },
        "modules": {path: _facts(facts) for path, facts in program.modules.items()},
    }
    head = json.dumps(data, indent=1)
    operations = ",\n  ".join(json.dumps(_operation(each)) for each in program.operations)
    return f'{head[:-2]},\n "operations": [\n  {operations}\n ]\n}}\n'


def from_json(text: str) -> Program:
    """The program that :func:`to_json` wrote."""
    data: dict[str, Any] = json.loads(text)
    found = tuple(Symbol(*each) for each in data["symbols"])
    names: dict[str, Dim] = {s.name: symbol(s.name, s.minimum, s.optimum, s.maximum, s.step) for s in found}
    read = partial(_decoded, names=names)
    return Program(
        name=data["name"],
        source=data["source"],
        symbols=found,
        inputs=_types(data["inputs"], names),
        input_names=data["input_names"],
        values={name: ValueRange(*range) for name, range in data["values"].items()},
        weights=data["weights"],
        ties={key: tuple(keys) for key, keys in data["ties"].items()},
        constants={name: _read_array(each) for name, each in data["constants"].items()},
        types=_types(data["types"], names),
        outputs=tuple((name, read(value)) for name, value in data["outputs"]),
        origins={
            name: (called, tuple(Frame(*frame) for frame in frames))
            for name, (called, frames) in data["origins"].items()
        },
        modules={path: _read_facts(facts, read) for path, facts in data["modules"].items()},
        operations=tuple(_read_operation(each, read) for each in data["operations"]),
    )


# --- Writing ----------------------------------------------------------------------------------------------


def _encoded(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"ref": value.value}
    if isinstance(value, SymbolicDim):
        return {"dim": str(value)}
    if isinstance(value, DType):
        return {"dtype": value.value}
    if isinstance(value, (tuple, list)):
        return [_encoded(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _operation(operation: Operation) -> dict[str, Any]:
    return {
        "name": operation.name,
        "arguments": {name: _encoded(value) for name, value in operation.arguments.items()},
        "results": list(operation.results),
        "calls": [[call.path, call.kind, call.number] for call in operation.calls],
        "frames": [_frame(frame) for frame in operation.frames],
    }


def _frame(frame: Frame) -> list[Any]:
    return [frame.file, frame.line, frame.function, frame.code]


def _facts(facts: ModuleFacts) -> dict[str, Any]:
    return {
        "kind": facts.kind,
        "file": facts.file,
        "line": facts.line,
        "attributes": _plain(facts.attributes),
        "parameters": _plain(facts.parameters),
        "defaults": _plain(facts.defaults),
        "tensors": list(facts.tensors),
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can say of a configuration; a default that is any object is only known to be there."""
    kinds = (bool, int, float, str, tuple, list, type(None))
    return {name: _encoded(value) if isinstance(value, kinds) else None for name, value in values.items()}


def _array(array: Array) -> dict[str, Any]:
    data = base64.b64encode(np.array(array, order="C").tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


# --- Reading ----------------------------------------------------------------------------------------------


def _decoded(value: Any, names: Mapping[str, Dim]) -> Any:
    match value:
        case {"ref": name}:
            return Ref(name)
        case {"dim": text}:
            return _dim(text, names)
        case {"dtype": name}:
            return DType(name)
        case {"float": text}:
            return float(text)
        case list():
            items: list[Any] = value
            return tuple(_decoded(each, names) for each in items)
        case _:
            return value


def _read_operation(data: Mapping[str, Any], read: Callable[[Any], Any]) -> Operation:
    return Operation(
        data["name"],
        {name: read(value) for name, value in data["arguments"].items()},
        tuple(data["results"]),
        tuple(Call(*call) for call in data["calls"]),
        tuple(Frame(*frame) for frame in data["frames"]),
    )


def _read_facts(data: Mapping[str, Any], read: Callable[[Any], Any]) -> ModuleFacts:
    def values(part: str) -> dict[str, Any]:
        return {name: read(value) for name, value in data[part].items()}

    return ModuleFacts(
        data["kind"],
        data["file"],
        data["line"],
        values("attributes"),
        values("parameters"),
        values("defaults"),
        tuple(data["tensors"]),
    )


def _read_array(data: Mapping[str, Any]) -> Array:
    raw = base64.b64decode(data["data"])
    return np.frombuffer(raw, DType(data["dtype"]).numpy).reshape(data["shape"]).copy()


def _types(data: Mapping[str, str], names: Mapping[str, Dim]) -> dict[str, TensorType]:
    return {name: _type(text, names) for name, text in data.items()}


def _type(text: str, names: Mapping[str, Dim]) -> TensorType:
    dtype, _, rest = text.partition("[")
    sizes = ast.parse(f"({rest.removesuffix(']')},)" if rest != "]" else "()", mode="eval").body
    assert isinstance(sizes, ast.Tuple)
    return TensorType(DType(dtype), tuple(_size(each, names) for each in sizes.elts))


def _dim(text: str, names: Mapping[str, Dim]) -> Dim:
    return _size(ast.parse(text, mode="eval").body, names)


def _size(node: ast.expr, names: Mapping[str, Dim]) -> Dim:
    """A size as the language writes it, which Python would write so too."""
    read = partial(_size, names=names)
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -read(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](read(left), read(right))
        case ast.Call(func=ast.Name(id="max"), args=args):
            return reduce(maximum, map(read, args))
        case ast.Call(func=ast.Name(id="min"), args=args):
            return reduce(minimum, map(read, args))
        case _:
            raise ValueError(f"{ast.unparse(node)} is not a size")


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: lambda left, right: left % right,
    ast.Pow: lambda left, right: left**right,
}
