"""Small blocks written where they are used.

In: the model's items and its blocks.  Out: those, less the blocks that a text uses once and that say little:
their statements stand in the place of the use, their labels below its label::

    block Pooler()(x) {
      return x[:, 0] -> dense: Linear(64) -> tanh
    }
    pooled = x -> pooler: Pooler                       # the block and its use
    pooled = x[:, 0] -> pooler.dense: Linear(64) -> tanh
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from trtdsl.importers.sketch import (
    Apply,
    Block,
    Branch,
    Expression,
    Item,
    Loop,
    Statement,
    Text,
    Use,
    changed,
    reading,
    replaced,
)

LARGEST = 4
"""Statements of a block that is written where it is used."""


def inlined(items: Sequence[Item], blocks: Sequence[Block]) -> tuple[list[Item], list[Block]]:
    """The items and the blocks that are left."""
    left = {block.name: block for block in blocks}
    model = list(items)
    everything = [*items, *(item for each in blocks for item in each.items)]
    used = Counter(use.function for use in _uses(everything, left))
    for block in blocks:
        if used[block.name] != 1 or not _is_small(block):
            continue
        whole = left.pop(block.name)
        model = _with_body(model, whole)
        left = {
            name: msgspec.structs.replace(each, items=tuple(_with_body(each.items, whole)))
            for name, each in left.items()
        }
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


def _uses(items: Iterable[Item], blocks: Mapping[str, Block]) -> Iterator[Apply]:
    for item in items:
        if not isinstance(item, Statement):
            yield from _uses(item.items, blocks)
        elif isinstance(item.expression, Apply) and item.expression.function in blocks:
            yield item.expression


def _is_small(block: Block) -> bool:
    """Whether it has few statements, no options, no parameters and no names of dimensions."""
    if block.parameters or any(type for _, type in block.tensors):
        return False
    size = 0
    waiting: list[Item] = [*block.items]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Branch):
            return False
        if isinstance(item, Loop):
            waiting += item.items
        else:
            size += 1
    # A block may give back what it was given.
    return size <= LARGEST and not {*block.returns} & {value for value, _ in block.tensors}


def _with_body(items: Iterable[Item], block: Block) -> list[Item]:
    """The items with the block's own in the place of its use."""
    found: list[Item] = []
    for item in items:
        if not isinstance(item, Statement):
            found.append(msgspec.structs.replace(item, items=tuple(_with_body(item.items, block))))
        elif isinstance(item.expression, Apply) and item.expression.function == block.name:
            found += _body(item, item.expression, block)
        else:
            found.append(item)
    return found


def _body(use: Statement, call: Apply, block: Block) -> list[Item]:
    """The block's items as they stand at its use."""
    names: dict[str, str] = {}
    for (value, _), given in zip(block.tensors, call.tensors, strict=True):
        assert isinstance(given, Use)
        names[value] = given.value
    names |= {value: result for value, result in zip(block.returns, use.results, strict=True) if result}
    items = [_renamed(_below(item, call.label), names) for item in block.items]
    if isinstance(items[-1], Statement):
        # What the result is called is said where the block was used.
        items[-1] = msgspec.structs.replace(items[-1], frames=use.frames)
    return items


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
