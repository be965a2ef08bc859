"""The graph under construction: nodes are placed here, one operator at a time.

It gives every value a unique name, ties weights placed twice under one label, infers types, and
turns an operator's refusal into a diagnostic at the place in the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtdsl.diagnostics import Diagnostic, Origin, Span
from trtdsl.elaborate.mistakes import Mistake, Report, mistake, mistake_with
from trtdsl.elaborate.naming import Names, join, weak_dtype
from trtdsl.ir import Node, Value, Weight
from trtdsl.ops.base import OPERATORS, Module, Op, Refused
from trtdsl.types import TensorType


@dataclass(frozen=True)
class Place:
    """Where in the model something is placed: state-dict path, blocks around it (innermost first).

    ``unlabelled`` is the use of a block, somewhere around, that lacks the label its weights need.
    """

    path: str = ""
    origins: tuple[Origin, ...] = ()
    unlabelled: tuple[Span, str] | None = None
    blocks: tuple[object, ...] = ()


@dataclass(frozen=True)
class Use:
    """One application of an operator, as the text has it."""

    op: Op
    operands: Sequence[tuple[str, Value]]
    span: Span
    place: Place
    label: str | None = None
    hints: Sequence[str] = ()
    """names wished for the results"""
    spans: Mapping[str, Span] = field(default_factory=dict[str, Span])
    """where each parameter and operand stands"""
    note: str = ""
    """what stands under the caret when a later stage points here"""


@dataclass
class Builder:
    """Collects the nodes and weights of one model."""

    report: Report
    nodes: list[Node] = field(default_factory=list[Node])
    names: Names = field(default_factory=Names)
    _labels: dict[str, Use] = field(default_factory=dict[str, Use])
    _weights: dict[str, tuple[Weight, Use]] = field(default_factory=dict[str, "tuple[Weight, Use]"])

    def apply(self, use: Use) -> tuple[Value, ...]:
        """Place one operator and return its results."""
        by_slot = _by_slot(use)
        types = _infer(use, by_slot)
        path = join(use.place.path, use.label)
        weights = self._place_weights(use, by_slot, path) if isinstance(use.op, Module) else []
        operands = [*use.operands, *weights]
        wishes = _wishes(use, path, len(types))
        results = tuple(
            Value(self.names.unique(wish), type) for wish, type in zip(wishes, types, strict=True)
        )
        node = Node(
            use.op,
            operands=tuple(value for _, value in operands),
            slots=tuple(slot for slot, _ in operands),
            results=results,
            scope=path,
            origins=(Origin(use.span, use.note), *use.place.origins),
        )
        self.nodes.append(node)
        warning = use.op.caution(**by_slot)
        if warning:
            self.report.warn(Diagnostic(warning, use.span, use.note, use.place.origins, severity="warning"))
        return results

    def scalar(
        self, value: bool | int | float, beside: Sequence[TensorType], span: Span, place: Place
    ) -> Value:
        """A constant of rank 0 with the dtype that a Python number takes beside these tensors."""
        full: Any = OPERATORS["full"]
        return self.apply(Use(full((), value, weak_dtype(value, beside)), (), span, place))[0]

    # Weights

    def _place_weights(self, use: Use, by_slot: Mapping[str, Any], path: str) -> list[tuple[str, Weight]]:
        types = use.op.weights(**by_slot)
        if not types:
            return []
        _require_label(use)
        self._require_same_configuration(use, path)
        return [(name or "value", self._weight(join(path, name), type, use)) for name, type in types.items()]

    def _require_same_configuration(self, use: Use, path: str) -> None:
        first = self._labels.setdefault(path, use)
        if first.op == use.op:
            return
        raise Mistake(
            Diagnostic(
                f"label `{path}` is used twice with different configurations",
                use.span,
                origins=(Origin(first.span, "first used here"),),
                help=("two uses of one label share their weights, so they must agree",),
            )
        )

    def _weight(self, key: str, type: TensorType, use: Use) -> Weight:
        _require_size(use, type, f"weight `{key}`")
        weight, first = self._weights.setdefault(key, (Weight(key, type, key), use))
        if weight.type == type:
            return weight
        message = f"weight `{key}` is needed as {type} here and as {weight.type} elsewhere"
        raise mistake_with(message, use.span, use.note, first.span, first.note or f"{weight.type} here")


def _wishes(use: Use, path: str, count: int) -> Sequence[str]:
    prefix = f"{use.place.path}." if use.place.path else ""
    if len(use.hints) == count:
        return [prefix + hint for hint in use.hints]
    own = path if use.label else f"{prefix}{use.op.name}"
    return [own] if count == 1 else [f"{own}_{index}" for index in range(count)]


def _by_slot(use: Use) -> dict[str, Any]:
    """The operands' types as keyword arguments; a variadic operand's as a list."""
    named: dict[str, Any] = {operand.name: [] for operand in use.op.operands if operand.variadic}
    for slot, value in use.operands:
        if slot in named:
            named[slot].append(value.type)
        else:
            named[slot] = value.type
    return named


def _infer(use: Use, by_slot: Mapping[str, Any]) -> tuple[TensorType, ...]:
    try:
        types = use.op.infer(**by_slot)
    except Refused as refusal:
        raise refused(use, refusal) from refusal
    types = types if isinstance(types, tuple) else (types,)
    for type in types:
        _require_size(use, type, "the result")
    return types


def _require_size(use: Use, type: TensorType, what: str) -> None:
    if type.excess:
        raise mistake(f"{what} would be {type}, too large for TensorRT: {type.excess}", use.span, use.note)


def refused(use: Use, refusal: Refused) -> Mistake:
    """The operator's refusal at the parameter or operand it is about."""
    types = [str(value.type) for slot, value in use.operands if slot == refusal.about]
    span, label = use.spans.get(refusal.about or "", use.span), ""
    if span == use.span:
        label = use.note
    elif len(types) <= 4:
        label = " and ".join(types)
    help = (refusal.help,) if refusal.help else ()
    return Mistake(Diagnostic(refusal.message, span, label, help=help))


def _require_label(use: Use) -> None:
    name = use.op.name
    if not use.label:
        raise Mistake(
            Diagnostic(
                f"`{name}` has weights, so it needs a label that says where they are in the state dict",
                use.span,
                help=(f"write `label: {name}(…)`, with the name that `print(module)` shows",),
            )
        )
    if use.place.unlabelled is None:
        return
    span, block = use.place.unlabelled
    spans = [origin.span for origin in use.place.origins]
    raise Mistake(
        Diagnostic(
            f"block `{block}` holds weights, so its use needs a label",
            span,
            origins=(Origin(use.span, "this has weights"),),
            help=(f"write `label: {block}(…)`, or `_: {block}(…)` if it adds no level to the keys",),
        ),
        around=use.place.origins[spans.index(span) + 1 :],
    )
