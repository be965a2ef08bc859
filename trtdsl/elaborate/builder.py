"""The graph under construction: nodes are placed here, one operator at a time.

It gives every value a unique name, ties weights placed twice under one label, infers types, and
turns an operator's refusal into a diagnostic at the place in the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtdsl.diagnostics import Diagnostic, Origin, Span
from trtdsl.elaborate.values import Mistake, mistake
from trtdsl.ir import Node, Value, Weight
from trtdsl.ops.base import Module, Op, Refused
from trtdsl.types import DType, TensorType


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
    """Collects nodes, weights and warnings of one model."""

    nodes: list[Node] = field(default_factory=list[Node])
    warnings: list[Diagnostic] = field(default_factory=list[Diagnostic])
    names: set[str] = field(default_factory=set[str])
    _counters: dict[str, int] = field(default_factory=dict[str, int])
    _labels: dict[str, Use] = field(default_factory=dict[str, Use])
    _weights: dict[str, tuple[Weight, Use]] = field(default_factory=dict[str, "tuple[Weight, Use]"])

    def unique(self, wish: str) -> str:
        """``wish`` as an identifier that no other value has."""
        wish = identifier(wish)
        name = wish
        while name in self.names:
            self._counters[wish] = self._counters.get(wish, 0) + 1
            name = f"{wish}_{self._counters[wish]}"
        self.names.add(name)
        return name

    def apply(self, use: Use) -> tuple[Value, ...]:
        """Place one operator and return its results."""
        types = self._infer(use)
        path = join(use.place.path, use.label)
        weights = self._place_weights(use, path) if isinstance(use.op, Module) else []
        operands = [*use.operands, *weights]
        results = tuple(
            Value(self.unique(wish), type)
            for wish, type in zip(self._wishes(use, path, len(types)), types, strict=True)
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
        self._warn(use)
        return results

    def _wishes(self, use: Use, path: str, count: int) -> Sequence[str]:
        prefix = f"{use.place.path}." if use.place.path else ""
        if len(use.hints) == count:
            return [prefix + hint for hint in use.hints]
        own = path if use.label else f"{prefix}{use.op.name}"
        return [own] if count == 1 else [f"{own}_{index}" for index in range(count)]

    def _infer(self, use: Use) -> tuple[TensorType, ...]:
        try:
            types = use.op.infer(**_by_slot(use))
        except Refused as refusal:
            raise refused(use, refusal) from refusal
        return types if isinstance(types, tuple) else (types,)

    def _warn(self, use: Use) -> None:
        warning = use.op.caution(**_by_slot(use))
        if warning:
            self.warnings.append(
                Diagnostic(warning, use.span, use.note, use.place.origins, severity="warning")
            )

    def _place_weights(self, use: Use, path: str) -> list[tuple[str, Weight]]:
        types = use.op.weights(**_by_slot(use))
        if not types:
            return []
        self._require_label(use)
        self._require_same_configuration(use, path)
        placed = [(name, self._weight(join(path, name), type, use)) for name, type in types.items()]
        return [(name or "value", weight) for name, weight in placed]

    def _require_label(self, use: Use) -> None:
        name = use.op.name
        if not use.label:
            raise Mistake(
                Diagnostic(
                    f"`{name}` has weights, so it needs a label that says where they are in the state dict",
                    use.span,
                    origins=use.place.origins,
                    help=(f"write `label: {name}(…)`, with the name that `print(module)` shows",),
                )
            )
        if use.place.unlabelled:
            span, block = use.place.unlabelled
            raise Mistake(
                Diagnostic(
                    f"block `{block}` holds weights, so its use needs a label",
                    span,
                    origins=(Origin(use.span, "a weight of it"),),
                    help=(f"write `label: {block}(…)`, or `_: {block}(…)` if it adds no level to the keys",),
                )
            )

    def _require_same_configuration(self, use: Use, path: str) -> None:
        first = self._labels.setdefault(path, use)
        if first.op == use.op:
            return
        raise Mistake(
            Diagnostic(
                f"label `{path}` is used twice with different configurations",
                use.span,
                origins=(Origin(first.span, "first used here"), *use.place.origins),
                help=("two uses of one label share their weights, so they must agree",),
            )
        )

    def _weight(self, key: str, type: TensorType, use: Use) -> Weight:
        known = self._weights.get(key)
        if known is None:
            weight = Weight(key, type, key)
            self._weights[key] = (weight, use)
            return weight
        weight, first = known
        if weight.type == type:
            return weight
        raise Mistake(
            Diagnostic(
                f"weight `{key}` is needed as {type} here and as {weight.type} elsewhere",
                use.span,
                use.note,
                (Origin(first.span, f"{weight.type} here"), *use.place.origins),
            )
        )

    # Numbers that stand where a tensor is wanted

    def scalar(
        self, value: bool | int | float, beside: Sequence[TensorType], span: Span, place: Place
    ) -> Value:
        """A constant of rank 0 with the dtype that a Python number takes beside these tensors."""
        full: Any = _operator("full")
        use = Use(full((), value, weak_dtype(value, beside)), (), span, place)
        return self.apply(use)[0]


def _operator(name: str) -> type[Op]:
    from trtdsl.ops.base import OPERATORS

    return OPERATORS[name]


def weak_dtype(value: bool | int | float, beside: Sequence[TensorType]) -> DType:
    """PyTorch's rule: a number takes the tensors' dtype unless its own category is higher."""
    floating = [t.dtype for t in beside if t.dtype.is_floating]
    if floating:
        return floating[0]
    if isinstance(value, float):
        return DType.FLOAT32
    integers = [t.dtype for t in beside if t.dtype.is_integer]
    if isinstance(value, bool):
        return beside[0].dtype if beside else DType.BOOL
    return integers[0] if integers else DType.INT64


def _by_slot(use: Use) -> dict[str, Any]:
    """The operands' types as keyword arguments; a variadic operand's as a list."""
    variadic = {operand.name for operand in use.op.operands if operand.variadic}
    named: dict[str, Any] = {name: [] for name in variadic}
    for slot, value in use.operands:
        if slot in variadic:
            named[slot].append(value.type)
        else:
            named[slot] = value.type
    return named


def refused(use: Use, refusal: Refused) -> Mistake:
    """The operator's refusal at the parameter or operand it is about."""
    types = {slot: value.type for slot, value in use.operands}
    span, label = use.span, use.note
    if refusal.about in use.spans:
        span = use.spans[refusal.about]
        label = str(types.get(refusal.about, ""))
    help = (refusal.help,) if refusal.help else ()
    return Mistake(Diagnostic(refusal.message, span, label, use.place.origins, help))


def join(path: str, label: str | None) -> str:
    """A path below another; an empty one adds no level."""
    return f"{path}.{label}" if path and label else path or label or ""


_NOT_IDENTIFIER = re.compile(r"[^0-9A-Za-z_]+")
_RESERVED = frozenset(
    [
        "import",
        "as",
        "block",
        "model",
        "dim",
        "profile",
        "input",
        "output",
        "for",
        "in",
        "if",
        "else",
        "assert",
        "return",
        "scan",
        "with",
        "emit",
        "weights",
        "and",
        "or",
        "not",
        "true",
        "false",
        "none",
        "_",
    ]
)


def identifier(text: str) -> str:
    """The text as a name that the language accepts."""
    name = _NOT_IDENTIFIER.sub("_", text).strip("_") or "value"
    return f"_{name}" if name[0].isdigit() or name in _RESERVED else name


__all__ = ["Builder", "Place", "Use", "identifier", "join", "mistake", "refused", "weak_dtype"]
