"""The calls of modules as a tree.

In: statements with the module calls that they ran in.  Out: scopes inside scopes, statements as leaves,
containers and single layers dissolved into what is around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from trtdsl.importers.program import Call
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


def dissolved(scope: Scope) -> Scope:
    """The scope, its children that are not blocks of their own replaced by what is in them."""
    children: list[Child] = []
    for child in scope.children:
        if not isinstance(child, Scope):
            children.append(child)
            continue
        inner = dissolved(child)
        children += inner.children if not _is_block(inner) else [inner]
    return Scope(scope.call, children)


def _is_block(scope: Scope) -> bool:
    assert scope.call
    if scope.call.kind.startswith(("torch.nn.", "torch.ao.")):
        return False
    if len([child for child in scope.children if not _is_source(child)]) < 2:
        return False
    return all(_inside(label, scope.path) for each in scope.statements() for label in labels(each))


def _is_source(child: Child) -> bool:
    if not isinstance(child, Statement) or not isinstance(child.expression, Apply):
        return False
    return child.expression.function in ("Parameter", "Constant")


def _inside(label: str, path: str) -> bool:
    return label == path or label.startswith(f"{path}.")


def relative(label: str, path: str) -> str:
    """A label below a path; "" for the path itself."""
    return label if not path else label[len(path) :].removeprefix(".")
