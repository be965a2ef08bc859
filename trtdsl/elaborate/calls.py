"""Calls: operators meet tensors, blocks are entered, compile-time functions are run.

In: an evaluated callee with its arguments.  Out: the tensors (or the compile-time value) it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from trtdsl.diagnostics import Origin, Span
from trtdsl.elaborate.arguments import (
    coerced,
    construct,
    is_parameter,
    match_arguments,
    recall_namesake,
    recall_piped,
    tensor_first,
    unapplied,
)
from trtdsl.elaborate.builtins import Unsuitable, bounded, unanswered
from trtdsl.elaborate.configuring import configure
from trtdsl.elaborate.mistakes import Mistake, in_terms_of, mistake
from trtdsl.elaborate.placing import Place, Placer, Use, refused
from trtdsl.elaborate.tensor_arguments import gathered, lacking, may_be_tensors, out_of_tuples, spread
from trtdsl.elaborate.values import (
    CALLEES,
    Argument,
    BlockRef,
    Builtin,
    Callee,
    Configured,
    DefRef,
    Namespace,
    OperatorRef,
    in_words,
    instead_of,
    is_tensor,
)
from trtdsl.ir import Graph, Value, bodies_by_name, infer, operand_types
from trtdsl.ops.arguments import hints
from trtdsl.ops.base import REQUIRED, Configure, Module, Op
from trtdsl.ops.refused import Refused
from trtdsl.types import DType, SymbolicDim, TensorType, Undecided


class Call(msgspec.Struct, frozen=True):
    """A callee about to be applied at a place of the model."""

    span: Span
    place: Place
    label: str | None = None
    """the state-dict path given here; "" is `_`, which adds no level"""
    hints: Sequence[str] = ()
    head: str = ""
    """how the text names the tensor that is piped in"""


EnterBlock = Callable[[BlockRef, Sequence[Argument], Sequence[Argument], Call], Any]
"""Runs a block's body: the block, its configuration, its tensors, and the place."""


CallDef = Callable[[DefRef, Sequence[Argument], Call], Any]
"""Runs a def's body: the def, its arguments, and the place."""


class Caller:
    """Applies callees."""

    def __init__(self, placer: Placer, enter_block: EnterBlock, call_def: CallDef) -> None:
        self.placer = placer
        self.enter_block = enter_block
        self.call_def = call_def
        self.waiting: dict[int, Configured] = {}
        """modules and blocks that have a label and were not placed so far, by their identity"""

    def pipe(self, callee: Any, piped: Argument, arguments: Sequence[Argument] | None, call: Call) -> Any:
        """``piped -> callee(arguments)``; ``arguments`` is None where none are written."""
        tensors = spread(piped, call.span, callee)
        if isinstance(callee, Configured):
            further = tuple(arguments or ())
            if any(not may_be_tensors(argument.value) for argument in further):
                text = f"`{callee.callee.name}` is configured already; only tensors can follow"
                raise mistake(text, call.span)
            return self.place(callee, [*tensors, *further], call)
        if isinstance(callee, BlockRef) or (isinstance(callee, OperatorRef) and callee.is_module):
            return self.place(Configured(callee, tuple(arguments or ()), call.span), tensors, call)
        try:
            return self.call(callee, [*gathered(callee, tensors), *(arguments or ())], call)
        except Mistake as error:
            raise recall_piped(error, tensors, arguments or ()) from error

    def call(self, callee: Any, arguments: Sequence[Argument], call: Call) -> Any:
        """``callee(arguments)`` in an expression."""
        if isinstance(callee, Builtin):
            return self._builtin(callee, arguments, call)
        if isinstance(callee, DefRef):
            return self.call_def(callee, arguments, call)
        if isinstance(callee, Configured):
            return self.place(callee, arguments, call)
        if isinstance(callee, OperatorRef) and not callee.is_module:
            return self._function(callee, arguments, call)
        if isinstance(callee, (OperatorRef, BlockRef)):
            configured = Configured(callee, tuple(arguments), call.span)
            return configured if _takes_tensors(callee) else self.place(configured, (), call)
        raise mistake(f"{in_words(callee)} cannot be called", call.span, "", _instead_of_calling(callee))

    def place(self, configured: Configured, tensors: Sequence[Argument], call: Call) -> Any:
        """Apply a configured module or block to tensors."""
        callee, call = configured.callee, _at_home(configured, call)
        self.waiting.pop(id(configured), None)
        if isinstance(callee, BlockRef):
            return self.enter_block(callee, configured.arguments, tensors, call)
        bodies = {a.name: a for a in configured.arguments if a.name in callee.op.bodies}
        own = [argument for argument in configured.arguments if argument.name not in bodies]
        op, spans = configure(callee, own, call.span)
        tensors = out_of_tuples(op, tensors)
        order = tuple(operand.name for operand in callee.op.operands)
        if callee.op.in_two_lists and all(argument.name is None for argument in tensors):
            tensors = gathered(callee, list(tensors))
        weights = op.slots
        bound = match_arguments(callee.name, order, tensors, call.span, "tensor", by_name=weights)
        for name in weights:
            if name in bound and bound[name].value is None:
                help = f"leave it out to take it from the checkpoint, or configure `{callee.name}` without it"
                raise mistake(f"`{name}` of `{callee.name}` cannot be none", bound[name].span, "", help)
        try:
            return self.apply(op, {**bound, **bodies}, spans, call)
        except Mistake as error:
            raise in_terms_of(callee.name, op.name, error) from error

    def _function(self, callee: OperatorRef, arguments: Sequence[Argument], call: Call) -> Any:
        if callee.spelling and callee.spelling.configure:
            return self._functional(callee, callee.spelling.configure, arguments, call)
        operands = tuple(operand.name for operand in callee.op.operands)
        order = (callee.spelling and callee.spelling.parameters) or callee.op.order
        order = order or (*operands, *callee.op.parameters)
        if operands and operands[0] not in order:
            order = (*operands, *order)
        apart = {*operands, *callee.op.bodies}
        by_name = (*callee.op.parameters, *callee.op.ignored, *callee.op.bodies)
        try:
            bound = match_arguments(
                callee.name, order, arguments, call.span, "argument", callee.op.variadic, by_name
            )
            parameters = {name: argument for name, argument in bound.items() if name not in apart}
            tensors = {name: argument for name, argument in bound.items() if name in apart}
            self._require_tensor_first(callee, tensors, call)
            op, spans = construct(callee, parameters, call.span)
        except Mistake as error:
            raise recall_namesake(error, callee.name) from error
        try:
            return self.apply(op, tensors, spans, call)
        except Mistake as error:
            raise in_terms_of(callee.name, op.name, error) from error

    def _require_tensor_first(self, callee: OperatorRef, given: Mapping[str, Argument], call: Call) -> None:
        """Refuse a parameter where the tensor belongs, before what then seems to be missing is asked for.

        A string may be the key of a tensor, in a `weights` section.
        """
        if any(is_tensor(argument.value) or isinstance(argument.value, str) for argument in given.values()):
            return
        for operand in callee.op.operands[:1]:
            if operand.name in given and not (operand.optional or operand.variadic):
                self._tensor(callee.name, operand.name, given[operand.name], (), call, tensor_first(callee))

    def _functional(
        self, callee: OperatorRef, configure: Configure, arguments: Sequence[Argument], call: Call
    ) -> Any:
        """A function that takes a module's weights: the module, configured by what it is given."""
        bound, given, values = self._split_functional(callee, arguments, call)
        operands = [(name, argument.value) for name, argument in given.items()]
        spans = {name: argument.span for name, argument in bound.items()}
        op: Op | None = None
        try:
            op = configure({name: value.type for name, value in operands}, values)
            types = operand_types(op, operands)
            infer(op, types)
            wanted = op.weights(**types)
        except Refused as refusal:
            error = refused(refusal, operands, spans, call.span, _note(operands, call.head))
            raise (in_terms_of(callee.name, op.name, error) if op else error) from refusal
        try:
            return self.apply(op, {**given, **self._filled(callee, wanted, given, call)}, spans, call)
        except Mistake as error:
            raise in_terms_of(callee.name, op.name, error) from error

    def _filled(
        self, callee: OperatorRef, wanted: Mapping[str, TensorType], given: Mapping[str, Argument], call: Call
    ) -> dict[str, Argument]:
        """The constants in the places of weights that a function does without, though its module does not."""
        absent = {slot: type for slot, type in wanted.items() if slot not in given}
        neutral = callee.spelling.neutral if callee.spelling else {}
        for slot in absent.keys() - neutral.keys():
            raise mistake(f"`{callee.name}` needs the tensor `{slot}` here", call.span)
        filled = {
            slot: self.placer.filled(type, neutral[slot], call.span, call.place)
            for slot, type in absent.items()
        }
        return {slot: Argument(value, call.span) for slot, value in filled.items()}

    def _split_functional(
        self, callee: OperatorRef, arguments: Sequence[Argument], call: Call
    ) -> tuple[dict[str, Argument], dict[str, Argument], dict[str, Any]]:
        """All arguments of such a function by name; those that are tensors; the values of the others."""
        order = callee.spelling.parameters if callee.spelling else ()
        extra = {**(callee.spelling.extra if callee.spelling else {})}
        ignored = callee.op.ignored
        by_name = (*extra, *ignored)
        bound = match_arguments(callee.name, order, arguments, call.span, "argument", by_name=by_name)
        operands = callee.op.operands
        slots = {*(operand.name for operand in operands), *callee.op.weight_slots}
        slots |= {name for name, annotation in extra.items() if annotation is TensorType}
        given = {name: a for name, a in bound.items() if name in slots and a.value is not None}
        for name, argument in given.items():
            first = tensor_first(callee) if name == operands[0].name else ()
            self._tensor(callee.name, name, argument, (), call, first)
        if missing := [each.name for each in operands if not each.optional and each.name not in given]:
            raise mistake(f"`{callee.name}` needs the tensor `{missing[0]}`", call.span)
        if missing := [name for name in order if name not in {*slots, *bound} and _is_required(callee, name)]:
            raise mistake(f"`{callee.name}` needs `{missing[0]}`", call.span)
        parameters = {name: a for name, a in bound.items() if name not in slots and name not in ignored}
        return bound, given, coerced(callee, parameters, {**hints(callee.op), **extra})

    def apply(self, op: Op, bound: Mapping[str, Argument], spans: Mapping[str, Span], call: Call) -> Any:
        """An operator on its operands and computed weights, by name."""
        operands = self._operands(op, bound, call)
        spans = {**spans, **{name: argument.span for name, argument in bound.items()}}
        note = _note(operands, call.head)
        bodies = self._bodies(op, bound, operands, call) if op.bodies else ()
        results = self.placer.apply(
            Use(op, operands, call.span, call.place, call.label, call.hints, spans, note, bodies)
        )
        return results[0] if len(results) == 1 and not op.gives_tuple else results

    # Bodies

    def _bodies(
        self, op: Op, bound: Mapping[str, Argument], operands: Sequence[tuple[str, Value]], call: Call
    ) -> tuple[Graph, ...]:
        """The blocks or functions given for an operator's bodies, each run once on inputs of its own."""
        spans = {name: argument.span for name, argument in bound.items()}
        try:
            wanted = op.body_inputs(**operand_types(op, operands))
        except Refused as refusal:
            raise refused(refusal, operands, spans, call.span) from refusal
        missing = [name for name in op.bodies if name not in bound]
        if missing and op.bodies_optional:
            return ()
        if missing:
            raise mistake(f"`{op.name}` needs `{missing[0]}`, a block or a function", call.span)
        given = [value for slot, value in operands if slot == "operands"]
        found = tuple(self._body(op, name, bound[name], wanted[name], given, call) for name in op.bodies)
        for name, body in bodies_by_name(op, found).items():
            if op.keeps_types and body.weights:
                text = f"`{name}` of `{op.name}` cannot have weights, as `{body.weights[0].key}`"
                raise mistake(text, bound[name].span, "", "give them to both as tensors")
        return found

    def _body(
        self,
        op: Op,
        name: str,
        argument: Argument,
        types: Sequence[TensorType],
        given: Sequence[Value],
        call: Call,
    ) -> Graph:
        callee: Any = argument.value
        if not isinstance(callee, CALLEES):
            text = f"`{name}` of `{op.name}` must be a block or a function, not {in_words(callee)}"
            raise mistake(text, argument.span)
        block = callee.callee if isinstance(callee, Configured) else callee
        declared = _tensor_names(block)
        names = declared if len(declared) == len(types) else [f"{name}_{i}" for i in range(len(types))]
        with self.placer.body() as builder:
            inputs = [builder.input(each, type) for each, type in zip(names, types, strict=True)]
            for inner, outer in zip(inputs, given, strict=False):
                self.placer.derive(inner, [outer])
            tensors = [Argument(value, argument.span) for value in inputs]
            origins = (Origin(argument.span, f"run by `{op.name}`"), *call.place.origins)
            # A block without a label adds no level to the keys; a module with weights needs one.
            has_label = isinstance(callee, Configured) and callee.label is not None
            label = "" if isinstance(block, BlockRef) and not has_label else None
            inner = Call(argument.span, replace(call.place, origins=origins), label=label)
            if isinstance(callee, BlockRef):
                result = self.place(Configured(callee, (), argument.span), tensors, inner)
            else:
                result = self.call(callee, tensors, inner)
            outputs = result if isinstance(result, tuple) else (result,)
            for value in outputs:
                if not is_tensor(value):
                    text = f"`{name}` of `{op.name}` must give tensors, not {in_words(value)}"
                    raise mistake(text, argument.span)
            return builder.graph(block.name, {f"out{i}": value for i, value in enumerate(outputs)})

    # Operands

    def _operands(self, op: Op, bound: Mapping[str, Argument], call: Call) -> list[tuple[str, Value]]:
        given = {name: argument for name, argument in bound.items() if argument.value is not None}
        beside = [a.value.type for a in given.values() if is_tensor(a.value)]
        found: list[tuple[str, Value]] = []
        for operand in op.operands:
            name, argument = operand.name, given.get(operand.name)
            if argument is None:
                if not operand.optional:
                    needed = [each.name for each in op.operands if not each.optional]
                    piped = given if isinstance(op, Module) else ()
                    raise lacking(
                        op.name, name, needed, piped, call.span, "" if given else unapplied(type(op))
                    )
            elif operand.variadic:
                if operand.optional and argument.value in ([], ()):
                    continue
                found += [(name, value) for value in _tensor_list(op, name, argument)]
            else:
                found.append((name, self._tensor(op.name, name, argument, beside, call)))
        weights = [(slot, given[slot]) for slot in op.slots if slot in given]
        return found + [(slot, self._tensor(op.name, slot, argument, (), call)) for slot, argument in weights]

    def _tensor(
        self,
        callee: str,
        name: str,
        argument: Argument,
        beside: Sequence[Any],
        call: Call,
        instead_of_parameter: Sequence[str] = (),
    ) -> Value:
        value = argument.value
        if is_tensor(value):
            return value
        if isinstance(value, (bool, int, float, SymbolicDim)) and beside:
            return self.placer.scalar(value, beside, argument.span, call.place)
        is_size = isinstance(value, SymbolicDim)
        help = "its size is known only at run time" if is_size else instead_of(value, argument.span)
        helps = (help, *(instead_of_parameter if is_parameter(value) else ()))
        raise mistake(
            f"`{name}` of `{callee}` must be a tensor, not {in_words(value)}", argument.span, "", *helps
        )

    # Compile-time functions

    def is_for_tensors(self, name: str, arguments: Sequence[Argument]) -> bool:
        """Whether a function with two meanings, such as ``sum``, is meant as the one over tensors."""
        if name in ("len", "list", "reversed") or isinstance(arguments[0].value, (list, tuple)):
            return False
        return any(is_tensor(argument.value) for argument in arguments)

    def _builtin(self, callee: Builtin, arguments: Sequence[Argument], call: Call) -> Any:
        if callee.operator and arguments and self.is_for_tensors(callee.name, arguments):
            return self._function(callee.operator, arguments, call)
        if call.label:
            raise mistake(
                f"`{callee.name}` gives a compile-time value, which cannot carry a label", call.span
            )
        positional = [argument.value for argument in arguments if argument.name is None]
        named = {argument.name: argument.value for argument in arguments if argument.name}
        try:
            value = callee.function(*positional, **named)
        except Unsuitable as error:
            raise mistake(f"`{callee.name}` {error}", call.span) from error
        except Undecided as undecided:
            raise mistake(str(undecided), call.span, "", *unanswered(undecided).help) from undecided
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            given = " and ".join(in_words(argument.value) for argument in arguments)
            text = f"does not take {given}" if given else "needs an argument"
            runs_on = any(isinstance(argument.value, SymbolicDim) for argument in arguments)
            help = _RUNS_ON if callee.name == "range" and runs_on else ()
            raise mistake(f"`{callee.name}` {text}", call.span, "", *help) from error
        try:
            return bounded(value)
        except Unsuitable as error:
            raise mistake(str(error), call.span) from error


_RUNS_ON = (
    "`arange` makes a tensor of the numbers up to a dynamic dimension",
    "`scan` runs along a dynamic dimension",
)
"""What goes on while the engine runs, in place of a loop over a ``range``."""


def _at_home(configured: Configured, call: Call) -> Call:
    """The call of a module or block that brings its label along, at the path where it was written."""
    if configured.label is None:
        return call
    if call.label is not None:
        text = f"`{configured.callee.name}` has the label `{configured.label or '_'}` already"
        raise mistake(text, call.span)
    home = configured.home or call.place
    place = replace(call.place, path=home.path, unlabelled=home.unlabelled)
    return replace(call, label=configured.label, place=place)


def _is_required(callee: OperatorRef, parameter: str) -> bool:
    """Whether a function of a module's weights cannot do without a parameter."""
    defaults = callee.spelling.defaults if callee.spelling else {}
    known = parameter in callee.op.parameters
    return parameter not in defaults and known and callee.op.default(parameter) is REQUIRED


def _tensor_list(op: Op, name: str, argument: Argument) -> Sequence[Value]:
    values: Any = argument.value
    what = f"`{name}` of `{op.name}` must be a list of tensors"
    if is_tensor(values):
        raise mistake(f"{what}, not one tensor", argument.span, str(values.type))
    if not isinstance(values, (list, tuple)):
        raise mistake(f"{what}, not {in_words(values)}", argument.span)
    if not values:
        raise mistake(f"{what}, not an empty one", argument.span)
    for value in values:
        if not is_tensor(value):
            raise mistake(f"{what}, but it holds {in_words(value)}", argument.span)
    return values


def _tensor_names(callee: Callee) -> list[str]:
    """What a block or def calls the tensors that it is given; none of what has no names of its own."""
    match callee:
        case BlockRef(block=block):
            return [tensor.name.text for tensor in block.tensors]
        case DefRef(declared=declared):
            return [parameter.name.text for parameter in declared.parameters]
        case _:
            return []


def _takes_tensors(callee: OperatorRef | BlockRef) -> bool:
    return bool(callee.block.tensors if isinstance(callee, BlockRef) else callee.op.operands)


def _instead_of_calling(callee: Any) -> str:
    if isinstance(callee, DType):
        return f"to convert a tensor, write `to(x, {callee})`"
    return _blocks_of(callee) if isinstance(callee, Namespace) else ""


def _blocks_of(namespace: Namespace) -> str:
    return f"it holds {', '.join(f'`{namespace.name}.{name}`' for name in namespace.items)}"


def _note(operands: Sequence[tuple[str, Value]], head: str) -> str:
    """What the operator was given, for under the caret."""
    if not operands:
        return ""
    types = [str(value.type) for _, value in operands[:4]]
    if len(operands) == 1:
        return f"{f'`{head}`' if head else 'its input'} is {types[0]}"
    rest = ", …" if len(operands) > 4 else ""
    return f"its inputs are {', '.join(types[:-1])}{',' if rest else ' and'} {types[-1]}{rest}"
