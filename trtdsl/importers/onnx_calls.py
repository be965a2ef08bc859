"""The operations of a file of PyTorch's exporter as the calls of PyTorch that they came from.

In: a program as the file's operators say it, and for each value the call of PyTorch that the file's metadata
says it is a part of.  Out: one in which the operations of a call are that call, with its own arguments.

The operators decide.  A call stands in their place only if both are shown to compute the same
(:mod:`~trtdsl.importers.canonical`); a file that was edited after it was exported keeps what it computes::

    Transpose(perm = [0, 2, 1, 3])     %transpose : aten.transpose.int(%view, 1, 2)     transpose(1, 2)
    Transpose(perm = [0, 3, 2, 1])     %transpose : aten.transpose.int(%view, 1, 2)     permute(0, 3, 2, 1)
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

import msgspec

from trtdsl.importers import canonical_layers, canonical_moving, canonical_values
from trtdsl.importers.attention import ATTENTION
from trtdsl.importers.canonical import Canonical, Unclear
from trtdsl.importers.fx_calls import FxCall, bound, parsed_call
from trtdsl.importers.onnx_lines import as_written, line_of
from trtdsl.importers.onnx_node import Known, Store, number
from trtdsl.importers.onnx_promotions import without_promotions
from trtdsl.importers.onnx_signature import Signature
from trtdsl.importers.onnx_types import result_types
from trtdsl.importers.program import Argument, Array, Call, Operation, Program, Ref, refs, renamed, rewritten
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, SymbolicDim, TensorType


def as_called(program: Program, store: Store, values: Mapping[str, Any], signature: Signature) -> Program:
    """The program by the calls of its source; ``values`` are those of the file by its names."""
    reader = _Calls(program, store, values, signature)
    operations = without_promotions(tuple(reader.operations()), store.called, program.types, store.constants)
    operations, again = _split_once(operations)
    program = rewritten(program, operations, again)
    return msgspec.structs.replace(program, operations=operations, ties=_ties(operations, store))


def _split_once(operations: Sequence[Operation]) -> tuple[list[Operation], dict[str, Argument]]:
    """Operations that are one call with several results, which an exporter copies to where each is read; and
    the values that are another's."""
    firsts: dict[Hashable, int] = {}
    kept: list[Operation] = []
    same: dict[str, Argument] = {}
    for operation in operations:
        operation = renamed(operation, same)
        key = (operation.name, tuple(operation.arguments.items()), operation.frames)
        if len(operation.results) == 1 or key not in firsts:
            firsts[key] = len(kept)
            kept.append(operation)
        else:
            first = kept[firsts[key]].results
            same |= {result: Ref(own) for result, own in zip(operation.results, first, strict=True)}
    return kept, same


def _ties(operations: Sequence[Operation], store: Store) -> Mapping[str, tuple[str, ...]]:
    """The keys of a weight that several modules share: where each has it that runs with it."""
    found: dict[str, tuple[str, ...]] = {}
    for operation in operations:
        weight = operation.arguments.get("weight")
        key = store.weights.get(weight.value, "") if isinstance(weight, Ref) else ""
        module = operation.calls[-1] if operation.calls else None
        if not key or module is None or not _owns_weight(module, operation):
            continue
        own = f"{module.path}.weight"
        if key.rpartition(".")[0] != module.path and key.endswith(".weight") and own not in store.state:
            found[key] = (*found.get(key, (key,)), own)
            store.arrays[own] = store.arrays[key]
    return {key: keys for keys in found.values() for key in keys}


def _owns_weight(module: Call, operation: Operation) -> bool:
    """Whether the weight of an operation is an attribute of the module that it runs in: it is in PyTorch's
    own classes, and in those derived from them, such as a ``ScaledEmbedding``."""
    derived = _CLASSES.get(operation.base)
    return module.kind.startswith("torch.nn.modules.") or (
        derived is not None and module.kind.endswith(derived)
    )


_CLASSES = {"embedding": "Embedding", "linear": "Linear"}

RULE_FILES = (canonical_layers, canonical_moving, canonical_values)
"""Where it is said what operations compute: importing them registers them."""

_BATCH_NORMS: Mapping[str, Mapping[str, Argument]] = {
    "_native_batch_norm_legit_no_training": {"training": False},
    "_native_batch_norm_legit.no_stats": {"running_mean": None, "running_var": None, "training": True},
}
"""What export makes of ``batch_norm``, and what it leaves out of its arguments."""

_SEVERAL = frozenset({"max.dim", "min.dim", "lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input"})
"""Calls with several results, of which a file may have one."""

MOST_GONE = 3
"""The arguments of a call that are looked for where an optimizer has taken their names away."""

_TAKEN_APART = {
    "adaptive_avg_pool1d": ("mean",),
    "adaptive_avg_pool2d": ("mean",),
    "adaptive_avg_pool3d": ("mean",),
}
"""Calls of a module that export has as others in its ONNX files, and as themselves elsewhere."""


def _is_plainer(operation: Operation, call: FxCall) -> bool:
    """Whether an operator is what the source says, and the call what export made of it."""
    base = call.target.partition(".")[0]
    return base in _TAKEN_APART.get(operation.base, ()) and f"{base}(" not in line_of(operation)


def _unrecognised(operation: Operation, calls: set[Call]) -> Operation:
    """An operation of an attention that is not as it was called: what the file has is of another class."""
    if calls.isdisjoint(operation.calls) or not any(each.kind == ATTENTION for each in operation.calls):
        return operation
    kept = tuple(
        msgspec.structs.replace(each, kind=each.name) if each in calls and each.kind == ATTENTION else each
        for each in operation.calls
    )
    return msgspec.structs.replace(operation, calls=kept)


class _Calls:
    def __init__(
        self, program: Program, store: Store, values: Mapping[str, Any], signature: Signature
    ) -> None:
        self._program = program
        self._store = store
        self._values = values
        self._signature = signature
        self._weights = {key: name for name, key in store.weights.items()}
        self._groups: dict[str, list[Operation]] = {}
        for operation in program.operations:
            text = store.called.get(operation.results[0], "")
            self._groups.setdefault(text, []).append(operation)
        texts = (*self._groups, *store.moved)
        self._calls = {call.name: call for text in texts if (call := parsed_call(text))}
        named = {each.value for name, each in values.items() if isinstance(each, Ref) and not is_inner(name)}
        self._inner = {
            result: operation
            for operation in program.operations
            for result in operation.results
            if result not in named
        }
        """what the exporter has between a call and its result"""
        self._turned: dict[str, Operation] = {}
        """operations that give a weight's transposed matrix, by the call; the file's read it as it is"""
        self._placed: set[str] = set()
        self._found: dict[str, str] = {}
        """of values whose names an optimizer took away what they are now"""

    def operations(self) -> Iterator[Operation]:
        """The operations, those of a call in its own words where it is shown to be what they compute."""
        apart: set[Call] = set()
        found: dict[int, Operation | None] = {}
        outside = self._read_outside()
        for text, group in self._groups.items():
            call = parsed_call(text) if text else None
            live = [each for each in group if not outside.isdisjoint(each.results)]
            if call is None or not live:
                continue
            respelled = self._respelled(call, live, group)
            if respelled is not None:
                found |= {id(live[0]): respelled, **{id(each): None for each in live[1:]}}
            else:
                apart |= {each for operation in live for each in operation.calls}
        for operation in self._program.operations:
            each = found.get(id(operation), operation)
            if each is not None:
                yield from self._turned_for(each)
                yield _unrecognised(each, apart)

    def _turned_for(self, reader: Operation) -> Iterator[Operation]:
        """The operations that turn weights for another, where it is the first that reads them."""
        for operation in self._turned.values():
            (result,) = operation.results
            if result in reader.operands and result not in self._placed:
                self._placed.add(result)
                yield msgspec.structs.replace(operation, calls=reader.calls, frames=reader.frames)

    def _read_outside(self) -> set[str]:
        """The values that are read by another call than the one that they are a part of, or are outputs."""
        called = self._store.called
        found = {value for _, argument in self._program.outputs for value in refs(argument)}
        for operation in self._program.operations:
            text = called.get(operation.results[0], "")
            found |= {value for value in operation.operands if called.get(value, "") != text}
        return found - self._inner.keys()

    def _respelled(
        self, call: FxCall, live: Sequence[Operation], group: Sequence[Operation]
    ) -> Operation | None:
        """The call, where it computes what the operations do that others read."""
        given = bound(call)
        if given is None or (len(live) == 1 and _is_plainer(live[0], call)):
            return None
        inside = {result: operation for operation in group for result in operation.results}
        inside = {**self._inner, **inside}
        gone = [name for name in dict.fromkeys(_names(tuple(given.values()))) if self._is_gone(name)]
        for trial in self._trials(gone, live, inside):
            found = self._as_proposed(call, given, live, inside, trial)
            if found is not None:
                own = self._restored(trial)
                self._found |= trial | own
                return renamed(found, {trial[name]: Ref(value) for name, value in own.items()})
        return None

    def _trials(
        self, gone: Sequence[str], live: Sequence[Operation], inside: Mapping[str, Operation]
    ) -> Iterator[dict[str, str]]:
        """What values may be that an optimizer renamed: those which the operations read in their place."""
        gone = [name for name in gone if name not in self._found]
        if not gone:
            yield {}
            return
        read = dict.fromkeys(value for each in live for value in _leaves(each, inside))
        if len(gone) <= MOST_GONE:
            for values in permutations(read, len(gone)):
                yield dict(zip(gone, values, strict=True))

    def _as_proposed(
        self,
        call: FxCall,
        given: Mapping[str, Any],
        live: Sequence[Operation],
        inside: Mapping[str, Operation],
        trial: Mapping[str, str],
    ) -> Operation | None:
        types = self._program.types
        results = tuple(result for operation in live for result in operation.results)
        known = {**self._found, **trial}
        try:
            shape = types[results[0]].shape
            arguments = {name: self._argument(value, shape, known) for name, value in given.items()}
            constants = self._constants()  # those too that are the call's alone
            name = call.target
            if name in _BATCH_NORMS:
                name, arguments = "batch_norm", {**arguments, **_BATCH_NORMS[name]}
            arrays = {value: self._store.arrays[key] for value, key in self._store.weights.items()}
            operators = Canonical(types, constants, inside, arrays)
            wanted = {operators.value(result): result for result in results}
            given_types = tuple(types[result] for result in results)
            if len(live) > 1 or name in _SEVERAL:
                given_types = result_types(name.partition(".")[0], arguments, types)
            proposed = Operation(name, arguments, results, live[0].calls, live[0].frames)
            found = Canonical(types, constants, self._inner, arrays).results(proposed, given_types)
        except (Unclear, Refused, LookupError, TypeError, ValueError):
            return None
        proposed = as_written(proposed, types)
        if len(found) == 1:
            return proposed if list(found) == list(wanted) else None
        if not wanted.keys() <= set(found):
            return None
        pairs = zip(found, given_types, strict=True)
        names = tuple(wanted.get(each) or self._unread(type) for each, type in pairs)
        return msgspec.structs.replace(proposed, results=names)

    def _constants(self) -> Mapping[str, Array]:
        """The program's constants, and those weights of it that are computed in the file."""
        store = self._store
        in_file = set(store.placed.values())
        computed = {name: store.arrays[key] for name, key in store.weights.items() if name not in in_file}
        return {**store.constants, **computed}

    def _restored(self, trial: Mapping[str, str]) -> dict[str, str]:
        """The values of weights whose names an optimizer took away, or whose values it found equal to those
        of others: each under its own key.
        """
        store, found = self._store, dict[str, str]()
        for name, value in trial.items():
            placeholder, key = self._signature.placeholders.get(name), store.weights.get(value)
            if placeholder is None or key is None or placeholder.target in (key, *store.arrays):
                continue
            own = placeholder.target
            array = store.arrays[key] if key in self._signature.weights else store.arrays.pop(key)
            if key not in self._signature.weights:
                store.weights[value] = own
                store.arrays[own] = array
            else:
                found[name] = store.weight(array, own, (own, "")).value
        return found

    def _unread(self, type: TensorType) -> str:
        """A name for a result that nobody reads."""
        name = self._store.name("unread")
        self._store.types[name] = type
        return name

    def _argument(self, value: Any, shape: Sequence[Dim], known: Mapping[str, str]) -> Argument:
        """A call's argument; sizes that are not in the file any more are those of the result."""
        if not isinstance(value, tuple):
            return self._value(value.value, known) if isinstance(value, Ref) else value
        items: tuple[Any, ...] = value
        sizes = shape if len(items) == len(shape) else (None,) * len(items)
        found: list[Argument] = []
        for each, size in zip(items, sizes, strict=True):
            is_gone = isinstance(each, Ref) and self._is_gone(each.value) and each.value not in known
            found.append(size if is_gone and size is not None else self._argument(each, shape, known))
        return tuple(found)

    def _is_gone(self, name: str) -> bool:
        """Whether the file has no value of a name that a call has."""
        if name in self._signature.placeholders:
            value = self._signature.value_of(name)
            return value not in self._values and value not in self._weights
        return name not in self._values

    def _value(self, name: str, known: Mapping[str, str]) -> Argument:
        """What a call's argument is in the program: a tensor, or a size."""
        if name in known:
            return Ref(known[name])
        file_name = self._signature.value_of(name)
        if file_name in self._weights and name in self._signature.placeholders:
            return Ref(self._weights[file_name])
        found = self._values[file_name if file_name in self._values else name]
        if isinstance(found, Ref):
            return found
        assert isinstance(found, Known)
        call = self._calls.get(name)
        if found.is_symbolic or (call is not None and not call.is_tensor):
            (size,) = found.array.reshape(-1).tolist()
            return size if isinstance(size, SymbolicDim) else number(found)
        if found.is_weight and found.is_transposed and call is not None:
            return self._transposed(found, call)
        if found.is_weight and not found.is_transposed:
            return self._store.state_weight(found.initialiser)
        return self._store.constant(found.array, found.name or "constant")

    def _transposed(self, weight: Known, call: FxCall) -> Ref:
        """What a call gives that turns a weight, as an operation of its own."""
        given = bound(call)
        if given is None or call.target not in _TURNS:
            raise Unclear(call.target)
        if call.name not in self._turned:
            source, result = self._store.state_weight(weight.initialiser), self._store.name(call.target)
            type = self._store.types[source.value]
            self._store.types[result] = type.with_shape(type.shape[::-1])
            operation = Operation(call.target, {**given, "self": source}, (result,))
            self._inner[result] = self._turned[call.name] = operation
        return Ref(self._turned[call.name].results[0])


_TURNS = frozenset({"transpose.int", "t", "permute", "numpy_T"})
"""Calls that give the transposed matrix of one."""


def _names(value: Any) -> Iterator[str]:
    """The names of tensors in a call's arguments; those in lists of sizes only where nothing else is."""
    if isinstance(value, Ref):
        yield value.value
    elif isinstance(value, tuple):
        items: tuple[Any, ...] = value
        if not any(isinstance(each, int) for each in items) or any(isinstance(each, tuple) for each in items):
            for each in items:
                yield from _names(each)


def _leaves(operation: Operation, inside: Mapping[str, Operation]) -> Iterator[str]:
    """What an operation reads of others, with what is in between."""
    for value in operation.operands:
        inner = inside.get(value)
        if inner is None:
            yield value
        else:
            yield from _leaves(inner, inside)


def is_inner(name: str) -> bool:
    """Whether a value has a name that the exporter made up, as no call of PyTorch has."""
    return re.fullmatch(r"val_\d+", name) is not None
