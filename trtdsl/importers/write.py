"""A sketch as text.

In: blocks and a model whose values have no names yet.  Out: `.trtnet` text in the one layout.  A value that
is read once, right after where it is made, is written where it is read: in a pipe, or in parentheses.
"""

from __future__ import annotations

import itertools
import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from trtdsl.importers.choices import with_choices
from trtdsl.importers.expressions import Expressions, head, is_stage, name_for
from trtdsl.importers.names import numbered
from trtdsl.importers.sketch import (
    Apply,
    Block,
    Branch,
    Choice,
    Expression,
    Item,
    Literal,
    Loop,
    Sketch,
    Statement,
    Subscript,
    Use,
    reads,
    uses,
)
from trtdsl.ir.names import KEYWORDS, NEVER_NAMES, identifier
from trtdsl.ops.text import literal

_WIDEST_INLINE = 48
"""Characters of an expression in parentheses within another."""

_WIDEST_START = 40
"""Characters of an expression at the start of a pipe."""

_SOURCES = frozenset({"Parameter", "Constant", "tensor", "full", "arange", "zeros", "ones"})
"""What makes a tensor of nothing."""


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
        self._body, absorbed = with_choices(block.items, block.returns, block.hints)
        self._texts = Expressions(absorbed=absorbed)
        self._holder: dict[str, str] = {}
        """what each name is bound to at the place that is being written"""
        self._decided: dict[str, str] = {}
        """of values that end a branch or an iteration the names, which what is after it reads"""
        self._never = NEVER_NAMES | {name for name, _ in block.parameters} | {"_"} | {*_targets(block.items)}
        self._remaining: Counter[str] = Counter()
        self._outputs: Mapping[str, str] = {}
        """the values of those outputs after whose statement more is read, by name"""

    # --- Whole bodies -------------------------------------------------------------------------------------

    def block(self) -> Iterator[str]:
        block = self._block
        yield from (f"## {line}".rstrip() for line in block.documentation)
        self._dimensions(type for _, type in block.tensors)
        self._count(self._body, block.returns)
        for number, (value, _) in enumerate(block.tensors):
            named = block.names[number] if number < len(block.names) else ""
            wish = named or self._wish(value, "x")
            self._bind(value, self._free(identifier(wish), value))
        parameters = ", ".join(_parameter(name, default) for name, default in block.parameters)
        names = self._texts.names
        tensors = ", ".join(
            f"{names[value]}: {type}" if type else names[value] for value, type in block.tensors
        )
        yield f"block {block.name}({parameters})({tensors}) {{"
        yield from self._items(self._body, block.returns)
        yield f"return {', '.join(self._texts.text(Use(value), 0) for value in block.returns)}"
        yield "}"

    def model(self, sketch: Sketch) -> Iterator[str]:
        block = self._block
        yield from (f"## {line}".rstrip() for line in block.documentation)
        yield f"model {block.name} {{"
        yield from sketch.heads
        self._dimensions(type for _, type in block.tensors)
        for value, type in block.tensors:
            self._bind(value, identifier(self._hints.get(value, value)))
            yield f"input {self._texts.names[value]}: {type}"
        yield ""
        self._outputs = dict(sketch.outputs[:-1])
        self._count(self._body, block.returns)
        yield from self._items(self._body, block.returns)
        for name, value in sketch.outputs:
            yield f"output {name} = {self._texts.text(Use(value), 0)}"
        yield "}"

    def _dimensions(self, types: Iterable[str]) -> None:
        self._never = self._never | {word for type in types for word in re.findall(r"[A-Za-z_]\w*", type)}

    # --- Statements ---------------------------------------------------------------------------------------

    def _items(self, items: Sequence[Item], returns: Sequence[str]) -> Iterator[str]:
        self._absorb(items, returns)
        for item in items:
            match item:
                case Statement():
                    if not any(result in self._texts.absorbed for result in item.results):
                        yield self._statement(item)
                case Branch():
                    yield from self._branch(item)
                case Loop():
                    yield from self._loop(item)

    def _statement(self, statement: Statement) -> str:
        text = self._texts.text(statement.expression, 0)
        self._spend(statement)
        names = [self._bound(result, statement) for result in statement.results]
        return f"{', '.join(names)} = {text}"

    def _bound(self, result: str | None, statement: Statement) -> str:
        if result is None or not self._remaining[result]:
            return "_"
        name = self._free(self._wish(result, name_for(statement.expression)), result)
        self._bind(result, name)
        return name

    def _branch(self, branch: Branch) -> Iterator[str]:
        names: list[str] = []
        for result, inner, before in branch.merges:
            self._remaining[before] -= 1
            name = self._texts.names.get(before, "")
            inside = sum(value == before for item in branch.items for value in reads(item))
            if not name or self._remaining[before] > inside:
                name = self._free(self._wish(result, "x"), result, names)
                yield f"{name} = {self._texts.text(Use(before), 0)}"
            names.append(name)
            self._remaining[inner] += 1
        merges = zip(branch.merges, names, strict=True)
        ends = [(result, inner, name) for (result, inner, _), name in merges]
        yield from self._bodied(f"if {branch.condition}", branch.items, ends)

    def _loop(self, loop: Loop) -> Iterator[str]:
        names: list[str] = []
        for result, start, _, initial in loop.carried:
            self._remaining[initial] -= 1
            name = self._texts.names.get(initial, "")
            if not name or self._remaining[initial] > 0 or initial in self._texts.absorbed:
                name = self._free(self._wish(result, "x"), result, names)
                yield f"{name} = {self._texts.text(Use(initial), 0)}"
            names.append(name)
            self._bind(start, name)
        carried = zip(loop.carried, names, strict=True)
        ends = [(result, end, name) for (result, _, end, _), name in carried]
        yield from self._bodied(f"for {loop.targets} in {self._texts.text(loop.over, 1)}", loop.items, ends)

    def _bodied(
        self, opening: str, items: Sequence[Item], ends: Sequence[tuple[str, str, str]]
    ) -> Iterator[str]:
        """A branch or loop; of ``(result, end, name)`` the end has the name inside, the result after."""
        held = dict(self._holder)
        yield f"{opening} {{"
        yield from self._inner(items, [(end, name) for _, end, name in ends])
        yield "}"
        self._restore(held)
        for result, _, name in ends:
            self._bind(result, name)

    def _inner(self, items: Sequence[Item], ends: Sequence[tuple[str, str]]) -> Iterator[str]:
        """The items of a branch or loop, whose ``ends`` have their names decided."""
        outer, self._decided = self._decided, {**self._decided, **dict(ends)}
        yield from self._items(items, [end for end, _ in ends])
        for end, name in ends:
            if self._texts.names.get(end) != name or end in self._texts.absorbed:
                yield f"{name} = {self._texts.text(Use(end), 0)}"
        self._decided = outer

    def _restore(self, held: Mapping[str, str]) -> None:
        """Names that a branch bound are what it left: nobody after it may take them for what they were."""
        self._holder = {
            **self._holder,
            **{name: value for name, value in held.items() if name in self._holder},
        }

    # --- Names --------------------------------------------------------------------------------------------

    def _wish(self, value: str, otherwise: str) -> str:
        decided = self._decided.get(value)
        if decided:
            return decided
        # A word of the language, such as `model`, names no tensor well, unless the source calls it that.
        is_word = otherwise in KEYWORDS or identifier(otherwise) != otherwise
        wish = identifier(self._hints.get(value) or ("x" if is_word else otherwise))
        return f"{wish}_" if keyword.iskeyword(wish) or wish in NEVER_NAMES else wish

    def _free(self, wish: str, value: str, taken: Sequence[str] = ()) -> str:
        """The name wished for, or with a number, that is not ``taken`` and no value still to be read has."""
        if self._decided.get(value) == wish and not self._is_live(wish, value):
            return wish
        others = ["x", "y"] if wish == "x" else []
        return next(
            name
            for name in itertools.chain(others, numbered(wish))
            if name not in self._never
            and name not in taken
            and not (self._is_live(name, value) or self._is_reserved(name, value))
            and self._outputs.get(name, value) == value
        )

    def _is_live(self, name: str, value: str) -> bool:
        holder = self._holder.get(name)
        return holder is not None and holder != value and self._remaining[holder] > 0

    def _is_reserved(self, name: str, value: str) -> bool:
        return name in self._decided.values() and self._decided.get(value) != name

    def _bind(self, value: str, name: str) -> None:
        self._texts.names[value] = name
        self._holder[name] = value

    def _count(self, items: Sequence[Item], returns: Sequence[str]) -> None:
        """How often each value is still to be read."""
        for item in items:
            match item:
                case Statement():
                    self._remaining.update(self._all_uses(item.expression))
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
            if value in self._texts.absorbed:
                yield from self._all_uses(self._texts.absorbed[value])

    # --- Values written where they are read ---------------------------------------------------------------

    def _absorb(self, items: Sequence[Item], returns: Sequence[str]) -> None:
        """Decide which statements are written inside the one after them."""
        waiting: list[Statement] = []
        for item in items:
            if isinstance(item, Statement) and not isinstance(item.expression, Choice):
                waiting = self._absorb_into(item.expression, waiting)
            else:
                waiting = [each for each in waiting if self._is_source(each)]
            if isinstance(item, Statement):
                waiting.append(item)
        if len(returns) == 1:
            self._absorb_into_return(returns[0], waiting)

    def _absorb_into_return(self, value: str, waiting: Sequence[Statement]) -> None:
        """What is given back needs no name, however long it is, where nothing else reads it."""
        if waiting and waiting[-1].results == (value,) and self._remaining[value] == 1:
            self._texts.absorbed[value] = waiting[-1].expression

    def _absorb_into(self, expression: Expression, waiting: list[Statement]) -> list[Statement]:
        """The statements still waiting after one that takes those right in front of it."""
        wanted = uses(expression)
        first = head(expression)
        left = [each for each in waiting if self._may_wait(each)]
        near = [each for each in waiting if not self._may_wait(each)]
        is_near = True
        for each in [*reversed(near), *left]:
            # Behind the first that stays only what may stand anywhere is looked at.
            if not (is_near or self._may_wait(each)):
                continue
            (result, *others) = each.results
            once = (
                result is not None
                and not others
                and wanted.count(result) == 1
                and self._remaining[result] == 1
            )
            piped = result == first and self._may_be_piped(each)
            if once and result is not None and (piped or self._fits(each, result)):
                self._texts.absorbed[result] = each.expression
                left = [other for other in left if other is not each]
            elif not self._may_wait(each):
                is_near = False
        return left

    def _may_be_piped(self, statement: Statement) -> bool:
        """Whether a chain may begin with an expression: not with a long one that is not a chain itself."""
        if isinstance(statement.expression, Choice):
            return False
        return is_stage(statement.expression) or self._texts.width(statement.expression) <= _WIDEST_START

    def _fits(self, statement: Statement, result: str) -> bool:
        if self._is_source(statement):
            return True
        if result in self._hints or isinstance(statement.expression, Choice):
            return False
        return self._texts.width(statement.expression) <= _WIDEST_INLINE

    def _may_wait(self, statement: Statement) -> bool:
        """Whether it may be written where it is read, whatever is between: a source or a part."""
        is_part = isinstance(statement.expression, Subscript) and statement.results[0] not in self._hints
        return is_part or self._is_source(statement)

    def _is_source(self, statement: Statement) -> bool:
        """Whether it only names what a file has, be it integers with their scales, or a short constant."""
        expression = statement.expression
        if not isinstance(expression, Apply):
            return False
        if expression.function == "dequantize":
            inner = [self._texts.absorbed.get(value) for value in uses(expression)]
            return all(isinstance(each, Apply) and each.function == "Parameter" for each in inner)
        return expression.function in _SOURCES and not uses(expression)


def _targets(items: Sequence[Item]) -> Iterator[str]:
    """The names that loops bind, which no tensor may have: it might be read in the loop."""
    for item in items:
        if isinstance(item, Loop):
            yield from re.findall(r"[A-Za-z_]\w*", item.targets)
        if not isinstance(item, Statement):
            yield from _targets(item.items)


def _outer(loop: Loop) -> Iterator[str]:
    """The values of the outside that a loop's body reads."""
    made = {start for _, start, _, _ in loop.carried}
    read: dict[str, None] = {}
    for item in loop.items:
        if isinstance(item, Statement):
            made |= {result for result in item.results if result}
            read |= dict.fromkeys(uses(item.expression))
    yield from (value for value in read if value not in made)


def _parameter(name: str, default: Expression | None) -> str:
    if default is None:
        return name
    if isinstance(default, Literal):
        return f"{name} = {literal(default.value)}"
    return f"{name} = {default}"
