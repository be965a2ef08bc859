"""From what was asked of TensorRT to lines of Python.

In: the statements of a :class:`~trtdsl.exporters.recording.ScriptDialect`, and what is known of the model.
Out: the lines of the script's ``define``, one call a layer, and the arrays that they name::

    # cnn.trtnet:4: x = data -> conv1: Conv2d(32, 3, padding = 1) -> relu
    at("conv1 cnn.trtnet:4:15")
    x = layer("conv1", net.add_convolution_nd(data, 32, (3, 3), w("conv1.kernel"), w("conv1.bias")), ...)
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trtdsl.exporters.recording import (
    AddConstruct,
    AddInput,
    AddLayer,
    Held,
    MarkOutput,
    SetInput,
    Statement,
    TensorMade,
)
from trtdsl.ops.lowering import Array
from trtdsl.trt.naming import TensorRTNames
from trtdsl.trt.network import WEIGHT_SLOTS

_WIDTH = 110
_FEW = 8
"""Numbers up to which a constant stands in the script."""

_CASTS = {
    "add_cast": "cast",
    "add_shape": "shape_of",
    "add_quantize": "quantize",
    "add_dequantize": "dequantize",
}
"""Layers that a function of the script adds, because releases differ in them."""

_OF_NUMPY = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")


class Writer:
    """Writes one script. ``arrays`` are those of its file of weights.

    ``reserved`` are the script's own names, ``types`` what is known of tensors, ``lines`` the text's line of
    a layer, as ``file:line: text``, by its name. ``narrow`` says that the release is one before TensorRT 10.
    ``reserved_keys`` are those that no array may have.
    """

    def __init__(
        self,
        reserved: Collection[str],
        types: Mapping[TensorMade, str],
        lines: Mapping[str, str],
        narrow: bool,
        reserved_keys: Collection[str] = (),
    ) -> None:
        self.arrays: dict[str, Array] = {}
        self._taken = {*reserved}
        self._types = types
        self._lines = lines
        self._narrow = narrow
        self._variables: dict[Any, str] = {}
        self._keys: dict[int, str] = {}
        self._unique = TensorRTNames(reserved_keys)
        self._aliases: dict[str, str] = {}
        self._line = ""
        self._place: str | None = None

    def write(self, statements: Sequence[Statement]) -> Iterator[str]:
        """The lines, without indentation."""
        written = [line for statement in statements for line in self._statement(statement)]
        for alias, member in sorted(self._aliases.items()):
            yield f"{alias} = trt.DataType.{member}"
        yield from written

    def _statement(self, statement: Statement) -> Iterator[str]:
        match statement:
            case AddInput():
                tensor = statement.tensor
                arguments = [_text(tensor.name), self._spell(statement.data_type)]
                arguments += [_text(statement.shape), _text(statement.dimensions)]
                yield from self._assign([self._variable(tensor)], "network_input", arguments, tensor)
            case AddConstruct():
                variable = self._claim(statement, statement.name)
                yield f"{variable} = net.{statement.member}()"
                yield f"{variable}.name = {_text(statement.name)}"
            case AddLayer():
                yield from self._heading(statement)
                yield from self._layer(statement)
            case SetInput(layer, index, tensor):
                yield f"feed({_text(layer.name)}, {index}, {self._variable(tensor)})"
            case MarkOutput(tensor):
                told = f", {self._spell(tensor.dtype)}" if tensor.dtype is not None else ""
                yield f"network_output({self._variable(tensor)}{told})"

    def _heading(self, layer: AddLayer) -> Iterator[str]:
        line = self._lines.get(layer.name, "")
        if line and line != self._line:
            yield ""
            yield f"# {line}"
            self._line = line
        if layer.metadata != self._place:
            yield f"at({_text(layer.metadata)})"
            self._place = layer.metadata

    def _layer(self, layer: AddLayer) -> Iterator[str]:
        targets = [self._claim(tensor, tensor.name) for _, tensor in sorted(layer.outputs.items())]
        tensor = layer.outputs[0] if len(targets) == 1 else None
        if layer.member == "add_cast" or (self._narrow and layer.member in _CASTS):
            arguments = [_text(layer.name), *map(self._spell, layer.arguments)]
            arguments += self._rest(layer)
            yield from self._assign(targets, _CASTS[layer.member], arguments, tensor)
            return
        owner = "net" if layer.owner is None else self._variables[layer.owner]
        given = ", ".join(self._given(layer, index, value) for index, value in enumerate(layer.arguments))
        arguments = [_text(layer.name), f"{owner}.{layer.member}({given})", *self._pins(layer)]
        if layer.inputs:
            fed = ", ".join(f"{index}: {self._variable(each)}" for index, each in layer.inputs.items())
            arguments.append(f"inputs={{{fed}}}")
        arguments += self._rest(layer)
        yield from self._assign(targets, "layer", arguments, tensor)

    def _pins(self, layer: AddLayer) -> Iterator[str]:
        pinned = [layer.types.get(index) for index in sorted(layer.outputs)]
        if layer.precision is not None and pinned == [layer.precision]:
            yield self._spell(layer.precision)
            return
        if any(each is not None for each in pinned):
            spelled = ["None" if each is None else self._spell(each) for each in pinned]
            yield f"types={spelled[0] if len(spelled) == 1 else '(' + ', '.join(spelled) + ')'}"
        if layer.precision is not None:
            yield f"precision={self._spell(layer.precision)}"

    def _rest(self, layer: AddLayer) -> Iterator[str]:
        names = tuple(tensor.name for _, tensor in sorted(layer.outputs.items()))
        if len(names) != 1:
            yield f"out={_text(names)}"
        elif names[0] != layer.name:
            yield f"out={_text(names[0])}"
        yield from (f"{name}={self._spell(value)}" for name, value in layer.properties.items())

    def _given(self, layer: AddLayer, index: int, value: Any) -> str:
        """An argument of a layer's method."""
        slots = WEIGHT_SLOTS.get(layer.member.removeprefix("add_"), {})
        if isinstance(value, Held):
            name = layer.name if layer.member == "add_constant" else f"{layer.name}.{slots[index]}"
            return self._weights(value, name)
        return "trt.Weights()" if index in slots else self._spell(value)

    def _weights(self, held: Held, key: str) -> str:
        array = held.array
        plain = array.dtype.name in _OF_NUMPY and held.count == array.size
        if plain and 0 < array.size <= _FEW:
            return f"numbers({_numbers(array)}, {_text(array.dtype.name)})"
        if id(array) not in self._keys:
            self._keys[id(array)] = key = self._unique.claim(key)
            self.arrays[key] = array if plain else array.view(f"u{array.itemsize}")
        key = self._keys[id(array)]
        if plain:
            return f"w({_text(key)})"
        return f"bits({_text(key)}, {self._spell(held.data_type)}, {held.count})"

    def _assign(
        self, targets: Sequence[str], function: str, arguments: Sequence[str], tensor: TensorMade | None
    ) -> Iterator[str]:
        """A call, in as few lines as it fits, with what is known of its result after it."""
        head = f"{', '.join(targets)} = {function}(" if targets else f"{function}("
        known = self._types.get(tensor, "") if tensor else ""
        comment = f"  # {known}" if known else ""
        line = f"{head}{', '.join(arguments)})"
        if len(line) + len(comment) + 4 <= _WIDTH:
            yield line + comment
            return
        yield head + comment
        line = "   "
        for argument in arguments:
            if len(line) + len(argument) + 6 > _WIDTH and line.strip():
                yield line
                line = "   "
            line += f" {argument},"
        yield line
        yield ")"

    # Names

    def _variable(self, tensor: TensorMade) -> str:
        return self._variables.get(tensor) or self._claim(tensor, tensor.name)

    def _claim(self, made: Any, name: str) -> str:
        """A variable for a tensor, loop or conditional: its name as far as Python allows it."""
        wanted = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "x"
        wanted = f"t{wanted}" if wanted[0].isdigit() else wanted
        variable, number = wanted, 1
        while variable in self._taken or keyword.iskeyword(variable):
            number += 1
            variable = f"{wanted}_{number}"
        self._taken.add(variable)
        self._variables[made] = variable
        return variable

    # Values

    def _spell(self, value: Any) -> str:
        """A value as Python writes it."""
        if isinstance(value, TensorMade):
            return self._variable(value)
        if isinstance(value, list):
            return f"[{', '.join(map(self._spell, value))}]"
        if hasattr(type(value), "__members__"):
            kind = type(value).__name__
            if kind != "DataType":
                return f"trt.{kind}.{value.name}"
            self._aliases[value.name] = value.name
            return value.name
        return _text(value)


def _text(value: Any) -> str:
    """A value of Python's own; strings in double quotes."""
    if isinstance(value, str):
        text = repr(value)
        return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
    if isinstance(value, np.generic):
        return _text(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(key)}: {_text(item)}' for key, item in value.items())}}}"
    return repr(value)


def _numbers(array: Array) -> str:
    """The numbers of an array, flat: floats as the shortest that are the same in its type."""
    flat = array.reshape(-1)
    return _text([float(str(each)) for each in flat] if array.dtype.kind == "f" else flat.tolist())
