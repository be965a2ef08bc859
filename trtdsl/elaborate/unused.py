"""Blocks and defs that nothing enters → what is wrong with them whatever they are given.

In: a block's or def's tree and the names of its file.  Out: mistakes: names that nothing binds, and keywords
that the operator, block or def named there does not have. What depends on a call is left to the calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trtdsl.diagnostics import Diagnostic, did_you_mean
from trtdsl.elaborate.blocks import dtype_named
from trtdsl.elaborate.loops import names_of
from trtdsl.elaborate.mistakes import Mistake, mistake
from trtdsl.elaborate.scope import Scope, attribute
from trtdsl.elaborate.statements import bound_names
from trtdsl.elaborate.values import BlockRef, DefRef, Namespace, OperatorRef
from trtdsl.ops.base import Op
from trtdsl.syntax import tree


class _Unknown:
    """The value of a name that the block or def binds."""


def mistakes_in(item: tree.Block | tree.Def, globals: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """What is wrong with a block or def that is never called."""
    bound = {*_bound(item)}
    checker = _Checker(Scope(globals, names=dict.fromkeys(bound, _Unknown())))
    for part in (*item.parameters, *_tensors(item), *item.body):
        yield from checker.mistakes(part)


def mistakes_of(expr: tree.Expr, scope: Scope) -> Iterator[Diagnostic]:
    """What is wrong with an expression that is evaluated later, in this scope."""
    yield from _Checker(scope).mistakes(expr)


def _tensors(item: tree.Block | tree.Def) -> tuple[tree.TensorParameter, ...]:
    return item.tensors if isinstance(item, tree.Block) else ()


def _bound(item: tree.Block | tree.Def) -> Iterator[str]:
    """The names that a block or def binds anywhere, sizes named in a header included."""
    for parameter in (*item.parameters, *_tensors(item)):
        yield parameter.name.text
    for tensor in _tensors(item):
        for size in tensor.type.shape if tensor.type else ():
            if isinstance(size, tree.Path) and len(size.parts) == 1:
                yield size.parts[0].text
    for statement in item.body:
        yield from bound_names(statement)
    yield from _comprehended(item)


def _comprehended(node: object) -> Iterator[str]:
    """The names that comprehensions bind anywhere inside."""
    if isinstance(node, tuple):
        for part in node:
            yield from _comprehended(part)
    elif isinstance(node, tree.Node):
        if isinstance(node, tree.Comprehended):
            yield from (name.text for name in names_of(node.targets))
        for field in node.__struct_fields__:
            yield from _comprehended(getattr(node, field))


class _Checker:
    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def mistakes(self, node: object) -> Iterator[Diagnostic]:
        """Of a part of the tree and all that is in it."""
        if isinstance(node, tuple):
            for part in node:
                yield from self.mistakes(part)
            return
        if not isinstance(node, tree.Node) or isinstance(node, tree.Name):
            return
        try:
            self._check(node)
        except Mistake as error:
            yield error.diagnostic
        yield from self._inside(node)

    def _inside(self, node: tree.Node) -> Iterator[Diagnostic]:
        for field in node.__struct_fields__:
            part = getattr(node, field)
            callee = field == "callee" and isinstance(part, tree.Path)
            stated = isinstance(node, tree.Label) and isinstance(part, tree.Path)
            if not callee and not stated:
                yield from self.mistakes(part)

    def _check(self, node: tree.Node) -> None:
        match node:
            case tree.Path():
                self._path(node)
            case tree.Call(callee=tree.Path() as path):
                self._keywords(self._path(path), node.arguments)
            case tree.TypeExpr(dtype=tree.Name() as dtype):
                dtype_named(dtype)
            case _:
                pass

    def _path(self, path: tree.Path) -> Any:
        """What a name surely stands for; something unknown where the block or def itself binds it."""
        value = self.scope.find(path.parts[0])
        if isinstance(value, Namespace) and len(path.parts) > 1:
            return attribute(value, path.parts[1], path.parts[0].span)
        return value if len(path.parts) == 1 else None

    def _keywords(self, callee: Any, arguments: tuple[tree.Argument, ...]) -> None:
        known = _keywords_of(callee)
        for argument in arguments:
            name = argument.name
            if known is None or name is None or name.text in known:
                continue
            function = isinstance(callee, DefRef) or (
                isinstance(callee, OperatorRef) and not callee.is_module
            )
            kind = "argument" if function else "parameter"
            guess = did_you_mean(name.text, known)
            raise mistake(f"`{callee.name}` has no {kind} `{name.text}`{guess}", name.span)


def _keywords_of(callee: Any) -> dict[str, None] | None:
    """Every name that an argument of a callee may have, in whichever of its lists; None where that depends
    on its configuration."""
    if isinstance(callee, (BlockRef, DefRef)):
        declared = (*callee.declared.parameters, *_tensors(callee.declared))
        return dict.fromkeys(parameter.name.text for parameter in declared)
    if not isinstance(callee, OperatorRef):
        return None
    op, spelling = callee.op, callee.spelling
    if op.slots is not Op.slots or op.further:
        return None
    operands = (operand.name for operand in op.operands)
    named = (*op.parameters, *op.ignored, *operands, *op.weight_slots, *op.bodies)
    if spelling is not None:
        named = (*named, *(spelling.parameters or ()), *(spelling.extra or ()))
    return dict.fromkeys(named)
