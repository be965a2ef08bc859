"""``MultiheadAttention`` of torch.nn, which runs as many operations, found again.

In: a program.  Out: one in which the operations of each are one, ``multihead_attention``, where its inputs
and masks are plain to see.  A module that the importer exports itself has them as one from the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from trtdsl.importers.program import Argument, Call, Operation, Program, Ref, refs
from trtdsl.types import DType, TensorType

ATTENTION = "torch.nn.modules.activation.MultiheadAttention"
_MASKS = ("key_padding_mask", "attn_mask")
_ZEROS = frozenset({"zeros", "zeros_like", "new_zeros"})
_PRODUCTS = {
    "scaled_dot_product_attention": ("query", "attn_mask"),
    "bmm": ("self", ""),
    "baddbmm": ("batch1", "self"),
}
"""Products of queries and keys, and what they call the queries and what is added."""
_SHAPES = frozenset({"view", "reshape", "unsqueeze", "expand"})

Made = Mapping[str, Operation]
"""What makes each value."""


def with_masks_as_given(program: Program) -> Program:
    """The program with attention masked by what its masks were made of: an encoder makes of one that says
    what is hidden one that is added, and attention takes either.
    """
    made = _made(program.operations)
    operations: list[Operation] = []
    for operation in program.operations:
        if operation.base == "multihead_attention":
            masks = {name: _as_given(operation.arguments.get(name), program, made) for name in _MASKS}
            operation = msgspec.structs.replace(operation, arguments={**operation.arguments, **masks})
        operations.append(operation)
    return msgspec.structs.replace(program, operations=tuple(operations))


def _as_given(mask: Argument, program: Program, made: Made) -> Argument:
    """The mask of what is hidden, where a mask is zero but for that, which is minus infinity."""
    filled = made.get(mask.value) if isinstance(mask, Ref) else None
    if filled is None or filled.base != "masked_fill" or filled.arguments.get("value") != -math.inf:
        return mask
    zeros, hidden = filled.arguments["self"], filled.arguments["mask"]
    source = made.get(zeros.value) if isinstance(zeros, Ref) else None
    if source is None or source.base not in _ZEROS or not isinstance(hidden, Ref):
        return mask
    is_whole = program.types[hidden.value].shape == program.types[filled.results[0]].shape
    return hidden if is_whole and program.types[hidden.value].dtype is DType.BOOL else mask


def with_attention(program: Program) -> Program:
    """The program with each call of a plain ``MultiheadAttention`` as one operation, which gives its weights
    where they are read.
    """
    whole = with_masks_as_given(_with_calls_as_one(program))
    read = {value for _, argument in whole.outputs for value in refs(argument)}
    read |= {value for operation in whole.operations for value in operation.operands}
    operations = [
        _without_weights(operation)
        if operation.base == "multihead_attention" and read.isdisjoint(operation.results[1:])
        else operation
        for operation in whole.operations
    ]
    return msgspec.structs.replace(whole, operations=tuple(operations))


def _without_weights(operation: Operation) -> Operation:
    """Attention that does not give its weights, and so would trust ``is_causal``, as it did not before."""
    if not operation.arguments.get("need_weights"):
        return operation
    arguments = {**operation.arguments, "need_weights": False, "is_causal": False}
    return msgspec.structs.replace(operation, arguments=arguments, results=operation.results[:1])


def _with_calls_as_one(program: Program) -> Program:
    operations: list[Operation] = []
    position = 0
    while position < len(program.operations):
        call = next((each for each in program.operations[position].calls if each.kind == ATTENTION), None)
        stop = position + 1
        while call and stop < len(program.operations) and call in program.operations[stop].calls:
            stop += 1
        run = program.operations[position:stop]
        found = _as_one(program, call, run) if call else None
        operations += [found] if found else run
        position = stop
    return msgspec.structs.replace(program, operations=tuple(operations))


def _as_one(program: Program, call: Call, run: Sequence[Operation]) -> Operation | None:
    """The one operation, or None where what the call was given cannot be told."""
    made = _made(run)
    weights = [each for operation in run for each in operation.operands if each in program.weights]
    keys = {program.weights[each]: each for each in weights}
    product = next((each for each in run if each.base in _PRODUCTS), None)
    if product is None or product.arguments.get("is_causal") or not _has_plain_weights(call, keys):
        return None
    projected = _projected(run)
    masks = _masks(product, program, made)
    given = {each for operation in run for each in operation.operands if each not in made}
    if masks is None or given - {*weights} != {*projected, *(each.value for each in masks.values())}:
        return None
    heads = _heads(program, product, projected)
    is_batch_first = _turns(run, projected)
    types = {name: program.types[each.value] for name, each in masks.items()}
    if not _are_sequences(program, projected) or not heads or _adds_keys(run, product):
        return None
    if not _are_masks(types, [program.types[each] for each in projected], heads, is_batch_first):
        return None
    results = _results(program, run, made, projected)
    if results is None:
        return None
    outputs, options = results
    operands = {**dict(zip(("query", "key", "value"), map(Ref, projected), strict=True)), **masks}
    own = {key.removeprefix(f"{call.path}.").replace(".", "_"): Ref(each) for key, each in keys.items()}
    arguments: dict[str, Argument] = {
        **operands, **own, "num_heads": heads, "batch_first": is_batch_first, **options,
    }  # fmt: skip
    outer = run[0].calls[: run[0].calls.index(call)]
    return Operation("multihead_attention", arguments, outputs, outer, run[-1].frames)


def _made(operations: Iterable[Operation]) -> Made:
    return {result: operation for operation in operations for result in operation.results}


def _has_plain_weights(call: Call, keys: Iterable[str]) -> bool:
    """Whether they are those of a module without `kdim`, `vdim` and `add_bias_kv`."""
    own = {key.removeprefix(f"{call.path}.") for key in keys}
    required = {"in_proj_weight", "out_proj.weight"}
    return required <= own <= required | {"in_proj_bias", "out_proj.bias"}


def _projected(run: Sequence[Operation]) -> tuple[str, ...]:
    """What is projected to queries, keys and values; nothing where that cannot be told.

    torch projects three times, or those that are one tensor together: first the query, the value last.
    """
    transposed = {each.results[0]: each.arguments["self"] for each in run if each.base == "transpose"}
    linears = [each for each in run if each.base == "linear"][:-1]
    sources: list[str] = []
    for each in linears:
        source = each.arguments["input"]
        if not isinstance(source, Ref):
            return ()
        plain = transposed.get(source.value, source)
        sources.append(plain.value if isinstance(plain, Ref) else "")
    match sources:
        case [every]:
            return (every, every, every)
        case [query, both]:
            return (query, both, both)
        case [query, key, value]:
            return (query, key, value)
        case _:
            return ()


def _masks(product: Operation, program: Program, made: Made) -> Mapping[str, Ref] | None:
    """What masks the product of queries and keys, by name; None where that cannot be told."""
    added = product.arguments.get(_PRODUCTS[product.base][1])
    return _masks_in(added, program, made) if isinstance(added, Ref) else {}


def _masks_in(mask: Argument, program: Program, made: Made) -> Mapping[str, Ref] | None:
    mask = _as_given(mask, program, made)
    if not isinstance(mask, Ref):
        return None
    operation = made.get(mask.value)
    if operation is None:
        return {"attn_mask": mask}
    if operation.base == "add" and operation.arguments.get("alpha", 1) == 1:
        both = [_masks_in(operation.arguments[name], program, made) for name in ("self", "other")]
        found = {name: each for masks in both if masks for name, each in masks.items()}
        return found if [len(each or ()) for each in both] == [1, 1] and len(found) == 2 else None
    if operation.base not in _SHAPES:
        return None
    source = operation.arguments["self"]
    found = _masks_in(source, program, made)
    if not found or not isinstance(source, Ref):
        return None
    # One of [L, S] gets its first dimension before anything else, one of [N, S] those in between.
    is_padding = program.types[source.value].rank == 2 and operation.base != "unsqueeze"
    return dict(zip(("key_padding_mask",), found.values(), strict=True)) if is_padding else found


def _are_masks(
    masks: Mapping[str, TensorType], operands: Sequence[TensorType], heads: int, is_batch_first: bool
) -> bool:
    """Whether masks are of the queries' and keys' lengths."""
    batch, length = operands[0].shape[:2] if is_batch_first else operands[0].shape[1::-1]
    keys = operands[1].shape[1 if is_batch_first else 0]
    of_all, of_each = (length, keys), (batch * heads, length, keys)
    shapes = {"key_padding_mask": [(batch, keys)], "attn_mask": [of_all, of_each]}
    dtypes = (DType.BOOL, operands[0].dtype)
    return all(each.shape in shapes[name] and each.dtype in dtypes for name, each in masks.items())


def _adds_keys(run: Sequence[Operation], product: Operation) -> bool:
    """Whether it attends to zeros too, beside what it is given."""
    return any(each.base == "cat" for each in run[: run.index(product)])


def _heads(program: Program, product: Operation, projected: Sequence[str]) -> int:
    """How many heads share the width of the queries; 0 where it is not seen."""
    query = product.arguments.get(_PRODUCTS[product.base][0])
    if isinstance(query, Ref) and projected:
        width, part = (program.types[name].shape[-1] for name in (projected[0], query.value))
        if isinstance(width, int) and isinstance(part, int) and width % part == 0:
            return width // part
    return 0


def _turns(run: Sequence[Operation], projected: Sequence[str]) -> bool:
    """Whether it puts sequences in front of batches before it projects them."""
    sources = [each.arguments["self"] for each in run if each.base == "transpose"]
    return any(Ref(name) in sources for name in projected)


def _are_sequences(program: Program, tensors: Sequence[str]) -> bool:
    types = [program.types.get(each) for each in tensors]
    return bool(types) and all(each and each.rank == 3 and each.dtype.is_floating for each in types)


def _results(
    program: Program, run: Sequence[Operation], made: Made, projected: Sequence[str]
) -> tuple[tuple[str, ...], Mapping[str, Argument]] | None:
    """What something after the run reads, and how it is called to give that; None where that is not what
    attention gives.
    """
    read = _read_behind(program, run, made)
    if not read or program.types.get(read[-1]) != program.types[projected[0]]:
        return None
    match read:
        case [result]:
            return (result,), {}
        case [weights, result] if made[weights].base in ("mean", *_SHAPES):
            is_mean = made[weights].base == "mean"
            return (result, weights), {"need_weights": True, "average_attn_weights": is_mean}
        case _:
            return None


def _read_behind(program: Program, run: Sequence[Operation], made: Made) -> list[str]:
    """The values of a run that something after it reads."""
    inside = {id(each) for each in run}
    read = {value for _, argument in program.outputs for value in refs(argument)}
    read |= {value for each in program.operations if id(each) not in inside for value in each.operands}
    return [each for operation in run for each in operation.results if each in read and each in made]
