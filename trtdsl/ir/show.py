"""A graph as text: a flat `.trtnet` model, one operator a line, types in comments.

In: any graph, at any stage.  Out: a text that parses back to the same graph::

    model cnn {
      dim N = 1 .. 8 .. 64
      input data: float32[N, 3, 32, 32]

      conv1 = data -> conv1: Conv2d(32, 3, padding = 1)  # float32[N, 32, 32, 32]
      relu = relu(conv1)  # float32[N, 32, 32, 32]
      output x = relu
    }

The body of a node is a block above the model.  It takes the model's dimensions as its parameters, since a
block sees nothing of the model, and is given to the node's operator by its name there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trtdsl.ir.graph import Graph, Node, Value, Weight, bodies_by_name, graphs
from trtdsl.ir.names import NEVER_NAMES, identifier
from trtdsl.ops.base import OPERATORS, REQUIRED, SPELLINGS, Module, Op
from trtdsl.ops.text import literal, quoted

_LABEL = re.compile(r"[A-Za-z_]\w*(\.(\w+))*", re.ASCII)
_KEYWORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_WORDS = NEVER_NAMES | {"_"}


def show(graph: Graph) -> str:
    """The graph as a `.trtnet` file."""
    blocks = _Blocks(graph)
    model = [f"## {line}" for line in graph.documentation.splitlines()]
    model.append(f"model {graph.name}() {{")
    model += [f"  {line}".rstrip() for line in _model(graph, blocks)]
    return "\n".join([*blocks.lines(), *model, "}", ""])


class _Blocks:
    """The bodies of a model's nodes as blocks, each under a name that nothing else has."""

    def __init__(self, model: Graph) -> None:
        self._dims = ", ".join(symbol.name for symbol in model.symbols)
        self._names: dict[int, str] = {}
        self._bodies = [body for each in graphs(model) for node in each.nodes for body in node.bodies]
        taken = {*OPERATORS, *SPELLINGS, model.name, *(symbol.name for symbol in model.symbols)}
        taken |= {value.name for each in graphs(model) for value in each.inputs}
        taken |= {result.name for each in graphs(model) for node in each.nodes for result in node.results}
        for body in self._bodies:
            name, number = identifier(body.name), 1
            while name in taken:
                number += 1
                name = f"{identifier(body.name)}_{number}"
            taken.add(name)
            self._names[id(body)] = name

    def use(self, body: Graph) -> str:
        """The body as an argument of its node's operator."""
        return f"{self._names[id(body)]}({self._dims})"

    def lines(self) -> Iterator[str]:
        """Every block, inner ones first."""
        for body in reversed(self._bodies):
            inputs = ", ".join(value.name for value in body.inputs)
            types = f"  # {', '.join(str(value.type) for value in body.inputs)}" if body.inputs else ""
            yield f"block {self._names[id(body)]}({self._dims})({inputs}) {{{types}"
            yield from (f"  {line}" for line in _nodes(body, self))
            yield f"  return {', '.join(output.value.name for output in body.outputs)}"
            yield from ("}", "")


def _model(graph: Graph, blocks: _Blocks) -> Iterator[str]:
    steps = {symbol.name: f", step = {symbol.step}" for symbol in graph.symbols if symbol.step > 1}
    for number, profile in enumerate(graph.profiles):
        ranges = [f"{name} = {low} .. {best} .. {high}" for name, (low, best, high) in profile.ranges.items()]
        yield from (
            [f"dim {text}{steps.get(name, '')}" for name, text in zip(profile.ranges, ranges, strict=True)]
            if number == 0
            else [f"profile {profile.name} {{ {' '.join(ranges)} }}"]
        )
    for value in graph.inputs:
        values = f" in {graph.ranges[value.name]}" if value.name in graph.ranges else ""
        yield f"input {value.name}: {value.type}{values}"
    yield ""
    yield from _nodes(graph, blocks)
    for output in graph.outputs:
        yield f"output {output.name} = {output.value.name}"
    stored = {weight.key: weight.stored.text for weight in graph.weights if weight.stored}
    if stored:
        yield from ("", "weights {")
        yield from (f"  {quoted(key)} = {text}" for key, text in stored.items())
        yield "}"


def _nodes(graph: Graph, blocks: _Blocks) -> Iterator[str]:
    for node in graph.nodes:
        names = ", ".join(result.name for result in node.results)
        types = ", ".join(str(result.type) for result in node.results)
        yield f"{names} = {show_node(node, [blocks.use(body) for body in node.bodies])}  # {types}"
        if node.op.gives_tuple and len(node.results) == 1:
            yield f"{names} = {names}[0]"


def show_node(node: Node, bodies: Sequence[str] = ()) -> str:
    """The right side of a node's line; ``bodies`` are what its bodies are called."""
    label = f"{show_label(node.scope)}: " if node.scope else "_: " if node.weights else ""
    if node.op.in_two_lists:
        return f"{label}{_show_configured(node, bodies or [body.name for body in node.bodies])}"
    if not isinstance(node.op, Module):
        arguments = _function_arguments(node, bodies or [body.name for body in node.bodies])
        return f"{label}{node.op.name}({', '.join(arguments)})"
    call = f"{label}{show_call(node.op)}"
    names, named = _module_operands(node)
    if named:
        return f"{call}({', '.join([*names, *named])})"
    if not names:
        return call
    return f"{names[0] if len(names) == 1 else '(' + ', '.join(names) + ')'} -> {call}"


def _show_configured(node: Node, bodies: Sequence[str]) -> str:
    """A function that is called as a module is, its bodies after its parameters."""
    named = [f"{name} = {text}" for name, text in bodies_by_name(node.op, bodies).items()]
    configured = ", ".join([*_parameters(node.op, node.op.parameters), *named])
    return f"{node.op.name}({configured})({', '.join(value.name for value in node.operands)})"


def _module_operands(node: Node) -> tuple[list[str], list[str]]:
    """The tensors given by position, and what is given by name: those after one left out, and weights."""
    slots = [operand.name for operand in node.op.operands]
    by_position = [
        value.name for slot, (given, value) in zip(slots, node.tensors, strict=False) if slot == given
    ]
    by_name = [*node.tensors[len(by_position) :], *node.computed_weights.items()]
    return by_position, [f"{slot} = {value.name}" for slot, value in by_name]


def show_label(path: str) -> str:
    """A state-dict path as a label, quoted where it is no plain path."""
    plain = _LABEL.fullmatch(path) and path.partition(".")[0] not in _WORDS
    return path if plain else quoted(path)


def show_call(op: Op) -> str:
    """The operator with its parameters, as the language writes them: ``Conv2d(64, 7, stride = 2)``."""
    return f"{op.name}({', '.join(_parameters(op, op.parameters))})"


def _function_arguments(node: Node, bodies: Sequence[str]) -> list[str]:
    """Operands, then parameters; by position as long as none before was left out.

    Bodies stand where the operator's order has them, or else after all others by name.
    """
    op = node.op
    texts: dict[str, str] = {}
    for operand in op.operands:
        names = [value.name for slot, value in node.tensors if slot == operand.name]
        if names:
            texts[operand.name] = f"[{', '.join(names)}]" if operand.variadic else names[0]
    named = bodies_by_name(op, bodies)
    texts |= {name: text for name, text in named.items() if name in op.order}
    order = op.order or tuple(operand.name for operand in op.operands)
    order = dict.fromkeys((*order, *op.parameters))
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
    return [*written, *(f"{name} = {text}" for name, text in named.items() if name not in op.order)]


def _parameters(op: Op, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name == op.further:
            yield from _further(op)
        elif not _is_default(op, name):
            text = literal(getattr(op, name))
            by_position = _is_required(op, name) and (not op.further or name == names[0])
            yield text if by_position else f"{name} = {text}"


def _further(op: Op) -> Iterator[str]:
    """What was given under names of its own; what a text cannot give so stands in the parameter itself."""
    given: Mapping[str, Any] = dict(getattr(op, op.further))
    apart = {name: value for name, value in given.items() if not _is_keyword(op, name)}
    yield from (f"{name} = {literal(value)}" for name, value in given.items() if name not in apart)
    if apart:
        pairs = ", ".join(literal(pair) for pair in apart.items())
        yield f"{op.further} = [{pairs}]"


def _is_keyword(op: Op, name: str) -> bool:
    return bool(_KEYWORD.fullmatch(name)) and name not in {*NEVER_NAMES, *op.parameters, *op.bodies}


def _is_required(op: Op, name: str) -> bool:
    return op.default(name) is REQUIRED


def _is_default(op: Op, name: str) -> bool:
    default, value = op.default(name), getattr(op, name)
    return type(default) is type(value) and default == value


def difference(left: Graph, right: Graph) -> str | None:
    """The first way in which two graphs differ, spans aside; None where they are the same."""
    for what in ("name", "documentation", "symbols", "profiles", "ranges"):
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
    stored = value.stored.text if isinstance(value, Weight) and value.stored else None
    return value.name, value.type, stored


def _output(output: Any) -> tuple[object, ...]:
    return output.name, _value(output.value)


def _node(node: Node) -> tuple[object, ...]:
    operands = tuple(map(_value, node.operands))
    bodies = tuple(map(_body, node.bodies))
    return node.op, operands, node.slots, tuple(map(_value, node.results)), node.scope, bodies


def _body(body: Graph) -> tuple[object, ...]:
    """A body but for its name and those of its outputs, which no text tells."""
    outputs = tuple(_value(output.value) for output in body.outputs)
    return tuple(map(_value, body.inputs)), tuple(map(_node, body.nodes)), outputs
