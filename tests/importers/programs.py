"""Programs for tests of one rule, written as Python would write them.

In: ten lines, read and never run.  Out: the :class:`~trtdsl.importers.program.Program` that a capture of them
would give::

    x: float32[N, 4]                   # an input
    with Feed("layers.0", width=8):    # a call: the class, its path, its constructor's arguments
        y: float32[N, 8] = linear(x, w("fc.weight", 8, 4))
    return y

A result without a type has that of the first operand, arguments that are left out are those of PyTorch's
schema, ``w`` is a weight, its key below the call's path.  Each line is the source's line too, so values are
called what they are here.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trtdsl.importers.flat import of_model
from trtdsl.importers.program import Array, Call, Frame, ModuleFacts, Operation, Program, Ref, refs
from trtdsl.importers.sketch import Block, Item
from trtdsl.importers.translate import translate
from trtdsl.importers.write import write
from trtdsl.syntax import format_text
from trtdsl.types import Dim, DType, TensorType, symbol, symbols

N = symbol("N", 1, 8, 32)
S = symbol("S", 2, 8, 64)
_DTYPES = {each.value for each in DType}
_DIMS: Mapping[str, Dim] = {"N": N, "S": S}


def read(
    text: str,
    *,
    defaults: Mapping[str, Any] = {},
    constants: Mapping[str, Array] = {},
    tensors: Sequence[str] = (),
) -> Program:
    """The program of a text; ``defaults`` are those of the constructors, ``tensors`` the names that
    ``forward`` has for what it is given.
    """
    reader = _Reader(text, defaults, constants, tuple(tensors))
    reader.body(ast.parse(text).body, ())
    return reader.program()


def listed(program: Program) -> list[str]:
    """The operations with what they read: ``y = add(x, x)``."""
    return [
        f"{', '.join(each.results)} = {each.base}({', '.join(each.operands)})" for each in program.operations
    ]


def text_of(program: Program, items: Sequence[Item], blocks: Sequence[Block] = ()) -> list[str]:
    """The model's statements as they are written."""
    lines = format_text(write(of_model(program, tuple(items), tuple(blocks)))).splitlines()
    return [line.strip() for line in lines[lines.index("") + 1 : -1]]


def statements(text: str, **given: Any) -> tuple[Program, list[Item]]:
    """A program and its operations as statements."""
    program = read(text, **given)
    return program, list(translate(program))


class _Reader:
    def __init__(
        self,
        text: str,
        defaults: Mapping[str, Any],
        constants: Mapping[str, Array],
        tensors: tuple[str, ...],
    ) -> None:
        self._lines = text.splitlines()
        self._defaults, self._tensors = defaults, tensors
        self._constants = constants
        self._inputs: dict[str, TensorType] = {}
        self._types: dict[str, TensorType] = {
            name: TensorType(DType.of_numpy(array.dtype), array.shape) for name, array in constants.items()
        }
        self._weights: dict[str, str] = {}
        self._modules: dict[str, ModuleFacts] = {}
        self._operations: list[Operation] = []
        self._outputs: tuple[tuple[str, Ref], ...] = ()

    def program(self) -> Program:
        dims = [dim for type in self._inputs.values() for dim in type.shape]
        found = sorted({each for dim in dims for each in symbols(dim)}, key=str)
        return Program(
            name="m",
            symbols=tuple(found),
            inputs=self._inputs,
            weights=self._weights,
            constants=self._constants,
            operations=tuple(self._operations),
            outputs=self._outputs,
            types=self._types,
            modules=self._modules,
        )

    def body(self, nodes: Sequence[ast.stmt], calls: tuple[Call, ...]) -> None:
        for node in nodes:
            match node:
                case ast.AnnAssign(target=ast.Name(id=name), value=None, annotation=type):
                    self._inputs[name] = self._types[name] = _type(type)
                case ast.AnnAssign(target=target, value=ast.Call() as call, annotation=type):
                    self._operation(target, call, calls, _type(type))
                case ast.Assign(targets=[target], value=ast.Call() as call):
                    self._operation(target, call, calls, None)
                case ast.With(items=[ast.withitem(context_expr=ast.Call() as call)], body=inner):
                    self.body(inner, (*calls, self._call(call)))
                case ast.Return(value=value):
                    assert value
                    names = value.elts if isinstance(value, ast.Tuple) else [value]
                    values = [_name(each) for each in names]
                    self._outputs = tuple((f"out_{each}", Ref(each)) for each in values)
                case _:
                    raise ValueError(ast.unparse(node))

    def _call(self, node: ast.Call) -> Call:
        (path,) = (ast.literal_eval(each) for each in node.args)
        kind = ast.unparse(node.func)
        given = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
        self._modules[path] = ModuleFacts(
            kind, attributes=given, parameters=given, defaults=self._defaults, tensors=self._tensors
        )
        return Call(path, kind)

    def _operation(
        self, target: ast.expr, node: ast.Call, calls: tuple[Call, ...], type: TensorType | None
    ) -> None:
        results = tuple(map(_name, target.elts if isinstance(target, ast.Tuple) else [target]))
        path = f"{calls[-1].path}." if calls else ""
        arguments = [self._argument(each, path) for each in node.args]
        named = {str(each.arg): self._argument(each.value, path) for each in node.keywords}
        name = ast.unparse(node.func)
        given = dict(_completed(name, arguments, named))
        first = next((each for argument in given.values() for each in refs(argument)), None)
        made = type or (self._types[first] if first else None)
        if made is not None:
            self._types |= dict.fromkeys(results, made)
        code = self._lines[node.lineno - 1].strip()
        frames = (Frame("model.py", node.lineno, "forward", code),)
        self._operations.append(Operation(name, given, results, calls, frames))

    def _argument(self, node: ast.expr, path: str) -> Any:
        match node:
            case ast.Name(id=name):
                if name in _DIMS:
                    return _DIMS[name]
                return DType(name) if name in _DTYPES else Ref(name)
            case ast.Call(func=ast.Name(id="w"), args=[key, *sizes]):
                return self._weight(f"{path}{ast.literal_eval(key)}", tuple(map(ast.literal_eval, sizes)))
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return self._argument(left, path) * self._argument(right, path)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return tuple(self._argument(each, path) for each in items)
            case _:
                return ast.literal_eval(node)

    def _weight(self, key: str, sizes: tuple[int, ...]) -> Ref:
        value = f"p_{key.replace('.', '_')}"
        self._weights[value] = key
        self._types[value] = TensorType(DType.FLOAT32, sizes)
        return Ref(value)


def _completed(name: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """All arguments by the schema's names, as a capture has them."""
    base, _, overload = name.partition(".")
    schema = getattr(getattr(torch.ops.aten, base), overload or "default")._schema
    for number, each in enumerate(schema.arguments):
        if number < len(arguments):
            yield each.name, arguments[number]
        elif each.name in named:
            yield each.name, named[each.name]
        elif each.has_default_value():
            default = each.default_value
            yield each.name, tuple(default) if isinstance(default, list) else default


def _type(node: ast.expr) -> TensorType:
    assert isinstance(node, ast.Subscript)
    sizes = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    names = [ast.unparse(each) for each in sizes]
    shape = tuple(_DIMS[name] if name in _DIMS else int(name) for name in names)
    return TensorType(DType(ast.unparse(node.value)), shape)


def _name(node: ast.expr) -> str:
    assert isinstance(node, ast.Name)
    return node.id
