"""The syntax tree: what a file says, before any of it is understood.

Every node has the span it was read from. Nothing here checks meaning; `trtdsl.elaborate` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from trtdsl.diagnostics import Span


@dataclass(frozen=True, slots=True)
class Name:
    """A bare word that binds something: a parameter, a target, a dimension."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Path:
    """A dotted path in an expression: ``x``, ``x.shape``, ``r.BasicBlock``. Parts may be integers."""

    span: Span
    parts: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Integer:
    span: Span
    value: int


@dataclass(frozen=True, slots=True)
class Float:
    span: Span
    value: float
    text: str
    """as written, for the formatter"""


@dataclass(frozen=True, slots=True)
class String:
    """``"layer{i}.{j}"``: ``parts`` alternates literal text (escapes resolved) and expressions."""

    span: Span
    parts: tuple[str | Expr, ...]
    text: str
    """as written, quotes included, for the formatter"""


@dataclass(frozen=True, slots=True)
class Boolean:
    span: Span
    value: bool


@dataclass(frozen=True, slots=True)
class NoneLiteral:
    span: Span


@dataclass(frozen=True, slots=True)
class Ellipsis:
    span: Span


@dataclass(frozen=True, slots=True)
class ListLiteral:
    span: Span
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class TupleLiteral:
    """``()``, ``(a,)``, ``(a, b)``; a parenthesised ``(a)`` is :class:`Parenthesised`."""

    span: Span
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Parenthesised:
    span: Span
    inner: Expr


@dataclass(frozen=True, slots=True)
class Unary:
    """``operator`` is ``-`` or ``not``."""

    span: Span
    operator: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary:
    """``operator`` is one of ``+ - * / // % ** @ == != < <= > >= and or``."""

    span: Span
    operator: str
    left: Expr
    right: Expr
    operator_span: Span


@dataclass(frozen=True, slots=True)
class Conditional:
    """``then if condition else otherwise``."""

    span: Span
    then: Expr
    condition: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Argument:
    """``value`` or ``name = value``."""

    span: Span
    name: Name | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Call:
    """``callee(arguments)``. ``Conv2d(64, 7)(x)`` is a Call whose callee is a Call."""

    span: Span
    callee: Expr
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """``value.name`` where ``value`` is not a plain path: ``f(x).shape``."""

    span: Span
    value: Expr
    name: Name


@dataclass(frozen=True, slots=True)
class Slice:
    """``start:stop:step`` inside an index."""

    span: Span
    start: Expr | None
    stop: Expr | None
    step: Expr | None


@dataclass(frozen=True, slots=True)
class Index:
    """``value[subscripts]``; a subscript is an expression, a Slice or an Ellipsis."""

    span: Span
    value: Expr
    subscripts: tuple[Expr | Slice, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """The state-dict path before a colon: a Path, or a String (with interpolation)."""

    span: Span
    path: Path | String


@dataclass(frozen=True, slots=True)
class Labelled:
    """``label: callee``: ``callee`` is a Path (no arguments) or a Call."""

    span: Span
    label: Label
    value: Path | Call


@dataclass(frozen=True, slots=True)
class Pipe:
    """``head -> stage -> stage``. A stage is a Path, a Call on a Path, or one of these Labelled."""

    span: Span
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


@dataclass(frozen=True, slots=True)
class Range:
    """``minimum .. optimum .. maximum``."""

    span: Span
    minimum: Expr
    optimum: Expr
    maximum: Expr


@dataclass(frozen=True, slots=True)
class Dim:
    """``dim N = 1 .. 8 .. 64`` or ``dim S = 128``."""

    span: Span
    name: Name
    value: Range | Expr


@dataclass(frozen=True, slots=True)
class Profile:
    """``profile small { N = 1 .. 1 .. 1 }``."""

    span: Span
    name: Name
    ranges: tuple[tuple[Name, Range | Expr], ...]


@dataclass(frozen=True, slots=True)
class TypeExpr:
    """``float32[N, 3, H, W]``, or ``[N, C]`` (``dtype`` None) in a block's header."""

    span: Span
    dtype: Name | None
    shape: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Input:
    span: Span
    name: Name
    type: TypeExpr
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """``output y = expr`` (``value`` given, one name) or ``output a, b``."""

    span: Span
    names: tuple[Name, ...]
    value: Expr | None
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class Assign:
    span: Span
    targets: tuple[Name, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class For:
    span: Span
    targets: tuple[Name, ...]
    iterable: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class If:
    """``otherwise`` holds the ``else`` statements; an ``else if`` is a single nested If."""

    span: Span
    condition: Expr
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Assert:
    span: Span
    condition: Expr
    message: String | None


@dataclass(frozen=True, slots=True)
class Return:
    span: Span
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Emit:
    """``emit y = h`` inside a scan."""

    span: Span
    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Scan:
    """``scan xt in x, dim = 0 with h = h0, c = c0 { … emit y = h }``."""

    span: Span
    targets: tuple[Name, ...]
    sequences: tuple[Expr, ...]
    options: tuple[Argument, ...]
    carried: tuple[tuple[Name, Expr], ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """``weights { "a.weight" = "b.weight" … }``."""

    span: Span
    entries: tuple[tuple[String, Expr], ...]


Statement: TypeAlias = (
    Dim | Profile | Input | Output | Assign | For | If | Assert | Return | Emit | Scan | Weights
)


# Top level


@dataclass(frozen=True, slots=True)
class Import:
    span: Span
    path: String
    alias: Name | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A configuration parameter of a block or model; ``default`` None means required."""

    span: Span
    name: Name
    default: Expr | None


@dataclass(frozen=True, slots=True)
class TensorParameter:
    """``x``, ``x: [N, C, H, W]`` or ``x: float32[N, C]`` in a block's second list.

    ``default`` is ``none`` for an optional tensor.
    """

    span: Span
    name: Name
    type: TypeExpr | None
    default: Expr | None


@dataclass(frozen=True, slots=True)
class Block:
    span: Span
    name: Name
    parameters: tuple[Parameter, ...]
    tensors: tuple[TensorParameter, ...]
    body: tuple[Statement, ...]
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    span: Span
    name: Name
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """``text`` includes the ``#``; ``trailing`` is true where code stands before it on its line."""

    span: Span
    text: str
    trailing: bool


Item: TypeAlias = Import | Block | Model


@dataclass(frozen=True, slots=True)
class File:
    span: Span
    items: tuple[Item, ...]
    comments: tuple[Comment, ...]
