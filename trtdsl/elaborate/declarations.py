"""What a model declares: dimensions, profiles, inputs and outputs; in the end, its graph."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, Origin, Span, did_you_mean
from trtdsl.elaborate.blocks import dtype_named
from trtdsl.elaborate.expressions import Expressions
from trtdsl.elaborate.mistakes import POISON, Mistake, Poisoned, Report, mistake
from trtdsl.elaborate.scope import Scope
from trtdsl.elaborate.values import in_words, instead_of
from trtdsl.ir import Graph, Output, Profile, Value, misplaced, walk
from trtdsl.syntax import tree
from trtdsl.types import (
    LARGEST_DIM,
    Dim,
    DType,
    Symbol,
    SymbolicDim,
    TensorType,
    ValueRange,
    beside_step,
    symbol,
    symbols,
)

_A_RANGE = re.compile(r"\bdim\b[^{};#\n]*\.\.[^{};#\n]*\.\.[^{};#\n]*$")

HIGHEST_RANK = 8

Sizes: TypeAlias = tuple[int, int, int]
"""A range: minimum, optimum and maximum."""


class Dimension(msgspec.Struct, frozen=True):
    """A declared dynamic dimension; its symbol spans all profiles, ``own`` is the default profile's range."""

    symbol: Symbol
    own: Sizes
    span: Span


class Declarations:
    """Carries out one model's declarations."""

    def __init__(self, model: tree.Model, expressions: Expressions, report: Report) -> None:
        self.model = model
        self.expressions = expressions
        self.report = report
        self.inputs: list[tuple[Value, Span]] = []
        self.outputs: list[Output] = []
        self.output_spans: dict[str, Span] = {}
        self.dims: dict[str, Dimension] = {}
        self.sizes: dict[str, tuple[Dim, Span]] = {}
        """what each `dim` stands for, dynamic or fixed, and where it says so"""
        self._profiles = [s for s in self.model.body if isinstance(s, tree.Profile)]
        self.profiles: dict[str, dict[str, Sizes]] = {s.name.text: {} for s in self._profiles}
        self.expressions.placer.profiles = self._by_profile
        # An input keeps its name, whatever is placed before it, and a dimension is its own beside all values.
        names = self.expressions.placer.builder.names
        names.taken.update(s.name.text for s in self.model.body if isinstance(s, (tree.Input, tree.Dim)))

    def declare(self, statement: tree.Dim | tree.Profile | tree.Input | tree.Output, scope: Scope) -> None:
        """Carry out one declaration."""
        match statement:
            case tree.Dim():
                self._dim(statement, scope)
            case tree.Profile():
                self._profile(statement, scope)
            case tree.Input():
                self._input(statement, scope)
            case tree.Output():
                self._output(statement, scope)

    def _twice(self, text: str, span: Span, first: Span) -> None:
        """Report a second declaration; the first stands."""
        self.report.add(Diagnostic(text, span, origins=(Origin(first, "first here"),)))

    # Dimensions and profiles

    def _dim(self, statement: tree.Dim, scope: Scope) -> None:
        name = statement.name
        if name.text in self.sizes:
            _, first = self.sizes[name.text]
            self._twice(f"`dim {name.text}` is declared twice", name.span, first)
            return
        if isinstance(statement.value, tree.Range):
            value = self._dynamic(statement, statement.value, scope)
        else:
            value = self._size(statement.value, scope)
        self.sizes[name.text] = (value, name.span)
        scope.names[name.text] = value

    def _dynamic(self, statement: tree.Dim, value: tree.Range, scope: Scope) -> Dim:
        name, step = statement.name, self._step(statement, scope)
        own = self._range(value, scope)
        self._require_multiples(name.text, step, value, own)
        ranges = [own]
        for written, found in self._profile_ranges(name.text, scope):
            self._require_multiples(name.text, step, written, found)
            ranges.append(found)
        low, high = min(r[0] for r in ranges), max(r[2] for r in ranges)
        low, best, high = (size // step * step for size in (low, own[1], high))
        self.dims[name.text] = Dimension(Symbol(name.text, low, best, high, step), own, name.span)
        return symbol(name.text, low, best, high, step)

    def _step(self, statement: tree.Dim, scope: Scope) -> int:
        if statement.step is None:
            return 1
        step, place = self.expressions.value(statement.step, scope), statement.step.span
        if type(step) is not int:
            raise mistake(f"a step is a whole number, not {in_words(step)}", place)
        if not 1 <= step <= LARGEST_DIM:
            raise mistake(f"a step must be at least 1, not {in_words(step).strip('`')}", place)
        return step

    def _require_multiples(self, name: str, step: int, written: tree.Range | tree.Expr, sizes: Sizes) -> None:
        """Report the ends of a range that the steps do not reach."""
        ends = (written,) * 3
        if isinstance(written, tree.Range):
            ends = (written.minimum, written.optimum, written.maximum)
        for end, size in dict(zip(ends, sizes, strict=True)).items():
            if help := beside_step(size, step):
                text = f"`{name}` goes in steps of {step}, which do not reach {size}"
                self.report.add(Diagnostic(text, end.span, help=(help,)))

    def warn_of_rebinding(self, name: tree.Name, value: object, scope: Scope) -> None:
        """Warn where a name that a `dim` gave to a size is bound to something else, or a comma is missing."""
        before = name.span.source.line(name.span.line)[: name.span.column - 1]
        if name.text == "step" and _A_RANGE.search(before):
            text = "this binds a name `step`: the dimension before it has no step"
            help = ("a comma stands before it: `dim H = 64 .. 256 .. 512, step = 32`",)
            self.report.warn(Diagnostic(text, name.span, help=help, severity="warning"))
        size, declared = self.sizes.get(name.text, (None, None))
        if declared is None or scope.names.get(name.text) != size:
            return
        if isinstance(value, (int, SymbolicDim)) and value == size:
            return
        text = f"from here on, `{name.text}` is no longer `dim {name.text}`"
        origins, help = (Origin(declared, "declared here"),), ("give the value a name of its own",)
        self.report.warn(Diagnostic(text, name.span, "", origins, help, severity="warning"))

    def _profile_ranges(self, dim: str, scope: Scope) -> Iterator[tuple[tree.Range | tree.Expr, Sizes]]:
        for profile in self._profiles:
            for name, value in profile.ranges:
                if name.text == dim and dim not in self.profiles[profile.name.text]:
                    found = self._range(value, scope)
                    self.profiles[profile.name.text][dim] = found
                    yield value, found

    def _profile(self, statement: tree.Profile, scope: Scope) -> None:
        name = statement.name
        if name.text == "default":
            text = "the profile `default` is what the `dim` statements say; name this one otherwise"
            raise mistake(text, name.span)
        first = next(profile.name for profile in self._profiles if profile.name.text == name.text)
        if first is not name:
            self._twice(f"profile `{name.text}` is declared twice", name.span, first.span)
            return
        seen: dict[str, Span] = {}
        for dim, _ in statement.ranges:
            if dim.text in seen:
                self._twice(f"profile `{name.text}` sets `{dim.text}` twice", dim.span, seen[dim.text])
                continue
            seen[dim.text] = dim.span
            if dim.text not in self.dims and scope.names.get(dim.text) is not POISON:
                self.report.add(Diagnostic(self._no_dimension(name.text, dim.text, scope), dim.span))

    def _no_dimension(self, profile: str, dim: str, scope: Scope) -> str:
        if isinstance(scope.names.get(dim), int):
            return f"profile `{profile}` sets `{dim}`, which is fixed at {scope.names[dim]}"
        guess = did_you_mean(dim, self.dims)
        return f"profile `{profile}` sets `{dim}`, which is not a dynamic dimension{guess}"

    def _range(self, value: tree.Range | tree.Expr, scope: Scope) -> Sizes:
        """A range; one that is not in order is reported and put in order, so that the rest can be checked."""
        if not isinstance(value, tree.Range):
            size = self._size(value, scope)
            return size, size, size
        low, best, high = (self._size(e, scope) for e in (value.minimum, value.optimum, value.maximum))
        if not low <= best <= high:
            text = f"a range is `min .. opt .. max` in rising order, not {low} .. {best} .. {high}"
            self.report.add(Diagnostic(text, value.span))
            low, best, high = sorted((low, best, high))
        return low, best, high

    def _size(self, expr: tree.Expr, scope: Scope) -> int:
        value = self.expressions.value(expr, scope)
        if isinstance(value, bool) or not isinstance(value, int):
            raise mistake(f"a dimension is a whole number, not {in_words(value)}", expr.span)
        if not 0 <= value <= LARGEST_DIM:
            raise mistake(f"a dimension must be between 0 and {LARGEST_DIM}, not {value}", expr.span)
        return value

    # Inputs and outputs

    def _input(self, statement: tree.Input, scope: Scope) -> None:
        name, declared = statement.name, statement.type
        first = next((span for value, span in self.inputs if value.name == name.text), None)
        if first is not None:
            self._twice(f"input `{name.text}` is declared twice", name.span, first)
            return
        if declared.dtype is None:
            raise mistake(f"an input needs a dtype: `input {name.text}: float32[…]`", declared.span)
        dtype = dtype_named(declared.dtype)
        shape = tuple(self._input_dim(expr, scope) for expr in declared.shape)
        if len(shape) > HIGHEST_RANK:
            text = f"TensorRT's tensors have at most {HIGHEST_RANK} dimensions, not {len(shape)}"
            raise mistake(text, declared.span)
        type = TensorType(dtype, shape)
        if type.excess:
            raise mistake(f"no tensor of TensorRT is this large: {type.excess}", declared.span)
        value = Value(name.text, type)
        if statement.values is not None:
            self.expressions.placer.ranges[value] = self._values(statement.values, dtype, scope)
        self.inputs.append((value, name.span))
        scope.names[name.text] = value
        output = next((output for output in self.outputs if output.name == name.text), None)
        if output is not None:
            self._clash(name.text, self.output_spans[name.text], name.span, "…")

    def _values(self, written: tree.ValueRange, dtype: DType, scope: Scope) -> ValueRange:
        if dtype.is_bool:
            raise mistake("bools have no range: they are false and true", written.span)
        low, high = (self._bound(expr, dtype, scope) for expr in (written.low, written.high))
        if low > high:
            text = f"a range goes from its lowest value to its highest, not from {low} to {high}"
            raise mistake(text, written.span)
        return ValueRange(low, high)

    def _bound(self, expr: tree.Expr, dtype: DType, scope: Scope) -> int | float:
        value = self.expressions.value(expr, scope)
        if isinstance(value, bool) or not isinstance(value, int if dtype.is_integer else (int, float)):
            wanted = "integers" if dtype.is_integer else "numbers"
            raise mistake(f"the ends of a range of {dtype} are {wanted}, not {in_words(value)}", expr.span)
        if not dtype.holds(value):
            raise mistake(f"{in_words(value)} does not fit {dtype}", expr.span)
        if not math.isfinite(value):
            raise mistake(f"the ends of a range are finite, not {in_words(value)}", expr.span)
        return value if dtype.is_integer else float(value)

    def _input_dim(self, expr: tree.Expr, scope: Scope) -> Dim:
        try:
            value = self.expressions.value(expr, scope)
        except Mistake as error:
            if error.diagnostic.help or not _is_unknown(expr, scope):
                raise
            name = expr.span.text
            text = f"unknown name `{name}`{did_you_mean(name, scope.names)}"
            help = (f"declare the dimension before the input: `dim {name} = 1 .. 8 .. 64`",)
            raise Mistake(replace(error.diagnostic, message=text, help=help), error.around) from error
        if value is None or value == -1 or isinstance(value, str):
            text = f"a dynamic dimension has a name, not {in_words(value)}"
            help = "declare it before the input, `dim N = 1 .. 8 .. 64`, and put its name here"
            raise mistake(text, expr.span, "", help)
        return value if isinstance(value, SymbolicDim) else self._size(expr, scope)

    def _output(self, statement: tree.Output, scope: Scope) -> None:
        if statement.value is not None:
            (name,) = statement.names
            value = self.expressions.value(statement.value, scope, [name.text])
            self._add_output(name, value, statement.value.span)
            scope.names[name.text] = value
            return
        for name in statement.names:
            try:
                self._add_output(name, scope.find(name), name.span)
            except Mistake as error:
                self.report.add(error.diagnostic)
            except Poisoned:
                continue

    def _add_output(self, name: tree.Name, value: object, place: Span) -> None:
        if not isinstance(value, Value):
            text = f"an output must be a tensor, not {in_words(value)}"
            raise mistake(text, place, "", instead_of(value, place))
        first = next((output for output in self.outputs if output.name == name.text), None)
        if first is not None:
            self._twice(f"output `{name.text}` is declared twice", name.span, self.output_spans[name.text])
            return
        self.outputs.append(Output(name.text, value, (Origin(name.span),)))
        self.output_spans[name.text] = name.span
        given = next((span for value, span in self.inputs if value.name == name.text), None)
        if given is not None:
            self._clash(name.text, name.span, given, place.text if place.text.isidentifier() else "…")

    def _clash(self, name: str, output: Span, given: Span, value: str) -> None:
        """Report an output with an input's name: TensorRT tells its tensors apart by their names."""
        text = f"two inputs or outputs are called `{name}`"
        own = "y" if name != "y" else "z"
        help = (f"give the output a name of its own: `output {own} = {value}`",)
        self.report.add(Diagnostic(text, output, "the output", (Origin(given, "the input"),), help))

    # The result

    def _by_profile(self) -> dict[str, dict[str, Sizes]]:
        """The ranges of the dimensions that are declared so far, in each profile."""
        default = {name: dim.own for name, dim in self.dims.items()}
        further = {name: {**default, **own} for name, own in self.profiles.items()}
        return {"default": default, **further} if default else further

    def graph(self) -> Graph:
        """The finished graph; raises every mistake found."""
        self.report.raise_errors()
        if not self.outputs:
            name = self.model.name
            self.report.add_last(Diagnostic(f"model `{name.text}` has no output", name.span))
        self._check_inputs()
        self._check_modules()
        self._check_dims()
        self.report.raise_errors()
        profiles = [Profile(name, ranges) for name, ranges in self._by_profile().items()]
        graph = Graph(
            self.model.name.text,
            tuple(value for value, _ in self.inputs),
            tuple(self.expressions.placer.builder.nodes),
            tuple(self.outputs),
            tuple(dim.symbol for dim in self.dims.values()),
            tuple(profiles),
            self.model.documentation,
            {value.name: values for value, values in self.expressions.placer.ranges.items()},
        )
        for node, problem in misplaced(graph):
            self.report.add(Diagnostic.at(problem, node.origins))
        self.report.raise_errors()
        return graph

    def _check_inputs(self) -> None:
        used = {value for node in self.expressions.placer.builder.nodes for value in node.operands}
        used |= {output.value for output in self.outputs}
        for value, span in self.inputs:
            if value not in used:
                text = f"input `{value.name}` is never used"
                self.report.warn(Diagnostic(text, span, severity="warning"))

    def _check_modules(self) -> None:
        for configured in self.expressions.caller.waiting.values():
            text = (
                f"`{configured.callee.name}` has a label and is given no tensor, so it is not in the network"
            )
            self.report.warn(Diagnostic(text, configured.span, severity="warning"))

    def _check_dims(self) -> None:
        """Every dynamic dimension that matters can be read off an input's shape at run time."""
        shown = [dim for value, _ in self.inputs for dim in value.type.shape]
        for name, dim in self.dims.items():
            if any(_tells(shape, dim.symbol) for shape in shown):
                continue
            if any(dim.symbol in symbols(shape) for shape in (*shown, *self._computed())):
                text = f"no input has `{name}` as a dimension, so its size cannot be known at run time"
                self.report.add(Diagnostic(text, dim.span))
            else:
                text = f"dimension `{name}` is never used"
                self.report.warn(Diagnostic(text, dim.span, severity="warning"))

    def _computed(self) -> Sequence[Dim]:
        graph = Graph("", (), tuple(self.expressions.placer.builder.nodes), ())
        shapes = {value.type.shape for node in walk(graph) for value in node.results}
        return [dim for shape in shapes for dim in shape]


def _tells(dim: Dim, wanted: Symbol) -> bool:
    """Whether a symbol's value follows from a dimension's: that is ``scale * symbol + offset``."""
    return isinstance(dim, SymbolicDim) and {*dim.by_monomial} - {()} == {(wanted,)}


def _is_unknown(expr: tree.Expr, scope: Scope) -> bool:
    """Whether it is a name alone that nothing has."""
    match expr:
        case tree.Path(parts=(tree.Name(text=name),)):
            return name not in scope.names and name not in scope.globals
        case _:
            return False
