"""A graph as text: a flat `.trtnet` model, one operator a line, types in comments.

In: any graph, at any stage.  Out: a text that parses back to the same graph::

    model cnn() {
      dim N = 1 .. 8 .. 64
      input data: float32[N, 3, 32, 32]

      conv1 = data -> conv1: Conv2d(32, 3, padding = 1)  # float32[N, 32, 32, 32]
      relu = relu(conv1)  # float32[N, 32, 32, 32]
      output x = relu
    }
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from trtdsl.ir.graph import Graph, Node, Value
from trtdsl.ops.base import Module, Op
from trtdsl.ops.text import literal, quoted

_LABEL = re.compile(r"[A-Za-z_]\w*(\.(\w+))*", re.ASCII)
_WORDS = frozenset(("true", "false", "none", "not", "_"))


def show(graph: Graph) -> str:
    """The graph as a `.trtnet` file."""
    lines = [f"## {line}" for line in graph.documentation.splitlines()]
    lines.append(f"model {graph.name}() {{")
    lines += [f"  {line}".rstrip() for line in _body(graph)]
    return "\n".join([*lines, "}", ""])


def _body(graph: Graph) -> Iterator[str]:
    for number, profile in enumerate(graph.profiles):
        ranges = [f"{name} = {low} .. {best} .. {high}" for name, (low, best, high) in profile.ranges.items()]
        yield from (
            [f"dim {text}" for text in ranges]
            if number == 0
            else [f"profile {profile.name} {{ {' '.join(ranges)} }}"]
        )
    for value in graph.inputs:
        yield f"input {value.name}: {value.type}"
    yield ""
    for node in graph.nodes:
        names = ", ".join(result.name for result in node.results)
        types = ", ".join(str(result.type) for result in node.results)
        yield f"{names} = {show_node(node)}  # {types}"
    for output in graph.outputs:
        yield f"output {output.name} = {output.value.name}"


def show_node(node: Node) -> str:
    """The right side of a node's line."""
    weights = node.weights
    tensors = [(s, v) for s, v in zip(node.slots, node.operands, strict=True) if s not in weights]
    label = f"{show_label(node.scope)}: " if node.scope else ""
    if not isinstance(node.op, Module):
        return f"{label}{node.op.name}({', '.join(_function_arguments(node.op, tensors))})"
    call = f"{label}{show_call(node.op)}"
    names = [value.name for _, value in tensors]
    if not names:
        return call
    return f"{names[0] if len(names) == 1 else '(' + ', '.join(names) + ')'} -> {call}"


def show_label(path: str) -> str:
    """A state-dict path as a label, quoted where it is no plain path."""
    plain = _LABEL.fullmatch(path) and path.partition(".")[0] not in _WORDS
    return path if plain else quoted(path)


def show_call(op: Op) -> str:
    """The operator with its parameters, as the language writes them: ``Conv2d(64, 7, stride = 2)``."""
    return f"{op.name}({', '.join(_parameters(op, op.parameters))})"


def _function_arguments(op: Op, tensors: Sequence[tuple[str, Value]]) -> list[str]:
    """Operands, then parameters; by position as long as none before was left out."""
    texts: dict[str, str] = {}
    for operand in op.operands:
        names = [value.name for slot, value in tensors if slot == operand.name]
        if names:
            texts[operand.name] = f"[{', '.join(names)}]" if operand.variadic else names[0]
    order = op.order or (*(operand.name for operand in op.operands), *op.parameters)
    written: list[str] = []
    by_position = True
    for name in order:
        if name in texts:
            written.append(texts[name] if by_position else f"{name} = {texts[name]}")
        elif name in op.parameters and not _is_default(op, name):
            text = literal(getattr(op, name))
            by_position = by_position and _is_required(op, name)
            written.append(text if by_position else f"{name} = {text}")
        else:
            by_position = False
    return written


def _parameters(op: Op, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if _is_default(op, name):
            continue
        text = literal(getattr(op, name))
        yield text if _is_required(op, name) else f"{name} = {text}"


def _field(op: Op, name: str) -> dataclasses.Field[Any]:
    return next(field for field in dataclasses.fields(op) if field.name == name)


def _is_required(op: Op, name: str) -> bool:
    return _field(op, name).default is dataclasses.MISSING


def _is_default(op: Op, name: str) -> bool:
    default, value = _field(op, name).default, getattr(op, name)
    return type(default) is type(value) and default == value


def difference(left: Graph, right: Graph) -> str | None:
    """The first way in which two graphs differ, spans aside; None where they are the same."""
    for what in ("name", "documentation", "symbols", "profiles"):
        if getattr(left, what) != getattr(right, what):
            return f"{what}: {getattr(left, what)} and {getattr(right, what)}"
    pairs = (
        ("inputs", [_value(v) for v in left.inputs], [_value(v) for v in right.inputs]),
        ("nodes", [_node(n) for n in left.nodes], [_node(n) for n in right.nodes]),
        ("outputs", [_output(o) for o in left.outputs], [_output(o) for o in right.outputs]),
    )
    for what, ours, theirs in pairs:
        if len(ours) != len(theirs):
            return f"{len(ours)} and {len(theirs)} {what}"
        for one, other in zip(ours, theirs, strict=True):
            if one != other:
                return f"{what}: {one} and {other}"
    return None


def _value(value: Value) -> tuple[object, ...]:
    return value.name, value.type


def _output(output: Any) -> tuple[object, ...]:
    return output.name, _value(output.value)


def _node(node: Node) -> tuple[object, ...]:
    operands = tuple(map(_value, node.operands))
    return node.op, operands, node.slots, tuple(map(_value, node.results)), node.scope
