"""Placing: the operators of a text become nodes, one at a time.

It ties weights placed twice under one label, takes weights that are computed, and turns an operator's
refusal into a diagnostic at the place in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import msgspec

from trtdsl.diagnostics import Diagnostic, Origin, Span
from trtdsl.elaborate.mistakes import Mistake, Report, mistake, mistake_with
from trtdsl.elaborate.naming import join, weak_dtype
from trtdsl.ir import Builder, Graph, Value, Weight, infer, operand_types
from trtdsl.ops.base import OPERATORS, Module, Op
from trtdsl.ops.positions import Positions, require_positions
from trtdsl.ops.refused import Refused
from trtdsl.ops.text import in_a_row
from trtdsl.types import DType, SymbolicDim, TensorType, ValueRange, bounds, within

Number: TypeAlias = "bool | int | float | SymbolicDim"
"""What may stand beside a tensor: a number, or a size that is one at run time."""


class Place(msgspec.Struct, frozen=True):
    """Where in the model something is placed: state-dict path, blocks around it (innermost first).

    ``unlabelled`` is the use of a block, somewhere around, that lacks the label its weights need.
    """

    path: str = ""
    origins: tuple[Origin, ...] = ()
    unlabelled: tuple[Span, str] | None = None
    blocks: tuple[object, ...] = ()


class Use(msgspec.Struct, frozen=True):
    """One application of an operator, as the text has it."""

    op: Op
    operands: Sequence[tuple[str, Value]]
    """operands and computed weights, by slot"""
    span: Span
    place: Place
    label: str | None = None
    hints: Sequence[str] = ()
    """names wished for the results"""
    spans: Mapping[str, Span] = msgspec.field(default_factory=dict[str, Span])
    """where each parameter and operand stands"""
    note: str = ""
    """what stands under the caret when a later stage points here"""
    bodies: tuple[Graph, ...] = ()


class Placer:
    """Collects the nodes and weights of one model; ``builder`` is that of the model or of a body."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.builder = Builder()
        self._labels: dict[str, Use] = {}
        self._weights: dict[str, tuple[Weight, Use]] = {}
        self._constants: dict[Value, Op] = {}
        self._nested: dict[tuple[Value, ...], int] = {}
        self.ranges: dict[Value, ValueRange] = {}
        """what the model's inputs may hold, where they say so"""
        self._sources: dict[Value, tuple[Value, ...]] = {}
        """of which of these inputs a tensor has elements"""
        self.profiles: Callable[[], Mapping[str, Mapping[str, tuple[int, int, int]]]] = dict
        """tells the ranges of dimensions in each profile"""

    @contextmanager
    def body(self) -> Generator[Builder, None, None]:
        """Place into the body of a node that is about to be placed."""
        around = self.builder
        self.builder = around.body()
        try:
            yield self.builder
        finally:
            self.builder = around

    def apply(self, use: Use) -> tuple[Value, ...]:
        """Place one operator and return its results."""
        by_slot = operand_types(use.op, use.operands)
        types = _infer(use, by_slot)
        self._require_positions(use, by_slot)
        self._require_divisors(use, by_slot)
        path = join(use.place.path, use.label)
        weights = self._place_weights(use, by_slot, path) if isinstance(use.op, Module) else []
        declared = {operand.name for operand in use.op.operands}
        operands = [pair for pair in use.operands if pair[0] in declared]
        results = self.builder.add(
            use.op,
            [*operands, *weights],
            types,
            _wishes(use, path, len(types)),
            path,
            (Origin(use.span, use.note), *use.place.origins),
            use.bodies,
        )
        if not operands and not weights and not types[0].dtype.is_floating:
            self._constants[results[0]] = use.op
        if use.op.moves:
            first = use.op.operands[0].name
            for result in results:
                self.derive(result, [value for slot, value in operands if slot == first])
        if use.op.tuple_of_last:
            self._nested[results] = use.op.tuple_of_last
        warning = use.op.caution(**by_slot)
        if warning:
            self.report.warn(Diagnostic(warning, use.span, use.note, use.place.origins, severity="warning"))
        return results

    def _require_positions(self, use: Use, by_slot: Mapping[str, Any]) -> None:
        """Refuse a constant, or an input by its range, that names a position which is not there; of other
        tensors nobody knows."""
        for slot, allowed in use.op.positions(**by_slot).items():
            given = [value for name, value in use.operands if name == slot]
            each = allowed if isinstance(allowed, tuple) else (allowed,) * len(given)
            for value, positions in zip(given, each, strict=True):
                array, sources = self.constant(value), self._sources_of(value)
                try:
                    if array is not None:
                        require_positions(array, positions, slot)
                    for source in sources:
                        positions.require_range(self.ranges[source], source.name, slot)
                    if array is None and not sources:
                        self._warn_of_far_positions(use, value, positions)
                except Refused as refusal:
                    raise refused(refusal, use.operands, use.spans, use.span, use.note) from refusal

    def _sources_of(self, value: Value) -> tuple[Value, ...]:
        """The inputs with known ranges of whose elements a tensor holds some."""
        return (value,) if value in self.ranges else self._sources.get(value, ())

    def derive(self, value: Value, given: Sequence[Value]) -> None:
        """Say that a tensor holds elements of others, as integers of its dtype."""
        sources = dict.fromkeys(source for each in given for source in self._sources_of(each))
        dtype = value.type.dtype
        kept = [source for source in sources if _keeps(source.type.dtype, dtype, self.ranges[source])]
        if kept:
            self._sources[value] = tuple(kept)

    def _warn_of_far_positions(self, use: Use, value: Value, allowed: Positions) -> None:
        """Warn where a dynamic range names at its largest a position that is not there; in which profiles,
        where there are others."""
        op, size = self._constants.get(value), allowed.high
        greatest = op.greatest() if op else None
        if greatest is None or not isinstance(size, int):
            return
        lasts = {name: bounds(within(greatest, ranges))[1] for name, ranges in self.profiles().items()}
        far = [name for name, last in lasts.items() if last >= size]
        if far:
            where = "" if len(far) == len(lasts) else f"by the ranges of profile {in_a_row(far)} "
            text = (
                f"{where}this reads positions up to {max(lasts.values())} of a dimension of {size}:"
                " beyond its end an engine gives 0, and PyTorch raises an error"
            )
            self.report.warn(Diagnostic(text, use.span, use.note, use.place.origins, severity="warning"))

    def nested(self, value: Any) -> Any:
        """An operator's results as PyTorch nests them; any other value as it is."""
        if not isinstance(value, tuple):
            return value
        results: tuple[Any, ...] = value
        is_results = all(isinstance(each, Value) for each in results)
        count = self._nested.get(results, 0) if is_results else 0
        return (*results[:-count], results[-count:]) if count else results

    def constant(self, value: Value) -> Any:
        """The array of a constant that the text states, integers or bools; None for any other tensor."""
        op = self._constants.get(value)
        return op.fold() if op else None

    def _require_divisors(self, use: Use, by_slot: Mapping[str, Any]) -> None:
        """Refuse a constant that divides integers and is 0 somewhere; of other tensors nobody knows."""
        for slot in use.op.divisors(**by_slot):
            arrays = [self.constant(value) for name, value in use.operands if name == slot]
            if any(array is not None and not array.all() for array in arrays):
                refusal = Refused("an integer cannot be divided by 0", slot)
                raise refused(refusal, use.operands, use.spans, use.span, use.note)

    def scalar(self, value: Number, beside: Sequence[TensorType], span: Span, place: Place) -> Value:
        """A constant of rank 0 with the dtype that a Python number, or a size, takes beside these tensors."""
        dtype = weak_dtype(value, beside)
        # No operator computes in a quantised dtype, and each refuses it in its own words.
        dtype = DType.FLOAT32 if dtype.is_quantised else dtype
        return self.filled(TensorType(dtype, ()), value, span, place)

    def filled(self, type: TensorType, value: Number, span: Span, place: Place) -> Value:
        """A constant of this type, the same number everywhere."""
        full: Any = OPERATORS["full"]
        return self.apply(Use(full(type.shape, value, type.dtype), (), span, place))[0]

    # Weights

    def _place_weights(self, use: Use, by_slot: Mapping[str, Any], path: str) -> list[tuple[str, Value]]:
        types = use.op.weights(**by_slot)
        given = {slot: value for slot, value in use.operands if slot in use.op.slots}
        for slot in given:
            if slot not in types:
                text = f"`{use.op.name}` as it is configured here has no weight `{slot}`"
                raise mistake(text, use.spans.get(slot, use.span))
        if types.keys() - given.keys():
            _require_label(use)
            self._require_same_configuration(use, path)
        return [
            (
                slot,
                _fitting(use, slot, given[slot], type)
                if slot in given
                else self._stored(use, slot, type, path),
            )
            for slot, type in types.items()
        ]

    def _require_same_configuration(self, use: Use, path: str) -> None:
        first = self._labels.setdefault(path, use)
        if first.op == use.op:
            return
        raise Mistake(
            Diagnostic(
                f"label `{path or '_'}` is used twice with different configurations",
                use.span,
                origins=(Origin(first.span, "first used here"),),
                help=("two uses of one label share their weights, so they must agree",),
            )
        )

    def _stored(self, use: Use, slot: str, type: TensorType, path: str) -> Weight:
        """The checkpoint's weight in a slot."""
        key = use.op.key(slot, path)
        _require_size(use, type, f"weight `{key}`")
        own = Weight(key, type, key, constant=use.op.constant)
        weight, first = self._weights.setdefault(key, (own, use))
        if weight.constant != use.op.constant:
            what = ("a constant", "a weight of the checkpoint")
            here, there = what if use.op.constant else reversed(what)
            text = f"`{key}` is {here} here and {there} elsewhere"
            raise mistake_with(text, use.span, use.note, first.span, f"{there} here")
        if weight.type == type:
            return weight
        message = f"weight `{key}` is needed as {type} here and as {weight.type} elsewhere"
        raise mistake_with(message, use.span, use.note, first.span, first.note or f"{weight.type} here")


def _keeps(source: DType, dtype: DType, values: ValueRange) -> bool:
    """Whether a tensor of a dtype holds the numbers of an input with this range as they are."""
    if not (source.is_integer and dtype.is_integer):
        return False
    least, most = dtype.limits
    return least <= values.low and values.high <= most


def _fitting(use: Use, slot: str, value: Value, type: TensorType) -> Value:
    """A computed weight of the type that the operator needs."""
    if value.type == type:
        return value
    span = use.spans.get(slot, use.span)
    help = ""
    if value.type.with_dtype(type.dtype) == type:
        quantised = value.type.dtype.is_quantised
        help = "`dequantize` it first" if quantised else f"cast it: `to({span.text}, {type.dtype})`"
    raise mistake(
        f"the weight `{slot}` of `{use.op.name}` must be {type}, not {value.type}",
        span,
        "",
        help,
    )


def _wishes(use: Use, path: str, count: int) -> Sequence[str]:
    prefix = f"{use.place.path}." if use.place.path else ""
    if len(use.hints) == count:
        return [prefix + hint for hint in use.hints]
    own = path if use.label else f"{prefix}{use.op.name}"
    return [own] if count == 1 else [f"{own}_{index}" for index in range(count)]


def _infer(use: Use, by_slot: Mapping[str, Any]) -> tuple[TensorType, ...]:
    try:
        types = infer(use.op, by_slot, use.bodies)
    except Refused as refusal:
        raise refused(refusal, use.operands, use.spans, use.span, use.note) from refusal
    for type in types:
        _require_size(use, type, "the result")
    return types


def _require_size(use: Use, type: TensorType, what: str) -> None:
    if type.excess:
        raise mistake(f"{what} would be {type}, too large for TensorRT: {type.excess}", use.span, use.note)


def refused(
    refusal: Refused,
    operands: Sequence[tuple[str, Value]],
    spans: Mapping[str, Span],
    span: Span,
    note: str = "",
) -> Mistake:
    """An operator's refusal at the parameter or operand it is about, else at the operator's own ``span``."""
    types = [str(value.type) for slot, value in operands if slot == refusal.about]
    place, label = spans.get(refusal.about or "", span), ""
    if place == span or not types:
        label = note
    elif len(types) <= 4:
        label = " and ".join(types)
    help = (refusal.help,) if refusal.help else ()
    return Mistake(Diagnostic(refusal.message, place, label, help=help))


def _require_label(use: Use) -> None:
    name = use.op.name
    if use.label is None and use.op.constant:
        text = f"`{name}` needs a label, which is its key in the file that has its values"
        raise mistake(text, use.span, "", f"write `label: {name}(…)`")
    if use.label is None:
        raise Mistake(
            Diagnostic(
                f"`{name}` has weights, so it needs a label that says where they are in the state dict",
                use.span,
                help=(
                    f"write `label: {name}(…)`, with the name that `print(module)` shows",
                    f"or `_: {name}(…)` in a block that is this module itself, at its own keys",
                ),
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
