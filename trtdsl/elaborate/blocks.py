"""Blocks and defs: entered at a place of the model, their parameters, tensors and dimensions bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from trtdsl.diagnostics import Span, did_you_mean
from trtdsl.elaborate.arguments import match_arguments, require_at_most, require_no_tensors
from trtdsl.elaborate.calls import Call
from trtdsl.elaborate.expressions import Expressions
from trtdsl.elaborate.mistakes import POISON, Mistake, Poisoned, mistake, mistake_with
from trtdsl.elaborate.naming import join
from trtdsl.elaborate.placing import Place
from trtdsl.elaborate.scope import Scope
from trtdsl.elaborate.tensor_arguments import lacking
from trtdsl.elaborate.values import Argument, BlockRef, DefRef, in_words, instead_of, is_tensor
from trtdsl.syntax import tree
from trtdsl.types import OTHER_NAMES, Dim, DType, SymbolicDim, TensorType, Undecided, equal


class Returned(Exception):
    """The `return` of a block or def was reached; carries its value."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class Blocks:
    """Enters blocks and defs; ``run`` runs a body until it raises :class:`Returned`."""

    expressions: Expressions

    def __init__(self, run: Callable[[tree.Block | tree.Def, Scope], None]) -> None:
        self.run = run
        self.entered: set[int] = set()
        """the identities of the blocks and defs that were run at least once"""

    def enter(
        self, callee: BlockRef, configuration: Sequence[Argument], tensors: Sequence[Argument], call: Call
    ) -> Any:
        """Run a block's body at a place; gives what it returns."""
        scope = Scope(callee.globals, _inside(callee, call))
        require_no_tensors(callee.name, configuration)
        self._bind_parameters(callee, configuration, scope, call, "parameter")
        self._bind_tensors(callee, tensors, scope, call)
        return self._returned(callee, scope, "block")

    def call(self, callee: DefRef, arguments: Sequence[Argument], call: Call) -> Any:
        """Run a def's body where it is called; gives what it returns."""
        if call.label is not None:
            raise mistake(
                f"the def `{callee.name}` adds no level to the keys, so it takes no label",
                call.span,
                "",
                "labels inside it belong to the path around the call; a `block` has a level of its own",
            )
        scope = Scope(callee.globals, _inside(callee, call))
        self._bind_parameters(callee, arguments, scope, call, "argument")
        return self._returned(callee, scope, "def")

    def _returned(self, callee: BlockRef | DefRef, scope: Scope, what: str) -> Any:
        self.entered.add(id(callee.declared))
        try:
            self.run(callee.declared, scope)
        except Returned as returned:
            if returned.value is POISON:
                raise Poisoned from returned
            return returned.value
        raise mistake(f"{what} `{callee.name}` returns nothing", callee.declared.name.span)

    def _bind_parameters(
        self, callee: BlockRef | DefRef, arguments: Sequence[Argument], scope: Scope, call: Call, kind: str
    ) -> None:
        parameters = callee.declared.parameters
        order = [parameter.name.text for parameter in parameters if not parameter.by_name]
        by_name = [parameter.name.text for parameter in parameters if parameter.by_name]
        require_at_most(callee.name, order, by_name, arguments)
        given = match_arguments(callee.name, order, arguments, call.span, kind, by_name=by_name)
        for parameter in parameters:
            name = parameter.name.text
            if name in given:
                scope.names[name] = given[name].value
            elif parameter.default is not None:
                scope.names[name] = self.expressions.value(parameter.default, scope)
            else:
                raise mistake(f"`{callee.name}` needs `{name}`", call.span)

    def _bind_tensors(self, callee: BlockRef, tensors: Sequence[Argument], scope: Scope, call: Call) -> None:
        declared = callee.block.tensors
        given = match_arguments(callee.name, [t.name.text for t in declared], tensors, call.span, "tensor")
        for tensor in declared:
            name = tensor.name.text
            if name in given:
                scope.names[name] = given[name].value
                if tensor.type is not None and (given[name].value is not None or tensor.default is None):
                    self._match_header(callee, name, tensor.type, given[name], scope, call)
            elif tensor.default is not None:
                scope.names[name] = self.expressions.value(tensor.default, scope)
            else:
                needed = [each.name.text for each in declared if each.default is None]
                raise lacking(callee.name, name, needed, given, call.span)

    def _match_header(
        self,
        callee: BlockRef,
        name: str,
        declared: tree.TypeExpr,
        argument: Argument,
        scope: Scope,
        call: Call,
    ) -> None:
        """Check a tensor against ``x: float32[N, C]`` and bind the dimensions named there."""
        if not is_tensor(argument.value):
            text = f"`{name}` of `{callee.name}` must be a tensor, not {in_words(argument.value)}"
            raise mistake(text, argument.span, "", instead_of(argument.value, argument.span))
        found: TensorType = argument.value.type
        if found.rank != len(declared.shape):
            text = f"`{name}` of `{callee.name}` has rank {len(declared.shape)}, but this has {found.rank}"
            raise _unlike(text, argument, call, declared.span)
        if declared.dtype is not None and dtype_named(declared.dtype) != found.dtype:
            text = f"`{name}` of `{callee.name}` is {declared.dtype.text}, but this is {found.dtype}"
            raise _unlike(text, argument, call, declared.dtype.span)
        for axis, (expr, size) in enumerate(zip(declared.shape, found.shape, strict=True)):
            if isinstance(expr, tree.Path) and len(expr.parts) == 1 and _is_new(expr.parts[0], scope):
                scope.names[expr.parts[0].text] = size
                continue
            wanted = self._dimension(expr, scope)
            text = (
                f"dimension {axis} of `{name}` of `{callee.name}` is {_is(expr, wanted)}, but this has {size}"
            )
            try:
                same = equal(wanted, size)
            except Undecided as undecided:
                raise _unlike(f"{text}: {undecided}", argument, call, expr.span) from undecided
            if not same:
                raise _unlike(text, argument, call, expr.span)

    def _dimension(self, expr: tree.Expr, scope: Scope) -> Dim:
        value = self.expressions.value(expr, scope)
        if isinstance(value, (int, SymbolicDim)) and not isinstance(value, bool):
            return value
        raise mistake(f"a dimension is a whole number, not {in_words(value)}", expr.span)


def _inside(callee: BlockRef | DefRef, call: Call) -> Place:
    """The place inside a block that is placed by a call, or inside a def that is called."""
    around = call.place
    if callee.declared in around.blocks:
        entered = [item for item in reversed(around.blocks) if isinstance(item, (tree.Block, tree.Def))]
        names = [item.name.text for item in entered[entered.index(callee.declared) :]]
        what = "a block cannot use" if isinstance(callee, BlockRef) else "a def cannot call"
        raise mistake(f"{what} itself: {' → '.join([*names, callee.name])}", call.span)
    unlabelled = around.unlabelled
    if isinstance(callee, BlockRef) and call.label is None and unlabelled is None:
        unlabelled = (call.span, callee.name)
    return replace(
        around,
        path=join(around.path, call.label),
        unlabelled=unlabelled,
        blocks=(callee.declared, *around.blocks),
    )


def dtype_named(name: tree.Name) -> DType:
    """The element type of this name."""
    known = {str(dtype): dtype for dtype in DType}
    if name.text in known:
        return known[name.text]
    guess = "" if name.text in _NO_DTYPES else did_you_mean(name.text, known, OTHER_NAMES)
    help = "" if guess else f"the dtypes are {', '.join(known)}"
    raise mistake(f"unknown dtype `{name.text}`{guess}", name.span, "", help)


_NO_DTYPES = frozenset(("float64", "double", "int16", "short", "uint16", "uint32", "uint64"))
"""PyTorch's dtypes that TensorRT has not."""


def _is_new(name: tree.Name, scope: Scope) -> bool:
    return name.text not in scope.names


def _unlike(text: str, argument: Argument, call: Call, declared: Span) -> Mistake:
    """A tensor is not as the block's header says."""
    type = str(argument.value.type)
    piped = f"`{call.head}` is {type}" if call.head else f"its input is {type}"
    return mistake_with(
        text, argument.span, piped if argument.span == call.span else type, declared, "declared here"
    )


def _is(expr: tree.Expr, value: Dim) -> str:
    return f"{value}" if expr.span.text == str(value) else f"`{expr.span.text}` = {value}"
