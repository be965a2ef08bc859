"""The lines of a `weights` section, and the weights of the model that they are about.

In: lines, in the model and in a file of their own, and the finished graph.  Out: the same graph, whose
weights know where a checkpoint has them, and what is wrong with the lines::

    "layers.*.weight" = "blocks.*.w"        # every key that begins and ends so
    "layers.0.weight" = "stem.w"            # the more specific line decides

Of two lines that are about one key, the one decides that says more of it: a key before a pattern, and of
patterns the one with more characters beside its star. Of lines that say as much the file's decides.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trtdsl.diagnostics import Diagnostic, Origin, Span, did_you_mean
from trtdsl.elaborate.expressions import Expressions
from trtdsl.elaborate.mistakes import POISON, Mistake, Poisoned, Report, mistake
from trtdsl.elaborate.scope import Scope
from trtdsl.elaborate.stored import stored_graph
from trtdsl.elaborate.unused import mistakes_of
from trtdsl.elaborate.values import is_tensor
from trtdsl.elaborate.written import names_of, strings_of, written
from trtdsl.ir import Graph, Stored, Value, rebuild
from trtdsl.syntax import tree
from trtdsl.types import SymbolicDim

STAR = "*"


@dataclass(frozen=True, eq=False)
class Line:
    """One line: a key, or a pattern of keys, and where they are."""

    key: str
    span: Span
    value: tree.Expr
    scope: Scope
    rank: int
    """higher where one line stands before another with the same left side"""

    @property
    def precedence(self) -> tuple[bool, int, int]:
        return STAR not in self.key, len(self.key), self.rank

    def match(self, key: str) -> str | None:
        """What the star stands for in a key, "" where there is none; None for a key of another line."""
        if STAR not in self.key:
            return "" if key == self.key else None
        before, _, after = self.key.partition(STAR)
        fits = key.startswith(before) and key.endswith(after) and len(key) > len(before) + len(after)
        return key[len(before) : len(key) - len(after)] if fits else None


class Section:
    """Collects the lines of a model, those of a map in a file of its own with a higher rank."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions
        self.report = Report()
        self.lines: list[Line] = []

    def add(self, entries: Iterable[tree.Line], scope: Scope, rank: int = 0) -> None:
        """Take lines over; what is wrong with one of them, whatever a checkpoint has, is reported."""
        for key, value in entries:
            try:
                self._add(key, value, scope, rank)
            except Mistake as error:
                self.report.add(error.diagnostic)
            except Poisoned:
                continue

    def _add(self, left: tree.String, value: tree.Expr, scope: Scope, rank: int) -> None:
        key = self.expressions.string(left, scope)
        if not key or key.count(STAR) > 1:
            what = "has more than one `*`" if key else "is empty"
            raise mistake(
                f"the left side is a key of the model or a pattern with one `*`, but it {what}", left.span
            )
        first = next((line for line in self.lines if line.key == key and line.rank == rank), None)
        if first is not None:
            origins = (Origin(first.span, "first here"),)
            raise Mistake(Diagnostic(f"two lines say where `{key}` is", left.span, origins=origins))
        self.lines.append(Line(key, left.span, value, scope, rank))
        for diagnostic in _mistakes(key, value, scope):
            self.report.add(diagnostic)

    def applied(self, graph: Graph) -> Graph:
        """The graph with what the lines say of its weights; lines that are about none are reported."""
        used: set[Line] = set()
        lines = sorted(self.lines, key=lambda line: line.precedence, reverse=True)
        moved: dict[Value, Value] = {}
        for weight in (weight for weight in graph.weights if not weight.constant):
            found = [(line, star) for line in lines if (star := line.match(weight.key)) is not None]
            used |= {line for line, _ in found}
            if not found:
                continue
            line, star = found[0]
            self._require_one(weight.key, [each for each, _ in found])
            try:
                moved[weight] = weight.replace(stored=self._stored(line, star))
            except Mistake as error:
                self.report.add(error.diagnostic)
            except Poisoned:
                continue
        for line in self.lines:
            if line not in used:
                self.report.add(_about_nothing(line, graph))
        return rebuild(graph, graph.nodes, moved) if moved else graph

    def _require_one(self, key: str, lines: Sequence[Line]) -> None:
        """Of patterns with as many characters, in the model or in the map, none says more of a key."""
        first, *others = lines
        for other in others:
            if other.precedence == first.precedence:
                text = f"two lines say where `{key}` is, and neither pattern is more specific"
                origins = (Origin(first.span, "this is the other"),)
                help = ("a line for the key itself decides",)
                self.report.add(Diagnostic(text, other.span, origins=origins, help=help))

    def _stored(self, line: Line, star: str) -> Stored:
        text = written(line.value, line.scope, self.expressions, star)
        key = _one_key(line.value, line.scope, self.expressions)
        compute = functools.partial(stored_graph, line.value, line.scope, star)
        return Stored(text, None if key is None else key.replace(STAR, star), line.value.span, compute)


def _one_key(expr: tree.Expr, scope: Scope, expressions: Expressions) -> str | None:
    """The key that a right side is, where it is one and nothing is computed of it."""
    while isinstance(expr, (tree.Parenthesised, tree.Conditional)):
        if isinstance(expr, tree.Parenthesised):
            expr = expr.inner
        else:
            expr = expr.then if expressions.condition(expr.condition, scope) else expr.otherwise
    if not isinstance(expr, (tree.String, tree.Path)):
        return None
    value = expressions.value(expr, scope)
    return value if isinstance(value, str) else None


def _mistakes(key: str, value: tree.Expr, scope: Scope) -> Iterator[Diagnostic]:
    """What is wrong with a line whatever a checkpoint has."""
    for name in names_of(value):
        known: Any = scope.names.get(name.text)
        if known is POISON:
            raise Poisoned
        if is_tensor(known):
            text = f"`{name.text}` is a tensor of the network, whose values only a run knows"
            raise mistake(text, name.span, "", "a weight is made of the checkpoint's entries, by their keys")
        if isinstance(known, SymbolicDim):
            raise mistake(f"`{name.text}` is a dynamic dimension, but a weight has one shape", name.span)
    yield from mistakes_of(value, scope)
    for string in strings_of(value):
        stars = sum(part.count(STAR) for part in string.parts if isinstance(part, str))
        if stars and STAR not in key:
            text = "`*` stands for what it stands for on the left, where there is none"
            raise mistake(text, string.span)
        if stars > 1:
            raise mistake("a key has one `*` at most", string.span)
    if isinstance(value, (tree.Integer, tree.Float, tree.Boolean, tree.NoneLiteral, tree.ListLiteral)):
        literal = value.span.text
        words = "a list" if isinstance(value, tree.ListLiteral) else f"`{literal}`"
        text = f"the right side is a key of the checkpoint, or computed of some, not {words}"
        raise mistake(text, value.span, "", _list_help(value))


def _list_help(value: tree.Expr) -> str:
    several = isinstance(value, tree.ListLiteral) and any(isinstance(i, tree.String) for i in value.items)
    return f"join them: `cat({value.span.text}, dim = 0)`" if several and "\n" not in value.span.text else ""


def _about_nothing(line: Line, graph: Graph) -> Diagnostic:
    """What is said of a line whose left side no weight has."""
    name, keys = graph.name, [weight.key for weight in graph.weights if not weight.constant]
    if STAR in line.key:
        return Diagnostic(f"no weight of model `{name}` has a key like `{line.key}`", line.span)
    if any(weight.key == line.key for weight in graph.weights):
        text = f"`{line.key}` is a constant, which the checkpoint does not have"
        return Diagnostic(text, line.span, help=("its key in the file beside the checkpoint is its label",))
    swapped = _names_key(line.value, keys)
    help = ("the model's key stands on the left, the checkpoint's on the right",) if swapped else ()
    guess = "" if swapped else did_you_mean(line.key, keys)
    return Diagnostic(f"model `{name}` has no weight `{line.key}`{guess}", line.span, help=help)


def _names_key(value: tree.Expr, keys: Sequence[str]) -> bool:
    return isinstance(value, tree.String) and "".join(map(str, value.parts)) in keys
