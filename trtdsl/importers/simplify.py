"""Programs made plainer: what does nothing goes, and what nobody reads.

In: a :class:`~trtdsl.importers.program.Program` as a reader gives it.  Out: one that computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trtdsl.importers.program import Argument, Array, Operation, Program, Ref, refs, renamed, rewritten
from trtdsl.importers.upsampling import SCALES, UPSAMPLING
from trtdsl.types import Dim, DType, TensorType

_NOTHING = frozenset(
    {
        "alias",
        "alpha_dropout",
        "clone",
        "contiguous",
        "detach",
        "detach_",
        "dropout",
        "dropout_",
        "feature_dropout",
        "feature_alpha_dropout",
        "lift_fresh",
        "lift_fresh_copy",
        "native_dropout",
    }
)
_CASTS = frozenset({"_to_copy", "to", "type_as"})
_SHAPES = frozenset({"expand", "expand_as", "_unsafe_view", "reshape", "view", "view_as"})
_PADS = frozenset({"pad", "constant_pad_nd"})
_NEUTRAL = {
    "add": 0, "mul": 1, "div": 1, "bitwise_and": True, "logical_and": True, "__and__": True,
}  # fmt: skip
"""The operand that changes nothing; 0 makes 0.0 of -0.0, and so counts for whole numbers only."""

_WRITES = frozenset({"copy", "slice_scatter"})
_PUT_BACK = {"select_scatter": "select", "slice_scatter": "slice"}
_SHAPED_LIKE = {
    **dict.fromkeys(("copy", "fill", "zero"), "self"),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "empty_like"), "self"),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty"), "self"),
    **dict.fromkeys(("expand_as", "view_as", "reshape_as", "type_as"), "other"),
}
"""Operations and the argument of which they read the shape or dtype only."""
_NORMS = frozenset({"layer_norm", "group_norm", "batch_norm", "instance_norm", "rms_norm"})
_ZEROS = frozenset({"zeros", "new_zeros", "zeros_like"})
_PARTS = frozenset({"slice", "select", "split", "unbind", *_SHAPES})
_FULL = frozenset({"full", "new_full", "full_like"})
_RECURRENT = frozenset(
    {"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"}
)


def simplify(program: Program) -> Program:
    """The program without operations that do nothing or that nobody reads."""
    program = with_norms_in_their_weights_type(with_parts_as_slices(without_nothing(program)))
    return without_unread(without_zero_states(program))


def without_nothing(program: Program) -> Program:
    """Without copies, dropout, casts to the type that a tensor has, reshapes to the shape that it has, and
    parts put back where they are from.
    """
    names: dict[str, Argument] = {}
    kept: list[Operation] = []
    made: dict[str, Operation] = {}
    for operation in program.operations:
        operation = _without_shapes(renamed(operation, names))
        source = _copied(operation, program) or _beside_neutral(operation, program)
        if source is None and _does_nothing(operation, program, made):
            source = next(iter(operation.arguments.values()))
        if source is not None:
            names[operation.results[0]] = source
        else:
            kept.append(operation)
            made |= dict.fromkeys(operation.results, operation)
    return rewritten(program, kept, names)


def _without_shapes(operation: Operation) -> Operation:
    """An operation that does not read what it only has its shape or dtype of; its result's type says that."""
    name = _SHAPED_LIKE.get(operation.base)
    if name is None or operation.arguments.get(name) is None:
        return operation
    return msgspec.structs.replace(operation, arguments={**operation.arguments, name: None})


def _copied(operation: Operation, program: Program) -> Argument:
    """What a copy gives as it is, and so does what writes it over the whole of a tensor."""
    source = operation.arguments.get("src") if operation.base in _WRITES else None
    if not isinstance(source, Ref):
        return None
    before, after = program.types.get(source.value), program.types.get(operation.results[0])
    return source if before is not None and before == after else None


def _beside_neutral(operation: Operation, program: Program) -> Ref | None:
    """The operand beside one that changes neither values nor the type."""
    if operation.base not in _NEUTRAL or operation.arguments.get("rounding_mode") is not None:
        return None
    left, right, *_ = operation.arguments.values()
    swapped = ((right, left),) if "div" not in operation.base else ()
    for operand, other in ((left, right), *swapped):
        array = program.constants.get(other.value) if isinstance(other, Ref) else None
        # An array of one value is that value: whether it makes the result larger is for the types to say.
        value = array.flat[0] if array is not None and _is_uniform(array) else other
        if not isinstance(operand, Ref) or isinstance(value, Ref) or value != _NEUTRAL[operation.base]:
            continue
        type = program.types.get(operand.value)
        if type is not None and type == program.types.get(operation.results[0]):
            return None if operation.base == "add" and type.dtype.is_floating else operand
    return None


def _is_uniform(array: Array) -> bool:
    return array.size > 0 and bool((array == array.flat[0]).all())


def _does_nothing(operation: Operation, program: Program, made: Mapping[str, Operation]) -> bool:
    operand = next(iter(operation.arguments.values()), None)
    if not isinstance(operand, Ref) or len(operation.results) != 1:
        return False
    if operation.base in _NOTHING:
        return not operation.arguments.get("train")
    if operation.base in _PADS:
        return not any(each != 0 for each in _padding(operation))
    if operation.base in _PUT_BACK:
        return _is_put_back(operation, made)
    is_plain = operation.base in UPSAMPLING and not _is_scaled(operation)
    if operation.base not in _CASTS | _SHAPES and not is_plain:
        return False
    before, after = program.types.get(operand.value), program.types.get(operation.results[0])
    return before is not None and before == after


def _is_scaled(operation: Operation) -> bool:
    """Whether it reads between the elements of an image, though the size may stay."""
    given: Any = operation.arguments.get("scale_factors")
    scales = given if given is not None else [operation.arguments.get(name) for name in SCALES]
    return any(each not in (None, 1) for each in scales)


def _is_put_back(operation: Operation, made: Mapping[str, Operation]) -> bool:
    """Whether a part is written to where it was read."""
    part = operation.arguments["src"]
    taken = made.get(part.value) if isinstance(part, Ref) else None
    if taken is None or taken.base != _PUT_BACK[operation.base]:
        return False
    return taken.arguments == {name: operation.arguments.get(name) for name in taken.arguments}


def _padding(operation: Operation) -> tuple[Argument, ...]:
    """By how much it pads, or crops where that is negative: the size may stay where the values move."""
    found = operation.arguments["pad"]
    assert isinstance(found, tuple)
    return found


def with_parts_as_slices(program: Program) -> Program:
    """Parts of a size that depends on the input's are slices, for `split` takes numbers."""
    operations: list[Operation] = []
    for operation in program.operations:
        sizes = _calculated_sizes(operation, program)
        if sizes is None:
            operations.append(operation)
            continue
        start: Any = 0
        for result, size in zip(operation.results, sizes, strict=True):
            arguments = {
                "self": operation.arguments["self"],
                "dim": operation.arguments["dim"],
                "start": start,
                "end": start + size,
                "step": 1,
            }
            start = start + size
            operations.append(
                Operation("slice.Tensor", arguments, (result,), operation.calls, operation.frames)
            )
    return msgspec.structs.replace(program, operations=tuple(operations))


def _calculated_sizes(operation: Operation, program: Program) -> tuple[Dim, ...] | None:
    """The sizes of the parts, where they are neither numbers nor equal shares of the whole."""
    given = operation.arguments
    if operation.base not in ("split", "split_with_sizes"):
        return None
    if "split_sizes" in given:
        listed: Any = given["split_sizes"]
        return None if _are_numbers(listed) else listed
    size: Any = given["split_size"]
    dim: Any = given["dim"]
    source: Any = given["self"]
    whole = program.types[source.value].shape[dim]
    if isinstance(size, int) or whole == size * len(operation.results):
        return None
    return tuple(program.types[each].shape[dim] for each in operation.results)


def _are_numbers(sizes: tuple[Any, ...]) -> bool:
    return all(isinstance(each, int) for each in sizes)


def without_zero_states(program: Program) -> Program:
    """Without the zeros that a recurrent network begins with by itself."""
    zeros = {name for name, array in program.constants.items() if not array.any()}
    operations: list[Operation] = []
    for operation in program.operations:
        is_full = operation.base in _FULL and operation.arguments["fill_value"] == 0
        is_part = operation.base in _PARTS and zeros.issuperset(operation.operands)
        if operation.base in _ZEROS or is_full or is_part:
            zeros.update(operation.results)
        if operation.base in _RECURRENT and zeros.issuperset(refs(operation.arguments["hx"])):
            operation = msgspec.structs.replace(operation, arguments={**operation.arguments, "hx": ()})
        operations.append(operation)
    return msgspec.structs.replace(program, operations=tuple(operations))


def with_norms_in_their_weights_type(program: Program) -> Program:
    """Norms of a tensor of half the width of their weights compute in the weights' type, as PyTorch's do."""
    operations: list[Operation] = []
    types = dict(program.types)
    for operation in program.operations:
        input, result = _first_operand(operation), operation.results[0]
        weights = [types[each] for each in operation.operands if each in program.weights and each in types]
        wide = {each.dtype for each in weights} - {types[result].dtype} if result in types else set[DType]()
        if operation.base not in _NORMS or input is None or len(wide) != 1:
            operations.append(operation)
            continue
        dtype, outer = wide.pop(), (operation.calls, operation.frames)
        before, after = f"{result}_input", f"{result}_normed"
        types[before] = TensorType(dtype, types[input].shape)
        types[after] = TensorType(dtype, types[result].shape)
        operations += [
            Operation("_to_copy", {"self": Ref(input)}, (before,), *outer),
            msgspec.structs.replace(renamed(operation, {input: Ref(before)}), results=(after,)),
            Operation("_to_copy", {"self": Ref(after)}, (result,), *outer),
        ]
    return msgspec.structs.replace(program, operations=tuple(operations), types=types)


def _first_operand(operation: Operation) -> str | None:
    return next(iter(operation.operands), None)


def without_unread(program: Program) -> Program:
    """Without operations, constants and weights that no output depends on."""
    read = {value for _, argument in program.outputs for value in refs(argument)}
    kept: list[Operation] = []
    for operation in reversed(program.operations):
        if not read.isdisjoint(operation.results):
            kept.append(operation)
            read |= set(operation.operands)
    made = {result for operation in kept for result in operation.results}
    return msgspec.structs.replace(
        program,
        operations=tuple(reversed(kept)),
        weights={name: key for name, key in program.weights.items() if name in read},
        constants={name: array for name, array in program.constants.items() if name in read - made},
    )
