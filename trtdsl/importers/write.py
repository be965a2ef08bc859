"""A sketch as text.

In: blocks and a model whose values have no names yet.  Out: `.trtnet` text in the one layout.  A value that
is read once, right behind where it is made, is written where it is read: in a pipe, or in parentheses.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from trtdsl.importers.sketch import (
    Apply,
    Block,
    Branch,
    Cut,
    Expression,
    Infix,
    Item,
    Items,
    Literal,
    Loop,
    Sketch,
    Statement,
    Subscript,
    Text,
    Use,
    uses,
)
from trtdsl.ir.names import NEVER_NAMES, identifier
from trtdsl.ir.show import show_label
from trtdsl.ops.text import literal
from trtdsl.types import SymbolicDim

_WIDEST_INLINE = 48
"""Characters of an expression in parentheses within another."""

_WIDEST_START = 40
"""Characters of an expression at the start of a pipe."""

_LEVELS = {
    "->": 0, "or": 2, "and": 3, "not": 4, "==": 5, "!=": 5, "<": 5, "<=": 5, ">": 5, ">=": 5, "+": 6, "-": 6,
    "*": 7, "/": 7, "//": 7, "%": 7, "@": 7, "neg": 8, "**": 9,
}  # fmt: skip
_ATOM = 10


def write(sketch: Sketch) -> str:
    """The text, not laid out yet."""
    lines: list[str] = []
    for block in sketch.blocks:
        lines += [*_Body(block).block(), ""]
    lines += _Body(sketch.model).model(sketch)
    return "\n".join(lines) + "\n"


class _Body:
    """Writes one block, and gives its values names."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._hints = block.hints
        self._names: dict[str, str] = {}
        self._holder: dict[str, str] = {}
        """what each name is bound to at the place that is being written"""
        self._absorbed: dict[str, Expression] = {}
        self._never = NEVER_NAMES | {name for name, _ in block.parameters} | {"_"}
        self._remaining: Counter[str] = Counter()

    # --- Whole bodies -------------------------------------------------------------------------------------

    def block(self) -> Iterator[str]:
        block = self._block
        yield from (f"## {line}".rstrip() for line in block.documentation)
        self._dimensions(type for _, type in block.tensors)
        self._count(block.items, block.returns)
        for number, (value, _) in enumerate(block.tensors):
            wish = block.names[number] if number < len(block.names) else self._wish(value, "x")
            self._bind(value, self._free(identifier(wish), value))
        parameters = ", ".join(_parameter(name, default) for name, default in block.parameters)
        tensors = ", ".join(
            f"{self._names[value]}: {type}" if type else self._names[value] for value, type in block.tensors
        )
        yield f"block {block.name}({parameters})({tensors}) {{"
        yield from self._items(block.items, block.returns)
        yield f"return {', '.join(self._text(Use(value), 0) for value in block.returns)}"
        yield "}"

    def model(self, sketch: Sketch) -> Iterator[str]:
        block = self._block
        yield from (f"## {line}".rstrip() for line in block.documentation)
        yield f"model {block.name} {{"
        yield from sketch.heads
        self._dimensions(type for _, type in block.tensors)
        for value, type in block.tensors:
            self._bind(value, identifier(self._hints.get(value, value)))
            yield f"input {self._names[value]}: {type}"
        yield ""
        self._count(block.items, block.returns)
        yield from self._items(block.items, block.returns)
        for name, value in sketch.outputs:
            yield f"output {name} = {self._text(Use(value), 0)}"
        yield "}"

    def _dimensions(self, types: Iterable[str]) -> None:
        self._never = self._never | {word for type in types for word in re.findall(r"[A-Za-z_]\w*", type)}

    # --- Statements ---------------------------------------------------------------------------------------

    def _items(self, items: Sequence[Item], returns: Sequence[str]) -> Iterator[str]:
        self._absorb(items, returns)
        for item in items:
            match item:
                case Statement():
                    if not any(result in self._absorbed for result in item.results):
                        yield self._statement(item)
                case Branch():
                    yield from self._branch(item)
                case Loop():
                    yield from self._loop(item)

    def _statement(self, statement: Statement) -> str:
        text = self._text(statement.expression, 0)
        self._spend(statement)
        names = [self._bound(result, statement) for result in statement.results]
        return f"{', '.join(names)} = {text}"

    def _bound(self, result: str | None, statement: Statement) -> str:
        if result is None or not self._remaining[result]:
            return "_"
        name = self._free(self._wish(result, _word(statement.expression)), result)
        self._bind(result, name)
        return name

    def _branch(self, branch: Branch) -> Iterator[str]:
        names: list[str] = []
        for result, inner, before in branch.merges:
            self._remaining[before] -= 1
            name = self._names.get(before, "")
            inside = sum(value == before for item in branch.items for value in _reads(item))
            if not name or self._remaining[before] > inside:
                name = self._free(self._wish(result, "x"), result)
                yield f"{name} = {self._text(Use(before), 0)}"
            names.append(name)
            self._remaining[inner] += 1
        held = dict(self._holder)
        yield f"if {branch.condition} {{"
        yield from self._inner(
            branch.items, [(inner, name) for (_, inner, _), name in zip(branch.merges, names, strict=True)]
        )
        yield "}"
        self._restore(held)
        for (result, _, _), name in zip(branch.merges, names, strict=True):
            self._bind(result, name)

    def _loop(self, loop: Loop) -> Iterator[str]:
        names: list[str] = []
        self._never = self._never | set(re.findall(r"[A-Za-z_]\w*", loop.targets))
        for result, start, _, initial in loop.carried:
            self._remaining[initial] -= 1
            name = self._names.get(initial, "")
            if not name or self._remaining[initial] > 0 or initial in self._absorbed:
                name = self._free(self._wish(result, "x"), result)
                yield f"{name} = {self._text(Use(initial), 0)}"
            names.append(name)
            self._bind(start, name)
        held = dict(self._holder)
        yield f"for {loop.targets} in {self._text(loop.over, 1)} {{"
        yield from self._inner(
            loop.items, [(end, name) for (_, _, end, _), name in zip(loop.carried, names, strict=True)]
        )
        yield "}"
        self._restore(held)
        for (result, *_), name in zip(loop.carried, names, strict=True):
            self._bind(result, name)

    def _inner(self, items: Sequence[Item], ends: Sequence[tuple[str, str]]) -> Iterator[str]:
        """The items of a branch or loop, whose ``ends`` have their names decided."""
        decided = dict(ends)
        outer, self._decided = getattr(self, "_decided", {}), {**getattr(self, "_decided", {}), **decided}
        yield from self._items(items, [end for end, _ in ends])
        for end, name in ends:
            if self._names.get(end) != name or end in self._absorbed:
                yield f"{name} = {self._text(Use(end), 0)}"
        self._decided = outer

    def _restore(self, held: Mapping[str, str]) -> None:
        """Names that a branch bound are what it left: nobody behind it may take them for what they were."""
        self._holder = {
            **self._holder,
            **{name: value for name, value in held.items() if name in self._holder},
        }

    # --- Names --------------------------------------------------------------------------------------------

    def _wish(self, value: str, otherwise: str) -> str:
        decided = getattr(self, "_decided", {}).get(value)
        if decided:
            return decided
        plain = self._hints.get(value) or otherwise
        # A word of the language, such as `model`, names no tensor well.
        wish = identifier(plain if identifier(plain) == plain or value in self._hints else "x")
        return f"{wish}_" if keyword.iskeyword(wish) or wish in NEVER_NAMES else wish

    def _free(self, wish: str, value: str) -> str:
        """The name wished for, or with a number, that no value still to be read has."""
        if getattr(self, "_decided", {}).get(value) == wish and not self._is_live(wish, value):
            return wish
        name, number = wish, 1
        while name in self._never or self._is_live(name, value) or self._is_reserved(name, value):
            number += 1
            name = f"{wish}{number}"
        return name

    def _is_live(self, name: str, value: str) -> bool:
        holder = self._holder.get(name)
        return holder is not None and holder != value and self._remaining[holder] > 0

    def _is_reserved(self, name: str, value: str) -> bool:
        decided: Mapping[str, str] = getattr(self, "_decided", {})
        return name in decided.values() and decided.get(value) != name

    def _bind(self, value: str, name: str) -> None:
        self._names[value] = name
        self._holder[name] = value

    def _count(self, items: Sequence[Item], returns: Sequence[str]) -> None:
        """How often each value is still to be read."""
        for item in items:
            match item:
                case Statement():
                    self._remaining.update(uses(item.expression))
                case Branch():
                    self._count(item.items, [])
                    self._remaining.update(before for _, _, before in item.merges)
                case Loop():
                    self._count(item.items, [end for _, _, end, _ in item.carried])
                    self._remaining.update(initial for *_, initial in item.carried)
                    # What an iteration reads of the outside is read by the next one too.
                    self._remaining.update(_outer(item))
        self._remaining.update(returns)

    def _spend(self, statement: Statement) -> None:
        for value in self._all_uses(statement.expression):
            self._remaining[value] -= 1

    def _all_uses(self, expression: Expression) -> Iterator[str]:
        for value in uses(expression):
            yield value
            if value in self._absorbed:
                yield from self._all_uses(self._absorbed[value])

    # --- Values written where they are read ---------------------------------------------------------------

    def _absorb(self, items: Sequence[Item], returns: Sequence[str]) -> None:
        """Decide which statements are written inside the one behind them."""
        waiting: list[Statement] = []
        for item in items:
            if isinstance(item, Statement):
                waiting = self._absorb_into(item.expression, waiting)
                waiting.append(item)
            else:
                waiting = [each for each in waiting if _is_source(each)]
        if len(returns) == 1:
            self._absorb_into(Use(returns[0]), waiting)

    def _absorb_into(self, expression: Expression, waiting: list[Statement]) -> list[Statement]:
        """The statements still waiting behind one that takes those right in front of it."""
        wanted = list(uses(expression))
        head = _head(expression)
        left = [each for each in waiting if _is_source(each)]
        near = [each for each in waiting if not _is_source(each)]
        for each in [*reversed(near), *left]:
            (result, *others) = each.results
            once = (
                result is not None
                and not others
                and wanted.count(result) == 1
                and self._remaining[result] == 1
            )
            piped = result == head and self._may_be_piped(each)
            if once and result is not None and (piped or self._fits(each, result)):
                self._absorbed[result] = each.expression
                left = [other for other in left if other is not each]
            elif not _is_source(each):
                break
        return left

    def _may_be_piped(self, statement: Statement) -> bool:
        """Whether a chain may begin with an expression: not with a long one that is no chain itself."""
        return _is_stage(statement.expression) or self._width(statement.expression) <= _WIDEST_START

    def _fits(self, statement: Statement, result: str) -> bool:
        if _is_source(statement):
            return True
        return result not in self._hints and self._width(statement.expression) <= _WIDEST_INLINE

    def _width(self, expression: Expression) -> int:
        return sum(len(_word(each)) + 4 for each in _parts(expression)) + sum(
            self._width(self._absorbed[value]) for value in uses(expression) if value in self._absorbed
        )

    # --- Expressions --------------------------------------------------------------------------------------

    def _text(self, expression: Expression, level: int) -> str:
        text, own = self._levelled(expression)
        return f"({text})" if own < level else text

    def _levelled(self, expression: Expression) -> tuple[str, int]:
        match expression:
            case Use(value):
                return (
                    self._levelled(self._absorbed[value])
                    if value in self._absorbed
                    else (self._names[value], _ATOM)
                )
            case Literal(value):
                negative = (
                    isinstance(value, (int, float))
                    and not isinstance(value, bool)
                    and str(value).startswith("-")
                )
                return literal(value), _ATOM - 4 if isinstance(
                    value, SymbolicDim
                ) else 8 if negative else _ATOM
            case Text(text):
                return text, _ATOM if re.fullmatch(r"[\w.]+", text) else 6
            case Items(items, brackets):
                inner = ", ".join(self._text(each, 1) for each in items)
                comma = "," if len(items) == 1 and not brackets else ""
                return (f"[{inner}]" if brackets else f"({inner}{comma})"), _ATOM
            case Infix():
                return self._infix(expression)
            case Subscript(value, items):
                return f"{self._text(value, _ATOM)}[{', '.join(map(self._index, items))}]", _ATOM
            case Cut():
                return self._index(expression), _ATOM
            case Apply():
                return self._applied(expression)

    def _infix(self, expression: Infix) -> tuple[str, int]:
        if expression.left is None:
            if expression.operator == "not":
                return f"not {self._text(expression.right, _LEVELS['not'])}", _LEVELS["not"]
            return f"-{self._text(expression.right, _LEVELS['neg'])}", _LEVELS["neg"]
        level = _LEVELS[expression.operator]
        closed = level == 5
        left = self._text(expression.left, level + (1 if closed or expression.operator == "**" else 0))
        right = self._text(expression.right, level + (0 if expression.operator == "**" else 1))
        return f"{left} {expression.operator} {right}", level

    def _index(self, item: Expression) -> str:
        if isinstance(item, Cut):
            parts = [self._text(each, 1) if each is not None else "" for each in (item.start, item.stop)]
            step = f":{self._text(item.step, 1)}" if item.step is not None else ""
            return f"{parts[0]}:{parts[1]}{step}"
        return self._text(item, 1)

    def _applied(self, apply: Apply) -> tuple[str, int]:
        stages: list[str] = []
        current: Expression = apply
        while isinstance(current, Apply):
            inner = _head(current)
            if inner is None:
                if not current.is_module or not current.tensors:
                    break
                stages.append(self._stage(current))
                current = Items(current.tensors)
                break
            stages.append(self._stage(current))
            current = self._absorbed.get(inner, Use(inner))
        if not stages:
            return self._call(apply), 0 if apply.label is not None else _ATOM
        if len(stages) == 1 and not apply.is_module:
            return self._call(apply), _ATOM
        return " -> ".join([self._text(current, 1), *reversed(stages)]), 0

    def _stage(self, apply: Apply) -> str:
        """The call without its first tensor, as it stands behind an arrow."""
        arguments = apply.arguments if apply.is_module else apply.arguments[1:]
        positional = apply.positional - (not apply.is_module)
        inner = self._arguments(arguments, positional)
        label = f"{apply.label}: " if _is_number_path(apply.label) else _label(apply)
        named = ", ".join(self._argument(name, value) for name, value in apply.named_tensors)
        call = f"{label}{apply.function}{f'({inner})' if inner or named else ''}"
        return f"{call}({named})" if named else call

    def _call(self, apply: Apply) -> str:
        return f"{_label(apply)}{apply.function}({self._arguments(apply.arguments, apply.positional)})"

    def _arguments(self, arguments: Sequence[tuple[str, Expression]], positional: int) -> str:
        return ", ".join(
            self._argument("" if number < positional else name, value)
            for number, (name, value) in enumerate(arguments)
        )

    def _argument(self, name: str, value: Expression) -> str:
        text = self._text(value, 1)
        return f"{name} = {text}" if name else text


def _head(expression: Expression) -> str | None:
    """The value that may be piped into an expression."""
    if isinstance(expression, Use):
        return expression.value
    if not isinstance(expression, Apply):
        return None
    if expression.is_module:
        (first, *others) = expression.tensors or (None,)
        return first.value if isinstance(first, Use) and not others else None
    if not expression.arguments or sum(1 for _ in uses(expression)) != 1:
        return None
    name, value = expression.arguments[0]
    by_position = expression.positional > 0 or not name
    return value.value if by_position and isinstance(value, Use) else None


def _is_number_path(label: object) -> bool:
    """Whether a label begins with a number, which behind an arrow needs no quotes."""
    return isinstance(label, str) and re.fullmatch(r"\d+(\.\w+)*", label, re.ASCII) is not None


def _is_stage(expression: Expression) -> bool:
    """Whether it is written behind an arrow."""
    if not isinstance(expression, Apply):
        return False
    return _head(expression) is not None or (expression.is_module and bool(expression.tensors))


def _label(apply: Apply) -> str:
    match apply.label:
        case None:
            return ""
        case Text(text):
            return f'"{text}": '
        case "":
            return "_: "
        case label:
            return f"{show_label(label)}: "


def _is_source(statement: Statement) -> bool:
    """Whether it only names what a file has, or a short constant."""
    expression = statement.expression
    return isinstance(expression, Apply) and next(uses(expression), None) is None and expression.function in (
        "Parameter", "Constant", "tensor", "full", "arange", "zeros", "ones",
    )  # fmt: skip


def _reads(item: Item) -> Iterator[str]:
    """The values that an item reads, also inside."""
    match item:
        case Statement():
            yield from uses(item.expression)
        case Branch():
            yield from (before for _, _, before in item.merges)
            yield from (value for each in item.items for value in _reads(each))
        case Loop():
            yield from (initial for *_, initial in item.carried)
            yield from (value for each in item.items for value in _reads(each))


def _outer(loop: Loop) -> Iterator[str]:
    """The values of the outside that a loop's body reads."""
    made = {start for _, start, _, _ in loop.carried}
    read: dict[str, None] = {}
    for item in loop.items:
        if isinstance(item, Statement):
            made |= {result for result in item.results if result}
            read |= dict.fromkeys(uses(item.expression))
    yield from (value for value in read if value not in made)


def _parts(expression: Expression) -> Iterator[Expression]:
    from trtdsl.importers.sketch import walk

    yield from walk(expression)


def _word(expression: Expression) -> str:
    """A name for what an expression makes."""
    match expression:
        case Apply(label=str(label)) if label:
            last = [part for part in label.split(".") if not part.isdigit()]
            return last[-1] if last else expression.function.lower()
        case Apply():
            return expression.function
        case Subscript():
            return "part"
        case Literal(value):
            return literal(value)
        case _:
            return "x"


def _parameter(name: str, default: Expression | None) -> str:
    if default is None:
        return name
    if isinstance(default, Literal):
        return f"{name} = {literal(default.value)}"
    return f"{name} = {default}"
