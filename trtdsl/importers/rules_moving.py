"""How indexing, writes through indices, and changes of shape are written in the language."""

from __future__ import annotations

from typing import Any

from trtdsl.importers.program import Argument
from trtdsl.importers.rules import Missing, Writing, rule
from trtdsl.importers.sketch import Apply, Cut, Expression, Infix, Items, Literal, Subscript
from trtdsl.importers.spelling import expression_of
from trtdsl.types import DType

# --- Indexing ---------------------------------------------------------------------------------------------


def _at(writing: Writing, dim: int, item: Expression) -> Expression:
    rank = writing.type(writing["self"]).rank
    dim = dim % rank
    return Subscript(writing.expression("self"), (*(Cut() for _ in range(dim)), item))


@rule("select")
def _select(writing: Writing) -> Expression:
    dim, index = writing["dim"], writing["index"]
    assert isinstance(dim, int)
    return _at(writing, dim, expression_of(index))


@rule("slice")
def _slice(writing: Writing) -> Expression:
    dim = writing["dim"]
    assert isinstance(dim, int)
    start, end, step = writing.get("start"), writing.get("end"), writing.get("step", 1)
    whole = writing.type(writing["self"]).shape[dim]
    if start in (None, 0):
        start = None
    if end is None or (isinstance(end, int) and end >= 2**31 - 1) or end == whole:
        end = None
    if start is None and end is None and step == 1:
        return writing.expression("self")
    parts = [
        None if part is None else expression_of(part) for part in (start, end, None if step == 1 else step)
    ]
    return _at(writing, dim, Cut(*parts))


@rule("slice_scatter")
def _slice_scatter(writing: Writing) -> Expression:
    dim, end = writing["dim"], writing.get("end")
    assert isinstance(dim, int)
    given = dict(writing.operation.arguments)
    if end == writing.type(writing["self"]).shape[dim] or (isinstance(end, int) and end >= 2**31 - 1):
        given["end"] = None
    return writing.given("slice_scatter", given)


@rule("index_put", "_unsafe_index_put")
def _index_put(writing: Writing) -> Expression:
    """``index_put`` writes to the first dimensions: those that the indices name are moved there."""
    indices: Any = writing["indices"]
    named = [dim for dim, each in enumerate(indices) if each is not None]
    x, values = writing.type(writing["self"]), writing.type(writing["values"])
    if named == list(range(len(named))):
        return writing.given("index_put", {**writing.operation.arguments, "indices": indices[: len(named)]})
    masks = [writing.type(indices[dim]) for dim in named if writing.type(indices[dim]).dtype is DType.BOOL]
    if masks and (len(named) > 1 or values.rank > 0):
        raise Missing("a mask after other dimensions takes a single number: write `torch.where`")
    width = masks[0].rank if masks else 1
    front = [dim + number for dim in named for number in range(width)]
    order = (*front, *(dim for dim in range(x.rank) if dim not in front))
    moved = Apply("permute", (("", writing.expression("self")), ("", Items(tuple(map(Literal, order))))))
    put = Apply(
        "index_put",
        (
            ("", moved),
            ("", Items(tuple(expression_of(indices[dim]) for dim in named), brackets=True)),
            ("", _values_in_front(writing, named)),
            *((("accumulate", Literal(True)),) if writing.get("accumulate") else ()),
        ),
        3,
    )
    back = tuple(Literal(order.index(dim)) for dim in range(x.rank))
    return Apply("permute", (("", put), ("", Items(back))))


def _values_in_front(writing: Writing, named: list[int]) -> Expression:
    """The values that are put, with the dimensions of the indices before the others."""
    indices: Any = writing["indices"]
    values, x = writing.type(writing["values"]), writing.type(writing["self"])
    rank = max(writing.type(indices[dim]).rank for dim in named)
    are_together = named == list(range(named[0], named[-1] + 1))
    # Where they are not together PyTorch itself has them in front.
    whole = rank + x.rank - len(named)
    if values.rank == 0 or not are_together or values.rank <= whole - named[0] - rank:
        return writing.expression("values")
    spread = (Literal(None),) * (whole - values.rank)
    expression = writing.expression("values")
    if spread:
        expression = Subscript(expression, spread)
    places = range(named[0], named[0] + rank)
    order = (*places, *(dim for dim in range(whole) if dim not in places))
    return Apply("permute", (("", expression), ("", Items(tuple(map(Literal, order))))))


@rule("index")
def _index(writing: Writing) -> Expression:
    indices = writing["indices"]
    assert isinstance(indices, tuple)
    items = [Cut() if each is None else expression_of(each) for each in indices]
    return Subscript(writing.expression("self"), tuple(items))


# --- Shapes -----------------------------------------------------------------------------------------------


@rule("ravel")
def _ravel(writing: Writing) -> Expression:
    return writing.given("reshape", {"input": writing["self"], "shape": (-1,)})


@rule("expand_as", "view_as", "reshape_as")
def _as(writing: Writing) -> Expression:
    name, parameter = ("expand", "size") if writing.operation.base == "expand_as" else ("reshape", "shape")
    return writing.given(name, {"input": writing["self"], parameter: writing.result.shape})


@rule("numpy_T", "t")
def _t(writing: Writing) -> Expression:
    rank = writing.type(writing["self"]).rank
    if rank < 2:
        return writing.expression("self")
    if rank > 2:
        return writing.given("permute", {"input": writing["self"], "dims": tuple(reversed(range(rank)))})
    return writing.given("transpose", {"input": writing["self"], "dim0": 0, "dim1": 1})


@rule("mT", "mH", "matrix_H", "adjoint")
def _transposed(writing: Writing) -> Expression:
    return writing.given("transpose", {"input": writing["self"], "dim0": -2, "dim1": -1})


@rule("unfold")
def _unfold(writing: Writing) -> Expression:
    """The windows of one dimension, which ``Tensor.unfold`` puts after the others."""
    x, dim, size, step = (writing[name] for name in ("self", "dimension", "size", "step"))
    type = writing.type(x)
    assert isinstance(dim, int)
    assert isinstance(size, int)
    assert isinstance(step, int)
    dim, length = dim % type.rank, type.shape[dim % type.rank]
    count = (length - size) // step + 1
    first = Apply("arange", (("", Literal(0)), ("", Literal(count * step)), ("", Literal(step))))
    if step == 1:
        first = Apply("arange", (("", Literal(count)),))
    within = Apply("arange", (("", Literal(size)),))
    places = Infix("+", Subscript(first, (Cut(), Literal(None))), within)
    windows = Subscript(expression_of(x), (*(Cut() for _ in range(dim)), places))
    if dim == type.rank - 1:
        return windows
    return Apply("movedim", (("", windows), ("", Literal(dim + 1)), ("", Literal(-1))))


@rule("split", "unsafe_split")
def _split(writing: Writing) -> Expression:
    sizes: Any = writing.get("split_size", writing.get("split_sizes"))
    count = len(writing.operation.results)
    dim: Any = writing["dim"]
    whole = writing.type(writing["self"]).shape[dim]
    if not isinstance(sizes, tuple) and whole == sizes * count:
        return writing.given("chunk", {"input": writing["self"], "chunks": count, "dim": dim})
    return writing.given("split", {"input": writing["self"], "split_size_or_sections": sizes, "dim": dim})


@rule(
    "pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad2d", "replication_pad1d"
)
def _pad(writing: Writing) -> Expression:
    mode = {"reflection": "reflect", "replication": "replicate"}.get(writing.operation.base.partition("_")[0])
    given: dict[str, Argument] = {"input": writing["self"], "pad": writing.get("pad", writing.get("padding"))}
    given["mode"] = mode or writing.get("mode", "constant")
    value = writing.get("value")
    if value:
        given["value"] = value
    return writing.given("pad", given)
