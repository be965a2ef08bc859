"""Calls of modules as blocks.

In: the tree of calls.  Out: the model's items, in which every call that is left in the tree is the use of a
block, and the blocks; calls of one class that differ in numbers only are one block with parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from trtdsl.importers.groups import Body, Group, groups
from trtdsl.importers.holes import Function, Hole, filled, pruned, roles
from trtdsl.importers.inlined import inlined
from trtdsl.importers.loops import with_loops
from trtdsl.importers.names import hints_of, named_in
from trtdsl.importers.parameters import Inferred, Instance, infer
from trtdsl.importers.program import ModuleFacts, Program, common_start, refs
from trtdsl.importers.sketch import (
    Apply,
    Block,
    Branch,
    Expression,
    Infix,
    Item,
    Literal,
    Loop,
    Statement,
    Use,
    changed,
    labels,
    reading,
    replaced,
    uses,
    words,
)
from trtdsl.importers.tree import Child, Scope, relative
from trtdsl.importers.variants import Option
from trtdsl.ir.names import identifier
from trtdsl.ops.base import OPERATORS, SPELLINGS

_SECOND = "kernel_size"
"""What is given by position after what is required, as everyone does."""


class Structure:
    """Finds the blocks of a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.types = dict(program.types)
        self._names: set[str] = {program.name, *OPERATORS, *SPELLINGS}
        self.blocks: list[Block] = []

    def model(self, root: Scope) -> list[Item]:
        """The model's items; the blocks they use are in :attr:`blocks`, inner ones first."""
        levels: dict[int, list[Scope]] = {}
        for each in _scopes(root):
            levels.setdefault(each.height, []).append(each)
        replaced_by: dict[Scope, Statement] = {}
        read = _readers(root, self._program)
        for height in sorted(levels):
            bodies = [self._body(each, replaced_by, read) for each in levels[height]]
            for group in groups(bodies):
                self._block(group, replaced_by)
        outputs = frozenset(value for _, argument in self._program.outputs for value in refs(argument))
        return with_loops(_items(root, replaced_by, ""), outputs)

    def _body(
        self, scope: Scope, uses_of: dict[Scope, Statement], read: dict[str, set[Scope | None]]
    ) -> Body:
        plain = _items(scope, uses_of, scope.path)
        made = {result for each in plain for result in each.results if result}
        tensors = list(
            dict.fromkeys(value for each in plain for value in uses(each.expression) if value not in made)
        )
        inside = {id(each) for each in _within(scope)}
        results = [
            value
            for value in dict.fromkeys(made_in(plain))
            if any(id(each) not in inside for each in read[value])
        ]
        items = with_loops(plain, frozenset(results))
        for item in items:
            if isinstance(item, Loop):
                for _, start, _, initial in item.carried:
                    if initial in self.types:
                        self.types[start] = self.types[initial]
        return Body(scope, items, tensors, results)

    def _block(self, group: Group, uses_of: dict[Scope, Statement]) -> None:
        first = group.bodies[0]
        assert first.scope.call
        instances = [
            Instance([self.types.get(value) for value in body.tensors], self._facts(body.scope))
            for body in group.bodies
        ]
        rows = [[hole for holes in each.holes for hole in holes] for each in group.alignments]
        inferred = infer(rows, roles(first.items), instances)
        values = iter(inferred.expressions)
        items = [filled(each, values) for each in first.items]
        items, results = self._with_options(items, first.results, group, inferred)
        name = self._name(first.scope.call.name)
        defaults = {key: _default(column) for key, column in inferred.parameters.items()}
        constructor = [*self._facts(first.scope).defaults]
        places = {key: constructor.index(key) if key in constructor else len(constructor) for key in defaults}
        order = sorted(inferred.parameters, key=lambda key: (defaults[key] is not None, places[key]))
        parameters = tuple((key, defaults[key]) for key in order)
        tensors = tuple(zip(first.tensors, inferred.headers, strict=True))
        names = self._names_of_tensors(first)
        documentation = _documentation(first.scope, self._facts(first.scope))
        self.blocks.append(
            Block(name, parameters, tensors, tuple(items), tuple(results), documentation, names)
        )
        for number, body in enumerate(group.bodies):
            given = [(key, inferred.parameters[key][number]) for key in order]
            results = group.alignments[number].results
            uses_of[body.scope] = self._use(name, body, results, given, defaults)

    def _with_options(
        self, items: list[Item], results: Sequence[str], group: Group, inferred: Inferred
    ) -> tuple[list[Item], list[str]]:
        """The items with the runs that some uses leave out in branches, and the results."""
        found: list[Item] = []
        names: dict[str, str] = {}
        position = 0
        for option in group.options:
            found += [reading(each, names) for each in items[position : option.start]]
            run = tuple(reading(each, names) for each in items[option.start : option.stop])
            flag = _without_function(option, items, inferred) or self._flag(option, group, inferred)
            merges = tuple(
                (f"{inner}@merged", inner, names.get(before, before)) for inner, before in option.merges
            )
            names |= {inner: merged for merged, inner, _ in merges}
            self.types |= {merged: self.types[inner] for merged, inner, _ in merges if inner in self.types}
            found.append(Branch(flag, run, merges))
            position = option.stop
        found += [reading(each, names) for each in items[position:]]
        return found, [names.get(value, value) for value in results]

    def _flag(self, option: Option, group: Group, inferred: Inferred) -> str:
        """The parameter that says whether a use has the option."""
        for name, values in inferred.parameters.items():
            if all(isinstance(each, bool) for each in values) and tuple(values) == option.has:
                return name
        facts = [self._facts(body.scope) for body in group.bodies]
        own = [each.parameters for each in facts]
        given = [name for name in own[0] if tuple(each.get(name) for each in own) == option.has]
        condition = inferred.condition(option.has)
        if not given and condition is not None:
            return condition
        plain = dict.fromkeys((*facts[0].defaults, *facts[0].attributes))
        known = [
            name
            for name in plain
            if all(isinstance(each.attributes.get(name), bool) for each in facts)
            and tuple(each.attributes[name] for each in facts) == option.has
        ]
        run = group.bodies[0].items[option.start : option.stop]
        wish = known[0] if known else _option_name(run)
        name, number = wish, 1
        while name in inferred.parameters:
            number += 1
            name = f"{wish}{number}"
        inferred.parameters[name] = list(option.has)
        return name

    def _use(
        self,
        name: str,
        body: Body,
        results: Sequence[str | None],
        given: Sequence[tuple[str, Any]],
        defaults: dict[str, Literal | None],
    ) -> Statement:
        required = [each for each in given if defaults[each[0]] is None]
        arguments = tuple((key, Literal(value)) for key, value in given)
        by_position = len(required) + (
            given[len(required) : len(required) + 1] != [] and given[len(required)][0] == _SECOND
        )
        apply = Apply(
            name,
            arguments,
            by_position,
            is_module=True,
            label=body.scope.path,
            tensors=tuple(map(Use, body.tensors)),
        )
        frames = common_start([each.frames for each in body.scope.statements() if each.frames])
        return Statement(tuple(results), apply, (), frames)

    def _names_of_tensors(self, body: Body) -> tuple[str, ...]:
        """What ``forward`` calls the tensors that it is given, "" where its lines do not tell."""
        facts = self._facts(body.scope)
        lines = {each.line for each in self._program.modules.values() if each.file == facts.file}
        read: dict[str, list[str]] = {}
        for statement in body.scope.statements():
            own = [each for each in statement.frames if each.function == "forward" and facts.file]
            own = [
                each for each in own if each.file == facts.file and _class_at(each.line, lines) == facts.line
            ]
            for value in uses(statement.expression):
                read.setdefault(value, []).extend(each.code for each in own[:1])
        names = named_in({value: read.get(value, ()) for value in body.tensors}, facts.tensors)
        return tuple("x" if each == "input" else each for each in names)

    def _facts(self, scope: Scope) -> ModuleFacts:
        assert scope.call
        return self._program.modules.get(scope.path) or ModuleFacts(scope.call.kind)

    def _name(self, wish: str) -> str:
        name, number = identifier(wish), 1
        while name in self._names:
            number += 1
            name = f"{identifier(wish)}{number}"
        self._names.add(name)
        return name


def _class_at(line: int, starts: Iterable[int]) -> int:
    """Where the class begins that a line is in."""
    return max((each for each in starts if each <= line), default=0)


def made_in(items: Iterable[Statement]) -> list[str]:
    """The values that statements make."""
    return [result for each in items for result in each.results if result]


def _items(scope: Scope, uses_of: dict[Scope, Statement], path: str) -> list[Statement]:
    """The scope's children as statements whose labels lie below a path."""
    return [_relative(uses_of[each] if isinstance(each, Scope) else each, path) for each in scope.children]


def _relative(statement: Statement, path: str) -> Statement:
    if not path or not any(labels(statement)):
        return statement

    def change(expression: Expression) -> Expression | None:
        if not isinstance(expression, Apply) or not isinstance(expression.label, str):
            return None
        inner = replaced(msgspec.structs.replace(expression, label=None), change)
        return msgspec.structs.replace(inner, label=relative(expression.label, path))

    return msgspec.structs.replace(statement, expression=replaced(statement.expression, change))


def _scopes(root: Scope) -> Iterable[Scope]:
    for child in root.children:
        if isinstance(child, Scope):
            yield from _scopes(child)
            yield child


def _within(scope: Scope) -> Iterable[Child]:
    yield scope
    for child in scope.children:
        if isinstance(child, Scope):
            yield from _within(child)


def _readers(root: Scope, program: Program) -> dict[str, set[Scope | None]]:
    """The innermost scopes that read each value; None for the outputs."""
    found: dict[str, set[Scope | None]] = {}

    def visit(scope: Scope) -> None:
        for child in scope.children:
            if isinstance(child, Scope):
                visit(child)
            else:
                for result in child.results:
                    if result:
                        found.setdefault(result, set())
                for value in uses(child.expression):
                    found.setdefault(value, set()).add(scope)

    visit(root)
    for _, argument in program.outputs:
        for value in refs(argument):
            found.setdefault(value, set()).add(None)
    return found


def _without_function(option: Option, items: Sequence[Item], inferred: Inferred) -> str:
    """``activation != none`` where an option is only the function that is a parameter, which then is none in
    the uses that leave it out; "" where it is more.
    """
    run = items[option.start : option.stop]
    if len(run) != 1 or not isinstance(run[0], Statement) or not isinstance(run[0].expression, Apply):
        return ""
    name = run[0].expression.function
    others = [each for item in (*items[: option.start], *items[option.stop :]) for each in words(item)]
    if name not in inferred.parameters or name in others:
        return ""
    values = inferred.parameters[name]
    inferred.parameters[name] = [
        value if has else None for value, has in zip(values, option.has, strict=True)
    ]
    return f"{name} != none"


def _option_name(run: Sequence[Item]) -> str:
    """A name for an option: its first label, or what it does first."""
    for label in (label for item in run for label in labels(item)):
        part = label.partition(".")[0]
        if not part.isdigit() and part:
            return identifier(part)
    first = run[0]
    if isinstance(first, Statement):
        function = first.expression
        if isinstance(function, Apply):
            return f"with_{identifier(function.function)}"
        if isinstance(function, Infix):
            return {"+": "residual", "*": "scaled"}.get(function.operator, "option")
    return "option"


def _default(column: Sequence[Hole]) -> Literal | None:
    """The most frequent value of a parameter as its default, if half the uses have it; functions are given
    by name, however many there are.
    """
    counted = Counter(column)
    functions = Counter(each for each in column if isinstance(each, Function))
    (value, count) = (functions or counted).most_common(1)[0]
    if len(column) < 2 or len(counted) < 2:
        return None
    plain = isinstance(value, (bool, int, float, str, tuple)) or value is None
    return Literal(value) if functions or (plain and 2 * count >= len(column)) else None


def _documentation(scope: Scope, facts: ModuleFacts) -> tuple[str, ...]:
    assert scope.call
    place = f", line {facts.line} of {facts.file.rpartition('/')[2]}" if facts.file else ""
    return (f"{scope.call.kind}{place}.",)


def structured(program: Program, root: Scope) -> tuple[list[Item], list[Block]]:
    """The model's items and its blocks."""
    structure = Structure(program)
    items, blocks = inlined(structure.model(root), structure.blocks, structure.types)
    defaults = {block.name: dict(block.parameters) for block in blocks}
    named: list[Block] = []
    for block in blocks:
        plain = tuple(_without_defaults(each, defaults) for each in block.items)
        named.append(msgspec.structs.replace(block, items=plain, hints=hints_of(block.items, named)))
    return [_without_defaults(each, defaults) for each in items], named


def _without_defaults(item: Item, known: Mapping[str, Mapping[str, Expression | None]]) -> Item:
    """The item with neither an operator's defaults nor those known of blocks written out."""

    def change(expression: Expression) -> Expression | None:
        match expression:
            case Infix("+", Literal(int(left)), Literal(int(right))):
                return Literal(left + right)
            case Apply():
                pass
            case _:
                return None
        defaults = known.get(expression.function)
        if defaults is None:
            plain = pruned(expression)
        else:
            last = expression.arguments[expression.positional - 1] if expression.positional else ("", None)
            is_left_out = defaults.get(last[0]) is not None and defaults[last[0]] == last[1]
            positional = expression.positional - is_left_out
            kept = tuple(
                (name, value)
                for number, (name, value) in enumerate(expression.arguments)
                if number < positional or defaults.get(name) != value
            )
            plain = msgspec.structs.replace(expression, arguments=kept, positional=positional)
        return None if plain == expression else replaced(plain, change)

    return changed(item, change)
