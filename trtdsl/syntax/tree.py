"""The syntax tree: what a file says, before any of it is understood.

Every node has the span it was read from. Nothing here checks meaning; `trtdsl.elaborate` does.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from trtdsl.diagnostics import Span


class Node(msgspec.Struct, frozen=True, gc=False):
    """A part of the tree, compared by what it holds; a tree has no cycles to be collected."""

    span: Span


class Name(Node, frozen=True):
    """A bare word that binds something: a parameter, a target, a dimension."""

    text: str


class NestedTargets(Node, frozen=True):
    """``(c, k)`` among the targets of a loop or an assignment."""

    targets: tuple[Target, ...]


Target: TypeAlias = Name | NestedTargets


class Path(Node, frozen=True):
    """A dotted path in an expression: ``x``, ``x.shape``, ``r.BasicBlock``. Parts may be integers."""

    parts: tuple[Name, ...]


class Integer(Node, frozen=True):
    value: int


class Float(Node, frozen=True):
    value: float
    text: str
    """as written, for the formatter"""


class String(Node, frozen=True):
    """``"layer{i}.{j}"``: ``parts`` alternates literal text (escapes resolved) and expressions."""

    parts: tuple[str | Expr, ...]
    text: str
    """as written, quotes included, for the formatter"""


class Boolean(Node, frozen=True):
    value: bool


class NoneLiteral(Node, frozen=True):
    """``none``."""


class Ellipsis(Node, frozen=True):
    """``...`` inside an index."""


class ListLiteral(Node, frozen=True):
    items: tuple[Expr, ...]


class Comprehended(Node, frozen=True):
    """``for targets in iterable if condition`` inside a comprehension."""

    targets: tuple[Target, ...]
    iterable: Expr
    conditions: tuple[Expr, ...]


class Comprehension(Node, frozen=True):
    """``[element for … in … if … for … in …]``."""

    element: Expr
    loops: tuple[Comprehended, ...]


class TupleLiteral(Node, frozen=True):
    """``()``, ``(a,)``, ``(a, b)``; a parenthesised ``(a)`` is :class:`Parenthesised`."""

    items: tuple[Expr, ...]


class Parenthesised(Node, frozen=True):
    inner: Expr


class Unary(Node, frozen=True):
    """``operator`` is ``-`` or ``not``."""

    operator: str
    operand: Expr


class Binary(Node, frozen=True):
    """``operator`` is one of ``+ - * / // % ** @ == != < <= > >= in and or`` and ``not in``."""

    operator: str
    left: Expr
    right: Expr
    operator_span: Span


class Conditional(Node, frozen=True):
    """``then if condition else otherwise``."""

    then: Expr
    condition: Expr
    otherwise: Expr


class Argument(Node, frozen=True):
    """``value`` or ``name = value``."""

    name: Name | None
    value: Expr


class Call(Node, frozen=True):
    """``callee(arguments)``. ``Conv2d(64, 7)(x)`` is a Call whose callee is a Call."""

    callee: Expr
    arguments: tuple[Argument, ...]


class Attribute(Node, frozen=True):
    """``value.name`` where ``value`` is not a plain path: ``f(x).shape``."""

    value: Expr
    name: Name


class Slice(Node, frozen=True):
    """``start:stop:step`` inside an index."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None


class Index(Node, frozen=True):
    """``value[subscripts]``; a subscript is an expression, a Slice or an Ellipsis."""

    value: Expr
    subscripts: tuple[Expr | Slice, ...]


class Label(Node, frozen=True):
    """The state-dict path before a colon: a Path, or a String (with interpolation)."""

    path: Path | String


class Labelled(Node, frozen=True):
    """``label: callee``: ``callee`` is a Path (no arguments) or a Call."""

    label: Label
    value: Path | Call


class Pipe(Node, frozen=True):
    """``head -> stage -> stage``. A stage is a Path, a Call on a Path or on such a Call, or one
    of these Labelled.
    """

    head: Expr
    stages: tuple[Path | Call | Labelled, ...]


Expr: TypeAlias = (
    Path
    | Integer
    | Float
    | String
    | Boolean
    | NoneLiteral
    | Ellipsis
    | ListLiteral
    | Comprehension
    | TupleLiteral
    | Parenthesised
    | Unary
    | Binary
    | Conditional
    | Call
    | Attribute
    | Index
    | Labelled
    | Pipe
)


# Statements


class Range(Node, frozen=True):
    """``minimum .. optimum .. maximum``."""

    minimum: Expr
    optimum: Expr
    maximum: Expr


class Dim(Node, frozen=True):
    """``dim N = 1 .. 8 .. 64``, ``dim H = 64 .. 256 .. 512, step = 32`` or ``dim S = 128``."""

    name: Name
    value: Range | Expr
    step: Expr | None = None


class Profile(Node, frozen=True):
    """``profile small { N = 1 .. 1 .. 1 }``."""

    name: Name
    ranges: tuple[tuple[Name, Range | Expr], ...]


class TypeExpr(Node, frozen=True):
    """``float32[N, 3, H, W]``, or ``[N, C]`` (``dtype`` None) in a block's header."""

    dtype: Name | None
    shape: tuple[Expr, ...]


class ValueRange(Node, frozen=True):
    """``0 .. 50256``: the values of an input."""

    low: Expr
    high: Expr


class Input(Node, frozen=True):
    """``input x: float32[N]`` or ``input ids: int64[N] in 0 .. 50256``."""

    name: Name
    type: TypeExpr
    documentation: str = ""
    values: ValueRange | None = None


class Output(Node, frozen=True):
    """``output y = expr`` (``value`` given, one name) or ``output a, b``."""

    names: tuple[Name, ...]
    value: Expr | None
    documentation: str = ""


class Assign(Node, frozen=True):
    """The first target is a name: no statement begins with a parenthesis."""

    targets: tuple[Target, ...]
    value: Expr


class For(Node, frozen=True):
    targets: tuple[Target, ...]
    iterable: Expr
    body: tuple[Statement, ...]


class If(Node, frozen=True):
    """``otherwise`` holds the ``else`` statements; an ``else if`` is a single nested If."""

    condition: Expr
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


class Assert(Node, frozen=True):
    condition: Expr
    message: String | None


class Return(Node, frozen=True):
    values: tuple[Expr, ...]


class Emit(Node, frozen=True):
    """``emit y = h`` inside a scan."""

    name: Name
    value: Expr


class Scan(Node, frozen=True):
    """``scan xt in x, dim = 0 with h = h0, c = c0 { … emit y = h }``."""

    targets: tuple[Name, ...]
    sequences: tuple[Expr, ...]
    options: tuple[Argument, ...]
    carried: tuple[tuple[Name, Expr], ...]
    body: tuple[Statement, ...]


Line: TypeAlias = "tuple[String, Expr]"
"""A line of a `weights` section: the model's key, and where the checkpoint has it."""


class Weights(Node, frozen=True):
    """``weights { "a.weight" = "b.weight" … }``."""

    entries: tuple[Line, ...]


Statement: TypeAlias = (
    Dim | Profile | Input | Output | Assign | For | If | Assert | Return | Emit | Scan | Weights
)


# Top level


class Import(Node, frozen=True):
    path: String
    alias: Name | None


class Parameter(Node, frozen=True):
    """A parameter of a block's configuration, a def or a model; ``default`` None means required.

    ``by_name`` is told of those after a `*`, which are not given by position.
    """

    name: Name
    default: Expr | None
    by_name: bool = False


class TensorParameter(Node, frozen=True):
    """``x``, ``x: [N, C, H, W]`` or ``x: float32[N, C]`` in a block's second list.

    ``default`` is ``none`` for an optional tensor.
    """

    name: Name
    type: TypeExpr | None
    default: Expr | None


class Block(Node, frozen=True):
    name: Name
    parameters: tuple[Parameter, ...]
    tensors: tuple[TensorParameter, ...]
    body: tuple[Statement, ...]
    documentation: str = ""


class Def(Node, frozen=True):
    """``def name(parameters) { … return … }``."""

    name: Name
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    documentation: str = ""


class Model(Node, frozen=True):
    name: Name
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    documentation: str = ""


class DerivedModel(Node, frozen=True):
    """``model resnet18 = resnet(layers = [2, 2, 2, 2])``: another model with some parameters set."""

    name: Name
    base: Path
    arguments: tuple[Argument, ...]
    documentation: str = ""


class Comment(Node, frozen=True):
    """``text`` includes the ``#``; ``trailing`` is true where code stands before it on its line."""

    text: str
    trailing: bool


Item: TypeAlias = Import | Block | Def | Model | DerivedModel


class File(Node, frozen=True):
    items: tuple[Item, ...]
