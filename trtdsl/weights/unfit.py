"""Weights that a checkpoint lacks or has in another shape → one mistake for each layer and kind of fault.

In: a weight, what was found of it, and the node that reads it, one after another.  Out: the mistakes, each at
its layer, or at the section's line that says where the weight is::

    error: the checkpoint has no `bn1.weight` and no `bn1.bias`, did you mean `norm1.weight` and `norm1.bias`?
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic, DiagnosticError, counted
from trtdsl.ir import Node, Weight
from trtdsl.ops.text import in_a_row
from trtdsl.weights.absent import Absent
from trtdsl.weights.entries import Entry, Missing, is_found

MOST_ERRORS = 20

Shape: TypeAlias = tuple[Any, ...]


class OtherShapes(DiagnosticError):
    """All weights were found, some in other shapes than the model's.

    ``found`` are the shapes of all, by their keys in the text; ``unlike`` are both shapes of those that do
    not fit, the model's first.
    """

    def __init__(
        self,
        *diagnostics: Diagnostic,
        found: Mapping[str, Shape],
        unlike: Mapping[str, tuple[Shape, Shape]],
    ) -> None:
        super().__init__(*diagnostics)
        self.found = found
        self.unlike = unlike


@dataclass(frozen=True)
class _Fault:
    weight: Weight
    node: Node
    found: Entry | Missing | DiagnosticError


class Unfit:
    """Collects what does not fit."""

    def __init__(self, absent: Absent) -> None:
        self.absent = absent
        self._groups: dict[Hashable, list[_Fault]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def takes(self, weight: Weight, found: Entry | Missing | DiagnosticError, node: Node) -> bool:
        """Whether the weight cannot be had of what was found, which is then remembered."""
        if is_found(found) and found.shape == weight.type.shape:
            return False
        kind = "shape" if is_found(found) else type(found)
        # What a section's line is about is told there, one by one.
        alone = isinstance(found, DiagnosticError) or weight.stored or getattr(found, "span", None)
        key = (kind, weight if alone else id(node))
        self._groups.setdefault(key, []).append(_Fault(weight, node, found))
        return True

    @property
    def unlike(self) -> Mapping[str, tuple[Shape, Shape]]:
        """The shapes that weights need and have, of those that were found."""
        faults = (each for group in self._groups.values() for each in group)
        return {
            each.weight.key: (each.weight.type.shape, each.found.shape)
            for each in faults
            if is_found(each.found)
        }

    def diagnostics(self) -> Sequence[Diagnostic]:
        """One mistake for each layer; those beyond the first ones are counted."""
        groups = list(self._groups.values())
        mistakes: list[Diagnostic] = []
        for group in groups[:MOST_ERRORS]:
            mistakes += [_located(each, group[0]) for each in self._mistakes(group, bool(mistakes))]
        count = sum(map(len, groups[MOST_ERRORS:])) + len(mistakes[MOST_ERRORS:])
        return [*mistakes[:MOST_ERRORS], *_further(count)]

    def _mistakes(self, group: Sequence[_Fault], helped: bool) -> Sequence[Diagnostic]:
        """What is said of weights of one layer with one kind of fault; ``helped`` where advice was given."""
        found = group[0].found
        if isinstance(found, DiagnosticError):
            return found.diagnostics
        if isinstance(found, Missing):
            weights = {each.found.key: each.weight for each in group if isinstance(each.found, Missing)}
            return [replace(self.absent.missing(weights, helped=helped), span=found.span)]
        entries = [(each.weight, each.found) for each in group]
        return [_misshapen([(weight, entry.shape) for weight, entry in entries if is_found(entry)])]


def _further(count: int) -> tuple[Diagnostic, ...]:
    are = "is missing or does not fit" if count == 1 else "are missing or do not fit"
    return (Diagnostic(f"{counted(count, 'further weight')} {are}"),) if count > 0 else ()


def _misshapen(weights: Sequence[tuple[Weight, tuple[int, ...]]]) -> Diagnostic:
    """What is said of a layer's weights that have these shapes in the checkpoint."""
    (weight, shape), *more = weights
    wanted = list(weight.type.shape)
    help = _transposed_help([(found, each.type.shape) for each, found in weights])
    if weight.stored is not None:
        text = f"this gives weight `{weight.key}` the shape {list(shape)}, but its layer needs {wanted}"
        return Diagnostic(text, weight.stored.span, help=help)
    if all((found, list(each.type.shape)) == (shape, wanted) for each, found in more):
        keys = in_a_row([each.key for each, _ in weights])
        have = f"weights {keys} have" if more else f"weight {keys} has"
        return Diagnostic(f"{have} shape {list(shape)}, but this layer needs {wanted}", help=help)
    told = (f"`{each.key}` is {list(found)}, not {list(each.type.shape)}" for each, found in weights)
    text = f"{len(weights)} weights have other shapes than this layer needs: {'; '.join(told)}"
    return Diagnostic(text, help=help)


def _transposed_help(shapes: Sequence[tuple[tuple[int, ...], tuple[Any, ...]]]) -> tuple[str, ...]:
    same = any(len(shape) > 1 and shape != wanted and shape == wanted[::-1] for shape, wanted in shapes)
    return ("the checkpoint's is transposed",) if same else ()


def _located(problem: Diagnostic, fault: _Fault) -> Diagnostic:
    """The problem at the layer that needs the weight; one of a section's line there first."""
    node, key = fault.node, fault.weight.key
    if problem.span is None:
        return Diagnostic.at(problem.message, node.origins, problem.help)
    needs = tuple(replace(origin, text=f"`{key}` is needed here") for origin in node.origins[:1])
    return replace(problem, origins=(*problem.origins, *needs, *node.origins[1:]))
