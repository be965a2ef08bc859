"""Small blocks written where they are used.

In: the model's items and its blocks.  Out: those, less the blocks that a text uses once and that say little,
are layers in a row, or are what the model is: their statements stand in the place of the use, what it gives
in that of their parameters, their labels below its label::

    block Pooler(width)(x) {
      return x[:, 0] -> dense: Linear(width) -> tanh
    }
    pooled = x -> pooler: Pooler(64)                       # the block and its use
    pooled = x[:, 0] -> pooler.dense: Linear(64) -> tanh
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from trtdsl.importers.expressions import head
from trtdsl.importers.given import with_given
from trtdsl.importers.sketch import (
    WORD,
    Apply,
    Block,
    Branch,
    Expression,
    Item,
    Literal,
    Loop,
    Statement,
    Text,
    Use,
    changed,
    labels,
    makes,
    reading,
    replaced,
)
from trtdsl.types import TensorType

LARGEST = 4
"""Statements of a block that is written where it is used."""

LONGEST = 12
"""Those of one that is a chain of layers."""

FRAME = 6
"""Statements of a model that does little but call its parts, which stand in it then."""

Types: TypeAlias = Mapping[str, TensorType]


def inlined(items: Sequence[Item], blocks: Sequence[Block], types: Types) -> tuple[list[Item], list[Block]]:
    """The items and the blocks that are left; ``types`` are those of the model's values."""
    left = {block.name: block for block in blocks}
    model = list(items)
    is_frame = len(model) <= FRAME
    for name in [block.name for block in blocks]:
        block = left[name]
        inside = [use for each in left.values() for use in _uses(each.items, name)]
        uses = [*inside, *_uses(model, name)]
        if len(uses) != 1 or not _may_stand(block, uses[0], is_frame and not inside):
            continue
        try:
            changed_model = _with_body(model, block, types)
            changed_blocks = {
                each.name: msgspec.structs.replace(each, items=tuple(_with_body(each.items, block, None)))
                for each in left.values()
                if each is not block
            }
        except _CannotStand:
            continue
        model, left = changed_model, changed_blocks
    return _renumbered(model, list(left.values()), {*left})


def _renumbered(model: list[Item], blocks: list[Block], taken: set[str]) -> tuple[list[Item], list[Block]]:
    """The first block of a class has its name, though one before it is not there any more."""
    names: dict[str, str] = {}
    for block in blocks:
        plain = block.name.rstrip("0123456789")
        if (
            plain != block.name
            and plain not in taken
            and block.documentation[0].split(",")[0].endswith(f".{plain}")
        ):
            names[block.name] = plain
            taken.add(plain)
    if not names:
        return model, blocks

    def change(expression: Expression) -> Expression | None:
        if not isinstance(expression, Apply) or expression.function not in names:
            return None
        inner = replaced(msgspec.structs.replace(expression, function=""), change)
        return msgspec.structs.replace(inner, function=names[expression.function])

    return [changed(each, change) for each in model], [
        msgspec.structs.replace(
            block,
            name=names.get(block.name, block.name),
            items=tuple(changed(each, change) for each in block.items),
        )
        for block in blocks
    ]


def _uses(items: Iterable[Item], name: str) -> Iterator[Apply]:
    for item in items:
        if not isinstance(item, Statement):
            yield from _uses(item.items, name)
        elif isinstance(item.expression, Apply) and item.expression.function == name:
            yield item.expression


def _may_stand(block: Block, use: Apply, is_part: bool) -> bool:
    """Whether a block's statements are as easy to read where it is used; ``is_part`` where it is a part of
    a model that does little else.
    """
    if any(isinstance(each, Branch) for each in block.items):
        return False
    if isinstance(use.label, Text) and (block.parameters or not _count(block.items) <= LARGEST):
        # In a loop they have long labels.
        return False
    # Without weights nothing would say where its statements are from.
    is_part = is_part and any(True for item in block.items for _ in labels(item))
    return is_part or _count(block.items) <= LARGEST or _is_chain(block)


def _count(items: Iterable[Item]) -> int:
    """How many statements there are, those of loops once."""
    return sum(_count(each.items) if isinstance(each, Loop) else 1 for each in items)


def _is_chain(block: Block) -> bool:
    """Whether it is layers in a row, each of which reads what the one before made."""
    if len(block.items) > LONGEST or len(block.tensors) != 1:
        return False
    value = block.tensors[0][0]
    for item in block.items:
        if not isinstance(item, Statement) or head(item.expression) != value or len(item.results) != 1:
            return False
        (result,) = item.results
        if not result:
            return False
        value = result
    return block.returns == (value,)


class _CannotStand(Exception):
    """A block says what cannot be said at its use."""


def _with_body(items: Iterable[Item], block: Block, types: Types | None) -> list[Item]:
    """The items with the block's own in the place of its uses."""
    found: list[Item] = []
    for item in items:
        if not isinstance(item, Statement):
            inner = tuple(_with_body(item.items, block, types))
            found.append(msgspec.structs.replace(item, items=inner))
        elif isinstance(item.expression, Apply) and item.expression.function == block.name:
            found += _body(item, item.expression, block, types)
        else:
            found.append(item)
    return found


def _body(use: Statement, call: Apply, block: Block, types: Types | None) -> list[Item]:
    """The block's items as they stand at its use."""
    given = dict(call.arguments)
    names: dict[str, str] = {}
    for (value, header), tensor in zip(block.tensors, call.tensors, strict=True):
        assert isinstance(tensor, Use)
        names[value] = tensor.value
        if header:
            given |= _sizes(header, types, tensor.value)
    # A block may give back what it was given.
    if not {*block.returns}.isdisjoint(names):
        raise _CannotStand
    names |= {value: result for value, result in zip(block.returns, use.results, strict=True) if result}
    made = {value for item in block.items for value in makes(item)} - {*names}
    names |= {value: f"{value}@{use.results[0]}" for value in made}
    plain = with_given(block.items, given)
    if plain is None or _counts_as(call.label, plain):
        raise _CannotStand
    items = [_renamed(_below(item, call.label), names) for item in plain]
    if isinstance(items[-1], Statement):
        # What the result is called is said where the block was used.
        items[-1] = msgspec.structs.replace(items[-1], frames=use.frames)
    return items


def _counts_as(label: str | Text | None, items: Iterable[Item]) -> bool:
    """Whether loops among the items bind a name that the label has from a loop around it."""
    words = {*WORD.findall(label.text)} if isinstance(label, Text) else set[str]()
    loops = [each for each in items if isinstance(each, Loop)]
    return any(
        not words.isdisjoint(WORD.findall(loop.targets)) or _counts_as(label, loop.items) for loop in loops
    )


def _sizes(header: str, types: Types | None, value: str) -> dict[str, Expression]:
    """What the names of a tensor's dimensions are, where its type is known."""
    if types is None or value not in types:
        raise _CannotStand
    names = header.strip("[]").split(", ")
    sizes = types[value].shape
    return {
        name: Literal(size) if isinstance(size, int) else Text(str(size))
        for name, size in zip(names, sizes, strict=True)
    }


def _renamed(item: Item, names: Mapping[str, str]) -> Item:
    """An item that reads and makes other values in the place of those named."""
    item = reading(item, names)
    match item:
        case Loop():
            carried = tuple(tuple(names.get(each, each) for each in values) for values in item.carried)
            inner = tuple(_renamed(each, names) for each in item.items)
            return msgspec.structs.replace(item, carried=carried, items=inner)
        case Statement():
            results = tuple(names.get(each, each) if each else None for each in item.results)
            return msgspec.structs.replace(item, results=results)
        case Branch():
            raise TypeError("a block with options is not small")


def _below(item: Item, path: str | Text | None) -> Item:
    """An item whose labels lie below a path."""

    def change(expression: Expression) -> Expression | None:
        if not isinstance(expression, Apply) or expression.label is None:
            return None
        inner = replaced(msgspec.structs.replace(expression, label=None), change)
        return msgspec.structs.replace(inner, label=_joined(path, expression.label))

    return changed(item, change)


def _joined(path: str | Text | None, label: str | Text) -> str | Text:
    parts = [each.text if isinstance(each, Text) else each for each in (path, label) if each]
    text = ".".join(part for part in parts if part)
    return Text(text) if isinstance(path, Text) or isinstance(label, Text) else text
