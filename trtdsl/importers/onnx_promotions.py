"""Without the casts that PyTorch's exporter writes where PyTorch casts by itself.

In: operations of a file of the exporter, and the calls that they are of.  Out: the operations on what was
cast, and on numbers that it made tensors of, where they are of the same type without::

    before: cumsum(to(mask, float32), 1, dtype = float32)    div(x, scalar_tensor(2.0))
    after:  cumsum(mask, 1, dtype = float32)                 div(x, 2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trtdsl.importers.fx_calls import FxCall, parsed_call
from trtdsl.importers.onnx_node import known, number
from trtdsl.importers.onnx_types import result_types
from trtdsl.importers.program import Argument, Array, Operation, Ref, renamed
from trtdsl.ops.refused import Refused
from trtdsl.types import TensorType

_UNTYPED = frozenset({"alpha", "device", "layout", "memory_format", "pin_memory"})
"""Arguments that no result's type depends on, and that the language does not have."""


def without_promotions(
    operations: Sequence[Operation],
    called: Mapping[str, str],
    types: Mapping[str, TensorType],
    constants: Mapping[str, Array],
) -> tuple[Operation, ...]:
    """The operations, each on what its exporter cast for it; the casts are left for others to drop."""
    sources: dict[str, Argument] = {
        name: number(known(array))
        for name, array in constants.items()
        if name.startswith("scalar_tensor_default") and array.ndim == 0
    }
    for operation in operations:
        call = parsed_call(called.get(operation.results[0], ""))
        source = next(iter(operation.arguments.values()), None)
        if operation.base == "to" and call and _is_promotion(call) and isinstance(source, Ref):
            sources[operation.results[0]] = source
    return tuple(_plain(each, sources, types) for each in operations)


def _is_promotion(call: FxCall) -> bool:
    is_own = call.name.startswith("convert_element_type_default")
    return is_own and call.target == "prims.convert_element_type.default"


def _plain(
    operation: Operation, sources: Mapping[str, Argument], types: Mapping[str, TensorType]
) -> Operation:
    cast = {each: sources[each] for each in operation.operands if each in sources}
    wanted = tuple(types[result] for result in operation.results)
    others = {types[each].dtype for each in operation.operands if each not in cast}
    # In that type it computes with the cast and, if it is so by itself, without; a number is of the type of
    # the tensor that it meets.
    given = {each: {result.dtype for result in wanted} for each in cast if isinstance(cast[each], Ref)}
    if not cast or any(types[each].dtype not in given.get(each, others) for each in cast):
        return operation
    plain = renamed(operation, cast)
    given = {name: each for name, each in plain.arguments.items() if each is not None}
    given = {name: each for name, each in given.items() if name not in _UNTYPED}
    try:
        found = result_types(plain.base, given, types)
    except (Refused, KeyError, TypeError, ValueError):
        return operation
    return plain if found == wanted else operation
