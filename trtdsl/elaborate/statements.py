"""Statements: names are bound, loops unrolled, blocks entered, inputs and outputs declared.

A mistake ends only its own statement: it is reported, the names the statement would have bound are
poisoned so that nothing further is said about them, and elaboration goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtdsl.diagnostics import Diagnostic, DiagnosticError, Origin, Span, did_you_mean
from trtdsl.elaborate.builder import Builder, Place, join
from trtdsl.elaborate.calls import Call, Caller, bind
from trtdsl.elaborate.expressions import Expressions, Scope
from trtdsl.elaborate.values import (
    POISON,
    Argument,
    BlockRef,
    Mistake,
    Poisoned,
    describe,
    is_tensor,
    mistake,
)
from trtdsl.ir import Graph, Output, Profile, Value
from trtdsl.syntax import tree
from trtdsl.types import Dim, DType, Symbol, SymbolicDim, TensorType, Undecided, equal, symbol, symbols

MOST_ERRORS = 20
MOST_STATEMENTS = 1_000_000
LARGEST_DIM = 2**31 - 1
"""TensorRT keeps a tensor below this many elements along a dimension."""


class Returned(Exception):
    """A block's `return` was reached; carries its value."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


@dataclass
class Interface:
    """What a model declares of itself while it is run."""

    inputs: list[tuple[Value, Span]] = field(default_factory=list[tuple[Value, Span]])
    outputs: list[Output] = field(default_factory=list[Output])
    dims: dict[str, tuple[Symbol, tuple[int, int, int], Span]] = field(
        default_factory=dict[str, tuple[Symbol, tuple[int, int, int], Span]]
    )
    profiles: dict[str, dict[str, tuple[int, int, int]]] = field(
        default_factory=dict[str, dict[str, tuple[int, int, int]]]
    )


class Elaboration:
    """Runs one model's statements."""

    def __init__(self) -> None:
        self.builder = Builder()
        self.expressions = Expressions(Caller(self.builder, self.enter_block))
        self.interface = Interface()
        self.errors: dict[tuple[Any, ...], Diagnostic] = {}
        self.statements = 0

    # Mistakes

    def report(self, diagnostic: Diagnostic, place: Place) -> None:
        """Keep a diagnostic once, however many times a block or loop repeats it."""
        if not diagnostic.origins and place.origins:
            diagnostic = dataclasses.replace(diagnostic, origins=place.origins)
        span = diagnostic.span
        key = (diagnostic.message, span and (span.source.name, span.start, span.end))
        self.errors.setdefault(key, diagnostic)
        if len(self.errors) >= MOST_ERRORS:
            raise DiagnosticError(*self.errors.values())

    def run(self, statements: Sequence[tree.Statement], scope: Scope, model: bool) -> None:
        """Run statements in order; raises :class:`Returned` at a `return`."""
        for statement in statements:
            self.statements += 1
            if self.statements > MOST_STATEMENTS:
                raise DiagnosticError(
                    Diagnostic(f"the model takes more than {MOST_STATEMENTS} statements", statement.span)
                )
            try:
                self._statement(statement, scope, model)
            except Mistake as error:
                self.report(error.diagnostic, scope.place)
                self._poison(statement, scope)
            except Poisoned:
                self._poison(statement, scope)

    def _poison(self, statement: tree.Statement, scope: Scope) -> None:
        if isinstance(statement, tree.Return):
            raise Returned(POISON)
        for name in _bound_names(statement):
            scope.names[name] = POISON

    def _statement(self, statement: tree.Statement, scope: Scope, model: bool) -> None:
        match statement:
            case tree.Assign():
                self._assign(statement, scope)
            case tree.For():
                self._for(statement, scope, model)
            case tree.If():
                taken = self.expressions.condition(statement.condition, scope)
                self.run(statement.body if taken else statement.otherwise, scope, model)
            case tree.Assert():
                self._assert(statement, scope)
            case tree.Return():
                if model:
                    raise mistake(
                        "`return` ends a block; a model ends with `output name = …`", statement.span
                    )
                hints = [v.parts[0].text if isinstance(v, tree.Path) else "" for v in statement.values]
                values = [self.expressions.value(v, scope) for v in statement.values]
                del hints
                raise Returned(values[0] if len(values) == 1 else tuple(values))
            case tree.Dim() | tree.Profile() | tree.Input() | tree.Output():
                self._declaration(statement, scope, model)
            case tree.Scan() | tree.Emit() | tree.Weights():
                word = type(statement).__name__.lower()
                raise mistake(f"`{word}` is not built yet", _head(statement.span, word))

    # Binding and control

    def _assign(self, statement: tree.Assign, scope: Scope) -> None:
        names = [target.text for target in statement.targets]
        value = self.expressions.value(statement.value, scope, names)
        if len(names) == 1:
            scope.names[names[0]] = value
            return
        for name, item in zip(names, _unpacked(value, len(names), statement.value.span), strict=True):
            if name != "_":
                scope.names[name] = item

    def _for(self, statement: tree.For, scope: Scope, model: bool) -> None:
        items = self.expressions.value(statement.iterable, scope)
        if not isinstance(items, (list, tuple)):
            raise mistake(
                f"`for` runs over a list, a tuple or a range, not {describe(items)}", statement.iterable.span
            )
        names = [target.text for target in statement.targets]
        for item in items:  # pyright: ignore[reportUnknownVariableType]
            values = [item] if len(names) == 1 else _unpacked(item, len(names), statement.iterable.span)
            scope.names.update(zip(names, values, strict=True))
            self.run(statement.body, scope, model)

    def _assert(self, statement: tree.Assert, scope: Scope) -> None:
        if self.expressions.condition(statement.condition, scope):
            return
        message = self.expressions.string(statement.message, scope) if statement.message else ""
        raise mistake(
            message or f"assertion failed: `{statement.condition.span.text}`", statement.condition.span
        )

    # Blocks

    def enter_block(
        self, callee: BlockRef, configuration: Sequence[Argument], tensors: Sequence[Argument], call: Call
    ) -> Any:
        """Run a block's body at a place; gives what it returns."""
        block = callee.block
        if block in call.place.blocks:
            cycle = [*(b.name.text for b in reversed(call.place.blocks) if isinstance(b, tree.Block))]
            chain = " → ".join([*cycle[cycle.index(callee.name) :], callee.name])
            raise mistake(
                f"block `{callee.name}` uses itself: {chain}", call.span, "", "blocks cannot recurse"
            )
        unlabelled = call.place.unlabelled
        if call.label is None and unlabelled is None:
            unlabelled = (call.span, callee.name)
        place = Place(
            join(call.place.path, call.label), call.place.origins, unlabelled, (block, *call.place.blocks)
        )
        scope = Scope(callee.globals, place)
        self._bind_parameters(callee, configuration, scope, call)
        self._bind_tensors(callee, tensors, scope, call)
        try:
            self.run(block.body, scope, model=False)
        except Returned as returned:
            if returned.value is POISON:
                raise Poisoned from returned
            return returned.value
        raise mistake(f"block `{callee.name}` returns nothing", block.name.span)

    def _bind_parameters(
        self, callee: BlockRef, configuration: Sequence[Argument], scope: Scope, call: Call
    ) -> None:
        parameters = callee.block.parameters
        for argument in configuration:
            if is_tensor(argument.value):
                raise mistake(
                    f"the first list of `{callee.name}` takes compile-time values, not {describe(argument.value)}",
                    argument.span,
                )
        order = [parameter.name.text for parameter in parameters]
        given = bind(callee.name, order, None, configuration, call.span, "parameter")
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
        given = bind(callee.name, [t.name.text for t in declared], None, tensors, call.span, "tensor")
        for tensor in declared:
            name = tensor.name.text
            if name not in given:
                if tensor.default is None:
                    raise mistake(f"`{callee.name}` needs the tensor `{name}`", call.span)
                scope.names[name] = self.expressions.value(tensor.default, scope)
                continue
            argument = given[name]
            scope.names[name] = argument.value
            if tensor.type is not None and (argument.value is not None or tensor.default is None):
                self._match_header(callee, name, tensor.type, argument, scope, call)

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
        value = argument.value
        if not is_tensor(value):
            raise mistake(f"`{name}` of `{callee.name}` must be a tensor, not {describe(value)}", call.span)
        header = (Origin(declared.span, "declared here"),)
        if value.type.rank != len(declared.shape):
            message = f"`{name}` of `{callee.name}` has rank {len(declared.shape)}, but this tensor has {value.type.rank}"
            raise Mistake(Diagnostic(message, call.span, f"it is {value.type}", header))
        if declared.dtype is not None and _dtype(declared.dtype) != value.type.dtype:
            message = (
                f"`{name}` of `{callee.name}` is {declared.dtype.text}, but this tensor is {value.type.dtype}"
            )
            raise Mistake(Diagnostic(message, call.span, f"it is {value.type}", header))
        for axis, (expr, size) in enumerate(zip(declared.shape, value.type.shape, strict=True)):
            self._match_dim(callee, name, axis, expr, size, value, scope, call)

    def _match_dim(
        self,
        callee: BlockRef,
        name: str,
        axis: int,
        expr: tree.Expr,
        size: Dim,
        value: Value,
        scope: Scope,
        call: Call,
    ) -> None:
        if isinstance(expr, tree.Path) and len(expr.parts) == 1 and expr.parts[0].text not in scope.names:
            scope.names[expr.parts[0].text] = size
            return
        wanted = self.expressions.value(expr, scope)
        if not _is_dim(wanted):
            raise mistake(f"a dimension is a whole number, not {describe(wanted)}", expr.span)
        if _equal(wanted, size, call.span):
            return
        message = (
            f"dimension {axis} of `{name}` is `{expr.span.text}`{_is(expr, wanted)} in `{callee.name}`,"
            f" but this tensor has {size}"
        )
        raise Mistake(
            Diagnostic(message, call.span, f"it is {value.type}", (Origin(expr.span, "declared here"),))
        )

    # A model's declarations

    def _declaration(
        self, statement: tree.Dim | tree.Profile | tree.Input | tree.Output, scope: Scope, model: bool
    ) -> None:
        if not model:
            word = type(statement).__name__.lower()
            raise mistake(f"`{word}` belongs to a model, not to a block", _head(statement.span, word))
        match statement:
            case tree.Dim():
                self._dim(statement, scope)
            case tree.Profile():
                self._check_profile(statement)
            case tree.Input():
                self._input(statement, scope)
            case tree.Output():
                self._output(statement, scope)

    def _dim(self, statement: tree.Dim, scope: Scope) -> None:
        name = statement.name
        if name.text in self.interface.dims:
            first = self.interface.dims[name.text][2]
            raise Mistake(
                Diagnostic(
                    f"`dim {name.text}` is declared twice", name.span, origins=(Origin(first, "first here"),)
                )
            )
        if not isinstance(statement.value, tree.Range):
            scope.names[name.text] = self._size(statement.value, scope, least=0)
            return
        own = self._range(statement.value, scope)
        ranges = [own, *self._profile_ranges(name.text, scope)]
        low, high = min(r[0] for r in ranges), max(r[2] for r in ranges)
        dim = symbol(name.text, low, own[1], high)
        if isinstance(dim, SymbolicDim):
            (atom,) = symbols(dim)
            self.interface.dims[name.text] = (atom, own, name.span)
        scope.names[name.text] = dim

    def declare_profiles(self, statements: Sequence[tree.Statement]) -> None:
        """Look at a model's `profile` statements before its dimensions are declared."""
        self._profiles = [s for s in statements if isinstance(s, tree.Profile)]

    def _profile_ranges(self, dim: str, scope: Scope) -> Iterator[tuple[int, int, int]]:
        for profile in self._profiles:
            for name, value in profile.ranges:
                if name.text == dim:
                    found = self._range(value, scope)
                    self.interface.profiles.setdefault(profile.name.text, {})[dim] = found
                    yield found

    def _check_profile(self, statement: tree.Profile) -> None:
        name = statement.name
        if name.text == "default":
            raise mistake(
                "the profile `default` is what the `dim` statements say; name this one otherwise", name.span
            )
        if sum(profile.name.text == name.text for profile in self._profiles) > 1:
            raise mistake(f"profile `{name.text}` is declared twice", name.span)
        self.interface.profiles.setdefault(name.text, {})
        for dim, _ in statement.ranges:
            if dim.text not in self.interface.dims:
                guess = did_you_mean(dim.text, self.interface.dims)
                raise mistake(
                    f"profile `{name.text}` sets `{dim.text}`, which is no dynamic dimension{guess}", dim.span
                )

    def _range(self, value: tree.Range | tree.Expr, scope: Scope) -> tuple[int, int, int]:
        if not isinstance(value, tree.Range):
            size = self._size(value, scope, least=0)
            return size, size, size
        low, best, high = (
            self._size(e, scope, least=0) for e in (value.minimum, value.optimum, value.maximum)
        )
        if not low <= best <= high:
            raise mistake(
                f"a range is `min .. opt .. max` in rising order, not {low} .. {best} .. {high}", value.span
            )
        return low, best, high

    def _size(self, expr: tree.Expr, scope: Scope, least: int) -> int:
        value = self.expressions.value(expr, scope)
        if isinstance(value, bool) or not isinstance(value, int):
            raise mistake(f"a dimension is a whole number, not {describe(value)}", expr.span)
        if not least <= value <= LARGEST_DIM:
            raise mistake(f"a dimension lies between {least} and {LARGEST_DIM}, {value} does not", expr.span)
        return value

    def _input(self, statement: tree.Input, scope: Scope) -> None:
        name = statement.name
        if any(value.name == name.text for value, _ in self.interface.inputs):
            raise mistake(f"input `{name.text}` is declared twice", name.span)
        if statement.type.dtype is None:
            raise mistake("an input needs a dtype: `input x: float32[…]`", statement.type.span)
        shape = tuple(self._input_dim(expr, scope) for expr in statement.type.shape)
        if len(shape) > 8:
            raise mistake(
                f"TensorRT's tensors have at most 8 dimensions, not {len(shape)}", statement.type.span
            )
        value = Value(self.builder.unique(name.text), TensorType(_dtype(statement.type.dtype), shape))
        self.interface.inputs.append((value, name.span))
        scope.names[name.text] = value

    def _input_dim(self, expr: tree.Expr, scope: Scope) -> Dim:
        value = self.expressions.value(expr, scope)
        return value if isinstance(value, SymbolicDim) else self._size(expr, scope, least=0)

    def _output(self, statement: tree.Output, scope: Scope) -> None:
        for name in statement.names:
            if statement.value is None:
                value = self.expressions.value(tree.Path(name.span, (name,)), scope)
                span = name.span
            else:
                value = self.expressions.value(statement.value, scope, [name.text])
                span = statement.value.span
            if value is POISON:
                raise Poisoned
            if not is_tensor(value):
                raise mistake(f"an output must be a tensor, not {describe(value)}", span)
            if any(output.name == name.text for output in self.interface.outputs):
                raise mistake(f"output `{name.text}` is declared twice", name.span)
            self.interface.outputs.append(Output(name.text, value, (Origin(name.span),)))
            scope.names[name.text] = value

    # The result

    def graph(self, model: tree.Model) -> Graph:
        """The finished graph; raises every mistake found."""
        if not self.interface.outputs and not self.errors:
            self.report(Diagnostic(f"model `{model.name.text}` has no output", model.name.span), Place())
        self._check_inputs()
        if self.errors:
            raise DiagnosticError(*self.errors.values())
        default = {name: own for name, (_, own, _) in self.interface.dims.items()}
        profiles = [Profile("default", default)] if default else []
        profiles += [Profile(name, {**default, **own}) for name, own in self.interface.profiles.items()]
        return Graph(
            model.name.text,
            tuple(value for value, _ in self.interface.inputs),
            tuple(self.builder.nodes),
            tuple(self.interface.outputs),
            tuple(atom for atom, _, _ in self.interface.dims.values()),
            tuple(profiles),
            model.documentation,
        )

    def _check_inputs(self) -> None:
        used = {value for node in self.builder.nodes for value in node.operands}
        used |= {output.value for output in self.interface.outputs}
        for value, span in self.interface.inputs:
            if value not in used and not self.errors:
                text = f"input `{value.name}` is never used"
                self.builder.warnings.append(Diagnostic(text, span, severity="warning"))
        shown = [dim for value, _ in self.interface.inputs for dim in value.type.shape]
        for name, (atom, _, span) in self.interface.dims.items():
            if any(symbols(dim) == {atom} for dim in shown) or not self._is_read(atom, shown):
                continue
            text = f"no input has `{name}` as a dimension of its own, so its size cannot be known at run time"
            self.report(Diagnostic(text, span), Place())

    def _is_read(self, atom: Symbol, shown: Sequence[Dim]) -> bool:
        everywhere = [
            dim for node in self.builder.nodes for value in node.results for dim in value.type.shape
        ]
        return any(atom in symbols(dim) for dim in (*shown, *everywhere))


def _unpacked(value: Any, count: int, span: Span) -> Sequence[Any]:
    if value is POISON:
        raise Poisoned
    if not isinstance(value, (list, tuple)):
        raise mistake(f"{count} names are bound, but this is {describe(value)}", span)
    if len(value) != count:  # pyright: ignore[reportUnknownArgumentType]
        raise mistake(f"{count} names are bound to {len(value)} values", span)  # pyright: ignore[reportUnknownArgumentType]
    return value  # pyright: ignore[reportUnknownVariableType]


def _bound_names(statement: tree.Statement) -> Iterator[str]:
    """The names a statement would have bound, those of its body included."""
    match statement:
        case tree.Assign():
            yield from (target.text for target in statement.targets)
        case tree.For():
            yield from (target.text for target in statement.targets)
            yield from _bound_in(statement.body)
        case tree.If():
            yield from _bound_in((*statement.body, *statement.otherwise))
        case tree.Scan():
            yield from (target.text for target in statement.targets)
            yield from (name.text for name, _ in statement.carried)
            yield from _bound_in(statement.body)
        case tree.Input() | tree.Dim() | tree.Emit():
            yield statement.name.text
        case tree.Output():
            yield from (name.text for name in statement.names)
        case _:
            return


def _bound_in(statements: Sequence[tree.Statement]) -> Iterator[str]:
    for statement in statements:
        yield from _bound_names(statement)


def _dtype(name: tree.Name) -> DType:
    spellings: Mapping[str, DType] = {str(dtype): dtype for dtype in DType}
    if name.text in spellings:
        return spellings[name.text]
    guess = did_you_mean(name.text, spellings)
    known = "" if guess else f"; the dtypes are {', '.join(spellings)}"
    raise mistake(f"unknown dtype `{name.text}`{guess}{known}", name.span)


def _is_dim(value: object) -> bool:
    return isinstance(value, (int, SymbolicDim)) and not isinstance(value, bool)


def _equal(wanted: Dim, size: Dim, span: Span) -> bool:
    try:
        return equal(wanted, size)
    except Undecided as undecided:
        raise mistake(str(undecided), span) from undecided


def _is(expr: tree.Expr, value: Dim) -> str:
    return "" if expr.span.text == str(value) else f" = {value}"


def _head(span: Span, word: str) -> Span:
    """The statement's keyword alone."""
    return dataclasses.replace(span, end=min(span.end, span.start + len(word)))
