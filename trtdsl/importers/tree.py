"""The calls of modules as a tree.

In: statements with the module calls that they ran in.  Out: scopes inside scopes, statements as leaves,
containers and single layers dissolved into what is around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from trtdsl.importers.expressions import head
from trtdsl.importers.program import Call, common_start
from trtdsl.importers.sketch import Apply, Statement, labels

Child: TypeAlias = "Statement | Scope"


@dataclass(eq=False)
class Scope:
    """One call of a module, with what ran in it; the model has no call."""

    call: Call | None
    children: list[Child] = field(default_factory=list[Child])

    @property
    def path(self) -> str:
        return self.call.path if self.call else ""

    @property
    def kind(self) -> str:
        return self.call.kind if self.call else ""

    def statements(self) -> Iterator[Statement]:
        """All statements inside, in order."""
        for child in self.children:
            if isinstance(child, Scope):
                yield from child.statements()
            else:
                yield child

    @property
    def height(self) -> int:
        """How deep scopes nest inside."""
        return max((1 + child.height for child in self.children if isinstance(child, Scope)), default=0)


def tree_of(statements: Sequence[Statement]) -> Scope:
    """The model's scope."""
    root = Scope(None)
    stack = [root]
    for statement in statements:
        depth = 0
        while (
            depth < len(statement.calls)
            and depth + 1 < len(stack)
            and stack[depth + 1].call == statement.calls[depth]
        ):
            depth += 1
        del stack[depth + 1 :]
        for call in statement.calls[depth:]:
            scope = Scope(call)
            stack[-1].children.append(scope)
            stack.append(scope)
        stack[-1].children.append(statement)
    return root


def dissolved(root: Scope) -> Scope:
    """The model's scope, its children that are not blocks of their own replaced by what is in them."""
    named = {id(each.expression): tuple(labels(each)) for each in root.statements()}
    scope = _with_blocks(root, lambda each: _is_block(each, named))
    # What one call of a class leaves out of what another has is an option of its block.
    stages: dict[str, bool] = {}
    for each in _inside(scope):
        stages[each.kind] = stages.get(each.kind, True) and _is_stage(each)
    return _with_blocks(scope, lambda each: not stages[each.kind])


def _with_blocks(scope: Scope, is_block: Callable[[Scope], bool]) -> Scope:
    """The scope with the statements of the calls inside that are not blocks in their place."""
    children: list[Child] = []
    for child in scope.children:
        if not isinstance(child, Scope):
            children.append(child)
            continue
        inner = _with_blocks(child, is_block)
        children += [inner] if is_block(inner) else _as_called(inner)
    return Scope(scope.call, children)


def _inside(scope: Scope) -> Iterator[Scope]:
    for child in scope.children:
        if isinstance(child, Scope):
            yield child
            yield from _inside(child)


def _is_block(scope: Scope, named: Mapping[int, Sequence[str]]) -> bool:
    """Whether a call may be a block; ``named`` has the labels in each expression by its identity."""
    if scope.kind.startswith(("torch.nn.", "torch.ao.")):
        return False
    if len([child for child in scope.children if not _is_source(child)]) < 2:
        return False
    return all(
        _is_below(label, scope.path) for each in scope.statements() for label in named[id(each.expression)]
    )


def _is_stage(scope: Scope) -> bool:
    """Whether it is one layer with one function after or before it, which say as much as its name does."""
    if len(scope.children) != 2:
        return False
    first, second = scope.children
    if isinstance(first, Scope) or isinstance(second, Scope) or len(first.results) != 1:
        return False
    is_piped = head(second.expression) == first.results[0] and head(first.expression) is not None
    return is_piped and len([*labels(first), *labels(second)]) == 1


def _as_called(scope: Scope) -> list[Child]:
    """The children of a call that is not a block; what the last makes is called what the call's result is."""
    *others, last = scope.children
    if not others or isinstance(last, Scope):
        return scope.children
    frames = common_start([each.frames for each in scope.statements() if each.frames])
    return [*others, msgspec.structs.replace(last, frames=frames)]


def _is_source(child: Child) -> bool:
    if not isinstance(child, Statement) or not isinstance(child.expression, Apply):
        return False
    return child.expression.function in ("Parameter", "Constant")


def _is_below(label: str, path: str) -> bool:
    return label == path or label.startswith(f"{path}.")


def relative(label: str, path: str) -> str:
    """A label below a path; "" for the path itself."""
    return label if not path else label[len(path) :].removeprefix(".")
