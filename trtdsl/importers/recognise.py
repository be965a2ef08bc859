"""Modules of torch.nn that run as many operations, found again.

In: a program.  Out: one in which the operations of a ``MultiheadAttention`` are one, ``multihead_attention``,
where its inputs are plain to see; and one in which ``embedding_bag`` is given the rows that PyTorch laid out
one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trtdsl.importers.program import Argument, Call, Frame, ModuleFacts, Operation, Program, Ref, refs

ATTENTION = "torch.nn.modules.activation.MultiheadAttention"


def with_attention(program: Program) -> Program:
    """The program with each call of a plain ``MultiheadAttention`` as one operation."""
    operations: list[Operation] = []
    position = 0
    while position < len(program.operations):
        call = _attention_call(program.operations[position])
        stop = position + 1
        while call and stop < len(program.operations) and call in program.operations[stop].calls:
            stop += 1
        run = program.operations[position:stop]
        found = _as_one(program, call, run) if call else None
        operations += [found] if found else run
        position = stop
    return msgspec.structs.replace(program, operations=tuple(operations))


def with_bags(program: Program) -> Program:
    """The program with bags that are the rows of a matrix as that matrix."""
    made = {result: operation for operation in program.operations for result in operation.results}
    operations = [
        _with_rows(program, operation, made) if operation.name == "embedding_bag.padding_idx" else operation
        for operation in program.operations
    ]
    return msgspec.structs.replace(program, operations=tuple(operations))


_BAGS = ("sum", "mean", "max")


def _with_rows(program: Program, operation: Operation, made: Mapping[str, Operation]) -> Operation:
    """``embedding_bag(input, weight)``; the operation itself where the bags are of several lengths."""
    given = operation.arguments
    ids, scales = (_flattened(given.get(name), made) for name in ("indices", "per_sample_weights"))
    offsets = made.get(given["offsets"].value) if isinstance(given["offsets"], Ref) else None
    if ids is None or offsets is None or offsets.base != "arange" or offsets.arguments.get("start", 0) != 0:
        return operation
    rows = program.types[ids.value].shape
    if len(rows) != 2 or offsets.arguments.get("step", 1) != rows[1]:
        return operation
    mode, padding = given["mode"], given.get("padding_idx")
    assert isinstance(mode, int)
    arguments: dict[str, Argument] = {
        "input": ids,
        "weight": given["weight"],
        "mode": _BAGS[mode],
        "per_sample_weights": scales,
        "padding_idx": padding if padding != -1 else None,
    }
    return Operation("embedding_bag", arguments, operation.results[:1], operation.calls, operation.frames)


def _flattened(value: Argument, made: Mapping[str, Operation]) -> Ref | None:
    """What a tensor of one dimension was before."""
    operation = made.get(value.value) if isinstance(value, Ref) else None
    if operation is None or operation.base not in ("reshape", "view", "flatten"):
        return None
    source = operation.arguments["self"]
    return source if isinstance(source, Ref) else None


def _attention_call(operation: Operation) -> Call | None:
    return next((call for call in operation.calls if call.kind == ATTENTION), None)


def _as_one(program: Program, call: Call, run: Sequence[Operation]) -> Operation | None:
    """The one operation, or None where what the call was given cannot be told."""
    facts = program.modules.get(call.path, ModuleFacts(call.kind))
    made = {result for each in run for result in each.results}
    weights = [each for operation in run for each in operation.operands if each in program.weights]
    keys = {program.weights[each] for each in weights}
    if not _has_plain_weights(call, keys):
        return None
    given = list(dict.fromkeys(each for operation in run for each in operation.operands if each not in made))
    tensors = [each for each in given if each not in program.weights]
    results = _read_behind(program, run, made)
    if len(results) != 1 or not _are_sequences(program, tensors, results[0]):
        return None
    projected = _projected(run)
    heads = facts.attributes.get("num_heads", _heads(program, run, projected))
    if set(projected) != set(tensors) or _is_masked(run) or _has_zeros(facts, run) or not heads:
        return None
    arguments: dict[str, Argument] = {
        "query": Ref(projected[0]),
        "key": Ref(projected[1]),
        "value": Ref(projected[2]),
        "num_heads": heads,
        "bias": any(each.endswith(".in_proj_bias") for each in keys),
        "batch_first": bool(facts.attributes.get("batch_first", _turns(run, projected))),
        "label": call.path,
    }
    outer = run[0].calls[: run[0].calls.index(call)]
    return Operation("multihead_attention", arguments, (results[0],), outer, _outer_frames(facts, run))


def _has_plain_weights(call: Call, keys: set[str]) -> bool:
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


def _is_masked(run: Sequence[Operation]) -> bool:
    """Whether it hides what comes later, for which it needs no tensor."""
    return any(each.arguments.get("is_causal") for each in run)


def _has_zeros(facts: ModuleFacts, run: Sequence[Operation]) -> bool:
    """Whether it attends to zeros too, beside what it is given."""
    return bool(facts.attributes.get("add_zero_attn", any(each.base == "cat" for each in run)))


def _heads(program: Program, run: Sequence[Operation], projected: Sequence[str]) -> int:
    """How many heads share the width of the queries, by the first product of them; 0 where it is not seen."""
    products = {"scaled_dot_product_attention": "query", "bmm": "self", "baddbmm": "batch1"}
    for each in run:
        query = each.arguments.get(products.get(each.base, ""))
        if isinstance(query, Ref) and projected:
            width, part = (program.types[name].shape[-1] for name in (projected[0], query.value))
            if isinstance(width, int) and isinstance(part, int) and width % part == 0:
                return width // part
    return 0


def _turns(run: Sequence[Operation], projected: Sequence[str]) -> bool:
    """Whether it puts sequences in front of batches before it projects them."""
    sources = [each.arguments["self"] for each in run if each.base == "transpose"]
    return any(Ref(name) in sources for name in projected)


def _are_sequences(program: Program, tensors: Sequence[str], result: str) -> bool:
    types = [program.types.get(each) for each in tensors]
    made = program.types.get(result)
    if made is None or any(each is None or each.rank != 3 or not each.dtype.is_floating for each in types):
        return False
    return types[0] == made


def _read_behind(program: Program, run: Sequence[Operation], made: set[str]) -> list[str]:
    """The values of a run that something after it reads."""
    inside = {id(each) for each in run}
    read = {value for _, argument in program.outputs for value in refs(argument)}
    read |= {value for each in program.operations if id(each) not in inside for value in each.operands}
    return [each for operation in run for each in operation.results if each in read and each in made]


def _outer_frames(facts: ModuleFacts, run: Sequence[Operation]) -> tuple[Frame, ...]:
    """The lines around the call: those outside the module's own file."""
    frames = run[-1].frames
    stop = next((number for number, each in enumerate(frames) if each.file == facts.file), len(frames))
    return frames[:stop]
